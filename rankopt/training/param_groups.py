"""Which parameters of a model are projected, and which get plain AdamW."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import Tensor, nn

from rankopt.training.layers import matrix_shape

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_NORMS = (nn.LayerNorm, nn.RMSNorm)
_HEADS = ("head", "lm_head", "*_head", "classifier", "score")


class ParameterGroups(list[dict[str, Any]]):
    """Groups for an optimizer; ``str()`` lists what went where and why."""

    def __init__(self, groups: Iterable[dict[str, Any]], reasons: dict[str, str]) -> None:
        super().__init__(groups)
        self.reasons = reasons

    def __str__(self) -> str:
        rows = []
        for group in self:
            for name, parameter in group["params"]:
                path = f"low rank, at most {group['max_rank']}" if group["low_rank"] else "AdamW"
                rows.append((name, "x".join(map(str, parameter.shape)), path, self.reasons[name]))
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


class _Member(NamedTuple):
    name: str
    parameter: Tensor
    reason: str
    row_dims: int
    """Leading dimensions that count rows; zero where the parameter is not projected."""


def param_groups(
    model: nn.Module,
    max_rank: int = 128,
    *,
    full_rank_lr: float | None = None,
    full_rank: Iterable[str] = (),
    low_rank: Iterable[str] = (),
    min_size: int = 8,
    **options: Any,
) -> ParameterGroups:
    """Split the trainable parameters of a model into groups for a low-rank optimizer.

    Matrices are projected; kernels of convolutions are flattened to (out, in x kernel), and other weights of three or
    more dimensions (stacked experts) to (all but the last, last). Embeddings, the head, norms, biases and tiny layers
    get plain AdamW. Each parameter is in one group, once, shared ones included.

    Parameters
    ----------
    model : torch.nn.Module
    max_rank : int
        Largest rank of the projected weights.
    full_rank_lr : float, optional
        Learning rate of what is not projected; default that of the optimizer.
    full_rank : iterable of str
        Names, or patterns such as ``"encoder.*"``, of parameters that must not be projected.
    low_rank : iterable of str
        Names or patterns of matrices that must be, whatever their layer; ``full_rank`` goes first.
    min_size : int
        A matrix with fewer rows or columns is tiny.
    **options
        Further options of the projected groups, such as ``energy``.

    Returns
    -------
    ParameterGroups
        A list of groups with ``(name, parameter)`` pairs; ``str()`` of it says what went where and why.

    Raises
    ------
    ValueError
        If a pattern matches nothing, or the model has no trainable parameter.

    Examples
    --------
    >>> import torch
    >>> from rankopt import param_groups
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 2))
    >>> print(param_groups(model, max_rank=8))
    0.weight  32x64  low rank, at most 8  matrix
    0.bias    32     AdamW                not a matrix
    1.weight  32     AdamW                not a matrix
    1.bias    32     AdamW                not a matrix
    2.weight  2x32   AdamW                tiny: fewer than 8 rows or columns
    2.bias    2      AdamW                not a matrix
    """
    members = list(_members(model, tuple(full_rank), tuple(low_rank), min_size))
    if not members:
        raise ValueError("model has no trainable parameter; set requires_grad on those to be trained")
    _require_matches({"full_rank": tuple(full_rank), "low_rank": tuple(low_rank)}, [m.name for m in members])
    groups: list[dict[str, Any]] = []
    for row_dims in sorted({m.row_dims for m in members}, key=lambda dims: (dims == 0, -dims)):
        params = [(m.name, m.parameter) for m in members if m.row_dims == row_dims]
        if row_dims:
            groups.append({"params": params, "low_rank": True, "max_rank": max_rank, "row_dims": row_dims, **options})
        else:
            rate = {} if full_rank_lr is None else {"lr": full_rank_lr}
            groups.append({"params": params, "low_rank": False, **rate})
    return ParameterGroups(groups, {m.name: m.reason for m in members})


def _members(
    model: nn.Module, full_rank: tuple[str, ...], low_rank: tuple[str, ...], min_size: int
) -> Iterator[_Member]:
    vocabularies = {module.num_embeddings for module in model.modules() if isinstance(module, _EMBEDDINGS)}
    outputs = Counter(module.out_features for module in model.modules() if isinstance(module, nn.Linear))
    # Where several layers have as many outputs as there are tokens, the width equals the vocabulary by chance.
    heads = {size for size in vocabularies if outputs[size] == 1}
    # A parameter that several modules share is listed once, and is an embedding if any of them is one.
    embedded = {id(p) for module in model.modules() if isinstance(module, _EMBEDDINGS) for p in module.parameters()}
    owners = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        path = name.rpartition(".")[0]
        module = owners[path]
        if parameter.ndim < 2:
            yield _Member(name, parameter, "not a matrix", 0)
            continue
        row_dims = 1 if parameter.ndim == 2 or isinstance(module, _CONVOLUTIONS) else -1
        rows, columns = matrix_shape(parameter, row_dims)
        reason = "matrix" if parameter.ndim == 2 else f"flattened to {rows}x{columns}"
        is_low_rank = True
        if _matches(name, full_rank):
            reason, is_low_rank = "named in full_rank", False
        elif _matches(name, low_rank):
            reason = "named in low_rank"
        elif id(parameter) in embedded or any("embedding" in part for part in name.split(".")[-2:]):
            reason, is_low_rank = "embedding", False
        elif isinstance(module, _NORMS):
            reason, is_low_rank = "norm", False
        elif _is_head(path, module, heads):
            reason, is_low_rank = "head", False
        elif min(rows, columns) < min_size:
            reason, is_low_rank = f"tiny: fewer than {min_size} rows or columns", False
        yield _Member(name, parameter, reason, row_dims if is_low_rank else 0)


def _is_head(path: str, module: nn.Module, heads: set[int]) -> bool:
    if isinstance(module, nn.Linear) and module.out_features in heads:
        return True
    return _matches(path.rpartition(".")[2], _HEADS)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _require_matches(given: dict[str, tuple[str, ...]], names: list[str]) -> None:
    for argument, patterns in given.items():
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"{argument} names {pattern!r}, which matches no trainable parameter among {names}")
