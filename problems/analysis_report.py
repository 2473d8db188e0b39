"""What an analysis of files writes: scores block by block, weights, numbers as JSON, and a page with pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from problems.cca import CCA
from problems.cca_plots import correlation_circle, scree_plot
from problems.demo.report import environment
from problems.lda import LDA
from problems.report_page import embedded, escaped, plain_label, table_row
from problems.row_source import RowSource
from problems.view_inputs import row_pieces, score_blocks

_SAMPLED_ROWS = 5000
"""Rows that pictures are drawn from."""

_SAMPLED_BYTES = 2**26
"""Size of these rows at most."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 0 auto; max-width: 54rem; padding: 2rem 1.25rem; color: #222; background: #fafaf8; }}
  body {{ font: 16px/1.5 Georgia, serif; }}
  h1 {{ font-size: 1.7rem; overflow-wrap: anywhere; }}
  h2 {{ font-size: 1.25rem; margin-top: 2rem; }}
  img {{ width: 100%; height: auto; background: #fff; border: 1px solid #e4e4df; }}
  table {{ border-collapse: collapse; font: 14px/1.4 system-ui, sans-serif; background: #fff; }}
  th, td {{ text-align: right; padding: .4rem .6rem; border-bottom: 1px solid #e4e4df; overflow-wrap: anywhere; }}
  th:first-child, td:first-child {{ text-align: left; }}
  .warning {{ border-left: 4px solid #b0413e; background: #fff; padding: .6rem 1rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
{parts}
</body>
</html>
"""


def write_results(
    fitted: CCA | LDA,
    inputs: tuple[RowSource, Any],
    settings: dict[str, Any],
    folder: Path,
    warnings: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """Write all results of a fit into a folder, and return the numbers.

    Parameters
    ----------
    fitted : CCA or LDA
    inputs : tuple
        Rows of X, and rows of Y or labels.
    settings : dict
        What was asked for.
    folder : Path
    warnings : sequence of str
        What the fit has warned of.
    seconds : float
        That the fit took.
    """
    x, other = inputs
    write = _write_cca if isinstance(fitted, CCA) else _write_lda
    results, figures, names = write(fitted, x, other, folder)
    summary = results | {
        "n_samples": x.shape[0],
        "n_features": x.shape[1],
        "solver": fitted.solver_,
        "passes": fitted.n_passes_,
        "iterations": fitted.n_iter_,
        "status": None if fitted.status_ is None else fitted.status_.name,
        "condition_number": _finite(fitted.condition_number_),
        "sketch_size": fitted.sketch_size_,
        "seconds": seconds,
        "warnings": list(warnings),
        "settings": settings,
        "environment": environment(),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (folder / "index.html").write_text(_page(summary, figures, names), encoding="utf-8")
    return summary


def _write_cca(cca: CCA, x: RowSource, y: RowSource, folder: Path) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    p = cca.x_rotations_.shape[1]
    for file, rows, mean, rotations in (
        ("x_scores.npy", x, cca.x_mean_, cca.x_rotations_),
        ("y_scores.npy", y.cast(cca.x_mean_.dtype), cca.y_mean_, cca.y_rotations_),
    ):
        _write_rows(folder / file, score_blocks(rows, mean, rotations, rows.name), (x.shape[0], p), mean.dtype)
    np.savez(
        folder / "weights.npz",
        correlations=cca.correlations_,
        **{
            f"{view}_{name}": getattr(cca, f"{view}_{name}_")
            for view in "xy"
            for name in ("weights", "rotations", "mean", "loadings")
        },
    )
    row_bytes = max(x.row_bytes, y.row_bytes)
    x_sample, y_sample = _sample(x, row_bytes), _sample(y, row_bytes)
    figures = {
        "Canonical correlations": _drawn(lambda ax: scree_plot(cca, ax=ax)),
        "Scores of the first pair": _drawn(lambda ax: _draw_pair(cca, x_sample, y_sample, ax)),
    }
    names = [_names(rows, letter) for rows, letter in ((x, "x"), (y, "y"))]
    if p > 1:
        labels = [plain_label(name) for name in names[0]], [plain_label(name) for name in names[1]]
        figures["Correlations of the columns with the first two scores of X"] = _drawn(
            lambda ax: correlation_circle(cca, x_sample, y_sample, names=labels, ax=ax), side=6.5
        )
    results = {
        "correlations": cca.correlations_.astype(float).tolist(),
        "n_targets": y.shape[1],
        "largest_weights": [_largest(cca.x_weights_[:, k], names[0]) for k in range(p)],
        "largest_y_weights": [_largest(cca.y_weights_[:, k], names[1]) for k in range(p)],
    }
    return results, figures, [x.name, y.name]


def _write_lda(
    lda: LDA, x: RowSource, labels: np.ndarray, folder: Path
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    r, hits = lda.eigenvalues_.shape[0], 0
    both = np.concatenate([lda.scalings_[:, :r], lda.coef_.T], axis=1)
    intercept = lda.intercept_ + lda.xbar_ @ lda.coef_.T

    def scores() -> Iterator[np.ndarray]:
        nonlocal hits
        first = 0
        for block in score_blocks(x, lda.xbar_, both, x.name):
            rule = block[:, r:] + intercept
            chosen = (rule[:, 0] > 0).astype(int) if rule.shape[1] == 1 else rule.argmax(axis=1)
            hits += int(np.count_nonzero(lda.classes_[chosen] == labels[first : first + len(block)]))
            first += len(block)
            yield np.ascontiguousarray(block[:, :r])

    _write_rows(folder / "scores.npy", scores(), (x.shape[0], r), lda.xbar_.dtype)
    kept = ("eigenvalues", "scalings", "coef", "intercept", "means", "priors", "xbar", "classes")
    weights: dict[str, Any] = {name: np.asarray(getattr(lda, f"{name}_")) for name in kept}
    np.savez(folder / "weights.npz", **weights)
    step = _step(x.shape[0], x.row_bytes)
    sample, names = _sample(x, x.row_bytes), _names(x, "x")
    figures = {
        "Quotients of the variances between and within the classes": _drawn(lambda ax: _draw_scree(lda, ax)),
        "Projection of the rows": _drawn(lambda ax: _draw_classes(lda, sample, labels[::step], ax)),
    }
    results = {
        "eigenvalues": lda.eigenvalues_.astype(float).tolist(),
        "explained_variance_ratio": lda.explained_variance_ratio_.astype(float).tolist(),
        "accuracy": hits / x.shape[0],
        "classes": [str(label) for label in lda.classes_],
        "priors": lda.priors_.astype(float).tolist(),
        "largest_weights": [_largest(lda.scalings_[:, k], names) for k in range(r)],
    }
    return results, figures, [x.name]


def _write_rows(file: Path, blocks: Iterator[np.ndarray], shape: tuple[int, int], dtype: np.dtype) -> None:
    """Matrix in numpy's format, of which only blocks are in memory."""
    with open(file, "wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(np.ascontiguousarray(block, dtype=dtype).tobytes())


def _step(n: int, row_bytes: int) -> int:
    most = max(100, min(_SAMPLED_ROWS, _SAMPLED_BYTES // row_bytes))
    return -(-n // most)


def _sample(rows: RowSource, row_bytes: int) -> np.ndarray:
    """Every so many rows, dense."""
    step, first, found = _step(rows.shape[0], row_bytes), 0, []
    for block in row_pieces(rows):
        chosen = block[-first % step :: step]
        found.append(chosen.toarray() if scipy.sparse.issparse(chosen) else np.array(chosen))
        first += block.shape[0]
    return np.concatenate(found)


def _drawn(draw: Any, side: float = 4.5) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(side, 6.5), side), layout="constrained")
    draw(figure.subplots())
    return embedded(figure)


def _draw_pair(cca: CCA, x: np.ndarray, y: np.ndarray, ax: Any) -> None:
    left, right = ((x - cca.x_mean_) @ cca.x_rotations_[:, 0], (y - cca.y_mean_) @ cca.y_rotations_[:, 0])
    ax.plot(left, right, ".", markersize=3, alpha=0.5)
    ax.set_xlabel("first score of X")
    ax.set_ylabel("first score of Y")
    ax.grid(alpha=0.3)


def _draw_scree(lda: LDA, ax: Any) -> None:
    values = lda.eigenvalues_
    ax.plot(np.arange(1, len(values) + 1), values, "o-")
    ax.set_xticks(np.arange(1, len(values) + 1, max(1, len(values) // 8)))
    ax.set_xlabel("direction")
    ax.set_ylabel("eigenvalue")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)


def _draw_classes(lda: LDA, x: np.ndarray, labels: np.ndarray, ax: Any) -> None:
    scores = (x - lda.xbar_) @ lda.scalings_[:, :2]
    for k, label in enumerate(lda.classes_[:20]):
        own, style = scores[labels == label], {"color": f"C{k % 10}", "label": plain_label(label), "alpha": 0.5}
        if scores.shape[1] == 1:
            ax.hist(own[:, 0], bins=40, **style)
        else:
            ax.plot(*own.T, ".", markersize=3, **style)
    ax.set_xlabel("first direction")
    ax.set_ylabel("rows" if scores.shape[1] == 1 else "second direction")
    ax.legend(fontsize="small", ncols=2)


def _names(rows: RowSource, letter: str) -> list[str]:
    return rows.columns or [f"{letter}{j}" for j in range(rows.shape[1])]


def _largest(weights: np.ndarray, names: list[str], count: int = 10) -> dict[str, float]:
    """Largest weights by the names of their columns."""
    return {names[j]: float(weights[j]) for j in np.argsort(-np.abs(weights), kind="stable")[:count]}


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _page(summary: dict[str, Any], figures: dict[str, str], names: list[str]) -> str:
    kind = "Canonical correlations" if "correlations" in summary else "Linear discriminant analysis"
    parts = [f'<p class="warning">{escaped(sentence)}</p>' for sentence in summary["warnings"]]
    facts = [
        ["rows", f"{summary['n_samples']:,}"],
        [
            "columns",
            f"{summary['n_features']:,}" + (f" and {summary['n_targets']:,}" if "n_targets" in summary else ""),
        ],
        ["solver", summary["solver"]],
        ["passes over the data", summary["passes"]],
        ["iterations", summary["iterations"]],
        ["condition number", None if summary["condition_number"] is None else f"{summary['condition_number']:.2g}"],
    ]
    if "accuracy" in summary:
        facts.append(["accuracy on these rows", f"{summary['accuracy']:.4f}"])
    parts.append(_table(facts))
    values: list[float] = summary["correlations" if "correlations" in summary else "eigenvalues"]
    parts.append("<h2>Components</h2>")
    head = ["", "correlation" if "correlations" in summary else "eigenvalue", "largest weights"]
    rows = [
        [k + 1, f"{value:.6f}", ", ".join(f"{name} {weight:+.3g}" for name, weight in list(weights.items())[:5])]
        for k, (value, weights) in enumerate(zip(values, summary["largest_weights"], strict=True))
    ]
    parts.append(_table(rows, head))
    for title, source in figures.items():
        parts.append(f'<h2>{escaped(title)}</h2>\n<img alt="{escaped(title)}" src="{source}">')
    parts.append(f"<p>Pictures are drawn from at most {_SAMPLED_ROWS:,} rows at even distances.</p>")
    return _PAGE.format(title=escaped(f"{kind} of {' and '.join(names)}"), parts="\n".join(parts))


def _table(rows: list[list[Any]], head: list[str] | None = None) -> str:
    lines = [table_row(head, "th")] if head else []
    return "<table>\n" + "\n".join([*lines, *(table_row(cells) for cells in rows)]) + "\n</table>"
