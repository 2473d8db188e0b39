"""Presets of the one optimizer, named and documented as their papers name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from rankopt.training.events import RefreshEvent
from rankopt.training.optimizer import SubspaceOptimizer


class AdaRankGrad(SubspaceOptimizer):
    """Adam in subspaces of adaptive rank that are refreshed when the low-rank gradient has become small.

    For the gradient G of a weight matrix W, with an orthonormal basis Q of the smallest rank that captures ``energy``:

        low = Q^T G,   M = b1 M + (1 - b1) low,   V = b2 V + (1 - b2) low o low,
        W <- (1 - lr weight_decay) W - lr scale Q ( M^ / (sqrt(V^) + eps) )

    Parameters that are not matrices, and groups with ``low_rank=False``, get AdamW. Every option can be set per group.

    Parameters
    ----------
    params : iterable of parameters, of (name, parameter), or of groups
        As :func:`rankopt.param_groups` gives them.
    lr : float
    betas : tuple of float
        Decay of the moments.
    eps : float
    weight_decay : float
        Decoupled from the gradient.
    scale : float
        Factor of the low-rank update.
    energy : float or None
        Share of the squared norm of the gradient that a refresh keeps, in (0, 1]; None for the constant ``max_rank``.
        With a residual rule 0.9 is enough.
    min_rank, max_rank : int
        Bounds of the rank. The rank kept is rounded up to a multiple of ``max_rank // 8``.
    oversampling, power_iterations : int
        Of the randomized range finder.
    min_gap, max_gap : int
        Steps between two refreshes of a layer, at least and at most; ``max_gap`` wins where it is the smaller.
    tolerance : float
        A layer refreshes when the average norm of its low-rank gradient has fallen below this times its value at the
        last refresh. With zero the gap is ``max_gap``.
    moment_transport : {"keep", "mass", "completed", "variance", "linear", "reset"}
        How the moments follow the subspace. By default entries keep their index, the directions being ordered by their
        energy, which had the least loss in training on text; ``"mass"`` rotates the moments with the subspace.
    residual : {None, "fira", "sign"}
        What happens to the part of the gradient outside the subspace.
    residual_scale : float
        Factor of its step.
    side : {"short", "long", "left", "right"}
        Side of the matrix that the basis belongs to. ``"long"`` takes the least memory, and costs no loss with a
        residual rule.
    subspace : {"range", "svd", "riemannian", "geodesic", "dct", "random"}
        How the subspace moves at a refresh: the randomized range finder (the published method), a full decomposition, a
        preconditioned Riemannian step, a geodesic step, columns of the cosine basis, or at random. A random subspace
        captures little, so its ``energy`` is a share such as 0.25.
    moment_dtype : torch.dtype, optional
        Of the stored moments; default float32 for half-precision weights, else the dtype of the weight.
    accumulate : {None, "low-rank"}
        Whether the gradients of microbatches are summed in the subspace as they arrive and freed at once.
    max_grad_norm : float, optional
        Bound on the norm, over all layers, of the gradients that Adam sees (Q^T G for projected layers).
    maximize : bool
    seed : int
        Of the range finder; with the position of the parameter and the number of the refresh it fixes every draw.
    foreach : bool, optional
        Whether all layers are handled together; default only on CUDA.
    compiled : bool
        Whether Adam's arithmetic is compiled by ``torch.compile``.
    on_refresh : callable, optional
        Called with a :class:`rankopt.RefreshEvent` after each refresh; see :class:`rankopt.RefreshLog`.
    low_rank, row_dims, staggered, eta
        Options of a group only: whether to project at all; how many leading dimensions count rows (negative: all but
        that many trailing ones); whether first gaps are spread over the layers; the damping of the Riemannian and the
        geodesic step.

    Raises
    ------
    TypeError, ValueError
        If an option cannot be used, options cannot work together, or a parameter is complex, sparse, of integers, or
        given twice; the message names it.

    References
    ----------
    Refael, Svirsky, Shustin, Huleihel, Lindenbaum, AdaRankGrad: Adaptive Gradient-Rank and Moments for
    Memory-Efficient LLMs Training and Fine-Tuning, ICLR 2025.

    Examples
    --------
    >>> import torch
    >>> from rankopt import AdaRankGrad, param_groups
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    >>> optimizer = AdaRankGrad(param_groups(model, max_rank=8), lr=1e-2)
    >>> inputs = torch.linspace(-1, 1, 64 * 10).reshape(10, 64)
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     loss = (model(inputs) - 1).square().mean()
    ...     loss.backward()
    ...     optimizer.step()
    >>> bool(loss < 0.1)
    True
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        scale: float = 1.0,
        energy: float | None = 0.99,
        min_rank: int = 1,
        max_rank: int = 128,
        oversampling: int = 8,
        power_iterations: int = 1,
        min_gap: int = 10,
        max_gap: int = 200,
        tolerance: float = 0.6,
        moment_transport: str = "keep",
        residual: str | None = None,
        residual_scale: float = 1.0,
        side: str = "short",
        subspace: str = "range",
        moment_dtype: torch.dtype | None = None,
        accumulate: str | None = None,
        max_grad_norm: float | None = None,
        maximize: bool = False,
        seed: int = 0,
        foreach: bool | None = None,
        compiled: bool = False,
        on_refresh: Callable[[RefreshEvent], Any] | None = None,
    ) -> None:
        defaults = _options(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, scale=scale, energy=energy,
            min_rank=min_rank, max_rank=max_rank, oversampling=oversampling, power_iterations=power_iterations,
            min_gap=min_gap, max_gap=max_gap, tolerance=tolerance, moment_transport=moment_transport,
            residual=residual, residual_scale=residual_scale, side=side, moment_dtype=moment_dtype,
            accumulate=accumulate, max_grad_norm=max_grad_norm, maximize=maximize, seed=seed,
            low_rank=True, row_dims=1, staggered=True, subspace=subspace, eta=1.0,
        )  # fmt: skip
        super().__init__(params, defaults, foreach=foreach, compiled=compiled, on_refresh=on_refresh)


