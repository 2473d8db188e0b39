"""How a language model is trained: the options of a run, and the optimizer that they ask for."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line shows the options without waiting for torch
    import torch

    from problems.language_model import LanguageModel

OPTIMIZERS = ("adamw", "galore", "adarankgrad")
DTYPES = ("float32", "bfloat16")

_DEFAULT_RATES = {"adamw": 3e-3, "galore": 1e-2, "adarankgrad": 3e-3}
_LOW_RANK_OPTIONS = (
    "min_rank",
    "max_rank",
    "energy",
    "residual",
    "residual_scale",
    "side",
    "subspace",
    "tolerance",
    "min_gap",
    "max_gap",
    "scale",
    "moment_transport",
    "accumulate",
)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a language model is trained.

    Matrices of the blocks are trained by the optimizer of that name, embedding, head and norms always by AdamW. Rates
    rise linearly over the warm-up and then fall like a cosine to a tenth. An option of the low-rank optimizers that is
    None has that optimizer's own default.

    Parameters
    ----------
    optimizer : {"adarankgrad", "galore", "adamw"}
    lr : float, optional
        Of the matrices of the blocks; by default 3e-3, and 1e-2 for GaLore, which scales its updates by 0.25.
    full_rank_lr : float
        Of embedding, head and norms.
    betas : pair of float
    weight_decay : float
        Of the matrices of the blocks.
    max_grad_norm : float, optional
        Norm that gradients of all parameters together are clipped to; None to leave them.
    max_rank : int, optional
        By default a quarter of the model's width.
    min_rank, energy, residual, residual_scale, side, subspace : optional
        Options of :class:`rankopt.AdaRankGrad` and :class:`rankopt.GaLore`, what is kept of a gradient.
    tolerance, min_gap, max_gap, scale, moment_transport, accumulate : optional
        Options of both, when and how the weights move.
    steps : int
    batch_size : int
        Windows per microbatch.
    microbatches : int
        Backward passes per step.
    warmup : int, optional
        Steps; by default a tenth of all.
    seed : int
        Of initial weights, batches and sketches.
    dtype : {"float32", "bfloat16"}
        Of weights and gradients.
    device : str
        ``"auto"`` for CUDA where there is a device.
    compile : bool
        Whether to compile the model by ``torch.compile``.
    evaluate_every, checkpoint_every : int
        Steps; both also happen at the end.
    validation_windows : int
        At most.

    Raises
    ------
    ValueError
        If an option has no such value, or is one of low-rank optimizers and the optimizer is not.

    Examples
    --------
    >>> from problems import TrainingOptions
    >>> TrainingOptions(optimizer="adamw", steps=500).rate
    0.003
    """

    optimizer: str = "adarankgrad"
    lr: float | None = None
    full_rank_lr: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    min_rank: int | None = None
    max_rank: int | None = None
    energy: float | None = None
    residual: str | None = None
    residual_scale: float | None = None
    side: str | None = None
    subspace: str | None = None
    tolerance: float | None = None
    min_gap: int | None = None
    max_gap: int | None = None
    scale: float | None = None
    moment_transport: str | None = None
    accumulate: str | None = None
    steps: int = 1000
    batch_size: int = 16
    microbatches: int = 1
    warmup: int | None = None
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"
    compile: bool = False
    evaluate_every: int = 100
    checkpoint_every: int = 100
    validation_windows: int = 128

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", OPTIMIZERS), ("dtype", DTYPES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name in ("steps", "batch_size", "microbatches", "evaluate_every", "checkpoint_every", "validation_windows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "full_rank_lr", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        for name in ("warmup", "seed", "weight_decay"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.optimizer == "adamw" and self.low_rank_options:
            raise ValueError(f"{next(iter(self.low_rank_options))} is an option of low-rank optimizers, not of adamw")

    @property
    def rate(self) -> float:
        """Learning rate of the matrices of the blocks."""
        return _DEFAULT_RATES[self.optimizer] if self.lr is None else self.lr

    @property
    def low_rank_options(self) -> dict[str, Any]:
        """Options of the low-rank optimizers that are given."""
        return {name: getattr(self, name) for name in _LOW_RANK_OPTIONS if getattr(self, name) is not None}

    def rate_factor(self, step: int) -> float:
        """What the rates are multiplied by at a step, counted from 0."""
        warmup = self.steps // 10 if self.warmup is None else self.warmup
        if step < warmup:
            return (step + 1) / warmup
        passed = min((step - warmup) / max(self.steps - 1 - warmup, 1), 1.0)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * passed))


def build_optimizer(model: LanguageModel, options: TrainingOptions) -> tuple[torch.optim.Optimizer, Any]:
    """Optimizer of that name for all parameters of the model, and the log of its refreshes if it has any.

    Its first parameter group is that of the matrices of the blocks.
    """
    hidden = list(model.hidden_weights())
    held = {name for name, _ in hidden}
    others = [(name, weight) for name, weight in model.named_parameters() if name not in held]
    full: dict[str, Any] = {"params": others, "lr": options.full_rank_lr, "weight_decay": 0.0}
    shared: dict[str, Any] = {"lr": options.rate, "betas": options.betas, "weight_decay": options.weight_decay}
    if options.optimizer == "adamw":
        import torch

        return torch.optim.AdamW([{"params": hidden}, full], **shared), None
    import rankopt

    preset = {"galore": rankopt.GaLore, "adarankgrad": rankopt.AdaRankGrad}[options.optimizer]
    rank = model.config.width // 4 if options.max_rank is None else options.max_rank
    given = {"max_rank": max(rank, 1), **options.low_rank_options}
    if options.accumulate is not None:
        given["max_grad_norm"] = options.max_grad_norm
    known = inspect.signature(preset).parameters.keys()
    foreign = given.keys() - known
    if foreign:
        raise ValueError(f"{', '.join(sorted(foreign))} is no option of {options.optimizer}")
    log = rankopt.RefreshLog()
    groups = [{"params": hidden, "low_rank": True}, {**full, "low_rank": False}]
    if "seed" in known:  # nothing is drawn at random otherwise
        given["seed"] = options.seed
    return preset(groups, on_refresh=log, **shared, **given), log
