"""Parameters of linear discriminant analysis: what each may be, and which exclude each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifolds.gram import require_nonnegative
from manifolds.sketching import require_integer
from rankopt.solvers.parameters import require_at_least

if TYPE_CHECKING:
    from problems.lda import LDA

_SOLVERS = ("auto", "direct", "cholesky-qr", "dual", "block-pcg", "lobpcg", "riemannian")
_PRECONDITIONERS = ("auto", "sketched", "nystrom", "diagonal", "exact", "identity")


def check_parameters(lda: LDA, most_components: int) -> None:
    """An error that names the parameter of LDA that is out of its range."""
    if lda.n_components is not None:
        require_integer("n_components", lda.n_components, smallest=1)
        if lda.n_components > most_components:
            raise ValueError(
                f"n_components must be at most {most_components}, the smaller of n_classes - 1 and "
                f"n_features, got {lda.n_components}"
            )
    for name, choices in (("solver", _SOLVERS), ("preconditioner", _PRECONDITIONERS)):
        if getattr(lda, name) not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {getattr(lda, name)!r}")
    require_nonnegative("reg", lda.reg)
    require_nonnegative("tol", lda.tol)
    if lda.tol == 0:
        raise ValueError("tol must be positive, got 0")
    require_at_least("max_iter", lda.max_iter, 1, whole=True)
    if lda.solver == "dual" and lda.reg == 0:
        raise ValueError("solver='dual' needs a ridge; use reg > 0, or solver='cholesky-qr'")
    if lda.shrinkage is None:
        return
    if lda.shrinkage != "auto":
        require_nonnegative("shrinkage", lda.shrinkage)
        if float(lda.shrinkage) > 1:
            raise ValueError(f"shrinkage must be between 0 and 1, 'auto' or None, got {lda.shrinkage}")
    if lda.reg:
        raise ValueError(f"reg and shrinkage exclude each other, got reg={lda.reg}, shrinkage={lda.shrinkage}")
    if lda.solver not in ("auto", "direct"):
        raise ValueError(f"shrinkage needs solver='direct' or 'auto', got {lda.solver!r}; reg goes with every solver")


def takes_parts(lda: LDA) -> bool:
    """Whether the parameters allow for parts; an AttributeError that says why where they do not."""
    if lda.solver not in ("auto", "direct"):
        raise AttributeError(f"solver must be 'auto' or 'direct' for partial_fit, got {lda.solver!r}")
    if lda.shrinkage == "auto" or (lda.shrinkage is not None and lda.priors is not None):
        raise AttributeError(
            "shrinkage must be a number, and priors left out beside it, for partial_fit: anything else needs the rows "
            "of all calls at once"
        )
    return True