class GaLore(SubspaceOptimizer):
    """Adam in the leading singular subspace of the gradient, of constant rank, refreshed at a fixed gap.

    The published method: the subspace by a full singular value decomposition, moments that keep their entries whatever
    the basis does, all layers refreshed at the same step, and the residual dropped. Its options are those of
    :class:`rankopt.AdaRankGrad`; the defaults are the method's own.

    Parameters
    ----------
    params : iterable of parameters, of (name, parameter), or of groups
    lr : float
    max_rank : int
        The rank.
    max_gap : int
        Steps from refresh to refresh.
    scale : float
        The paper's recipe for pre-training is 0.25, for fine-tuning 2 to 4.
    betas, eps, weight_decay, moment_transport, residual, residual_scale, side, moment_dtype, max_grad_norm, maximize
        As for :class:`rankopt.AdaRankGrad`.
    foreach, compiled, on_refresh
        As for :class:`rankopt.AdaRankGrad`.

    Raises
    ------
    TypeError, ValueError
        As :class:`rankopt.AdaRankGrad`.

    References
    ----------
    Zhao, Zhang, Chen, Wang, Anandkumar, Tian, GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection,
    ICML 2024, Algorithm 2.

    Examples
    --------
    >>> import torch
    >>> from rankopt import GaLore
    >>> weight = torch.nn.Parameter(torch.ones(4, 6))
    >>> optimizer = GaLore([weight], lr=0.1, max_rank=2, max_gap=50)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> optimizer.state[weight]["basis"].shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        max_rank: int = 128,
        max_gap: int = 200,
        scale: float = 0.25,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        moment_transport: str = "keep",
        residual: str | None = None,
        residual_scale: float = 1.0,
        side: str = "short",
        moment_dtype: torch.dtype | None = None,
        max_grad_norm: float | None = None,
        maximize: bool = False,
        foreach: bool | None = None,
        compiled: bool = False,
        on_refresh: Callable[[RefreshEvent], Any] | None = None,
    ) -> None:
        defaults = _options(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, scale=scale, energy=None,
            min_rank=1, max_rank=max_rank, oversampling=8, power_iterations=1,
            min_gap=1, max_gap=max_gap, tolerance=0.0, moment_transport=moment_transport,
            residual=residual, residual_scale=residual_scale, side=side, moment_dtype=moment_dtype,
            accumulate=None, max_grad_norm=max_grad_norm, maximize=maximize, seed=0,
            low_rank=True, row_dims=1, staggered=False, subspace="svd", eta=1.0,
        )  # fmt: skip
        super().__init__(params, defaults, foreach=foreach, compiled=compiled, on_refresh=on_refresh)


def _options(*, betas: tuple[float, float], **options: Any) -> dict[str, Any]:
    is_sequence = isinstance(betas, Iterable) and not isinstance(betas, str)
    return options | {"betas": tuple(betas) if is_sequence else betas}
