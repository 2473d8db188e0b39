"""The demo's report: one HTML file that opens from disk, and the numbers as JSON."""

from __future__ import annotations

import json
import os
import platform
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from problems.demo import correlation_report, training_report
from problems.demo.experiment import Experiment
from problems.demo.training import Comparison
from problems.report_page import embedded, escaped, table_row
from problems.training_run import peak_memory

GENERATOR = "rankopt demo"
"""Mark by which a report of this program is told from a file of the user's."""


def write_report(
    experiment: Experiment, comparison: Comparison, folder: Path, extra: dict[str, Any]
) -> tuple[Path, Path]:
    """Write ``index.html`` and ``results.json``; each replaces an older one only when it is complete.

    Returns
    -------
    tuple of Path
        Of the page and of the numbers.
    """
    results = {
        "cca": correlation_report.as_results(experiment),
        "training": training_report.as_results(comparison),
        "environment": environment(),
        **extra,
    }
    page, numbers = folder / "index.html", folder / "results.json"
    contents = (
        (page, as_html(experiment, comparison, results["environment"])),
        (numbers, json.dumps(results, indent=2) + "\n"),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in contents:
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    return page, numbers


def is_foreign(folder: Path) -> bool:
    """Whether the folder holds a page or numbers that an earlier demo did not write."""
    page, numbers = folder / "index.html", folder / "results.json"
    if page.exists():
        return GENERATOR not in page.read_text(encoding="utf-8", errors="replace")[:2000]
    return numbers.exists()


def environment() -> dict[str, Any]:
    """Versions and size of the machine that the numbers belong to."""
    import scipy
    import torch

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "peak_memory_bytes": peak_memory(),
    }


def _machine(environment: dict[str, Any]) -> str:
    words = [f"Python {environment['python']}"]
    words += [f"{name} {environment[name]}" for name in ("numpy", "scipy", "torch")]
    words += [f"{environment['cores']} cores"]
    if environment["peak_memory_bytes"]:
        words += [f"at most {environment['peak_memory_bytes'] / 1e9:.1f} GB of memory"]
    return ", ".join(words)


def as_html(experiment: Experiment, comparison: Comparison, environment: dict[str, Any]) -> str:
    """Report as one self-contained page; every inserted text is escaped."""
    inserted = {"generator": escaped(GENERATOR), "machine": escaped(_machine(environment))}
    inserted |= _inserted(correlation_report, experiment) | _inserted(training_report, comparison)
    template = Template((files("problems.demo") / "report.html").read_text(encoding="utf-8"))
    return template.substitute(inserted)


def _inserted(part: Any, data: Any) -> dict[str, str]:
    """Markup of a part of the report by its place in the page."""
    texts, tables, figures = part.texts(data), part.tables(data), part.figures(data)
    return (
        {name: escaped(text) for name, text in texts.items()}
        | {name: "\n".join(table_row(cells) for cells in rows) for name, rows in tables.items()}
        | {name: embedded(figure) for name, figure in figures.items()}
    )
