"""The commands ``rankopt cca`` and ``rankopt lda``: from files to scores, weights, numbers and a report."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from problems.analysis_run import AnalysisFolder
    from problems.row_source import RowSource

_CCA_SOLVERS = ("auto", "direct", "cholesky-qr", "lobpcg", "riemannian", "trust-region", "block-pcg")
_LDA_SOLVERS = ("auto", "direct", "cholesky-qr", "dual", "block-pcg", "lobpcg", "riemannian")
_PRECONDITIONERS = ("auto", "sketched", "nystrom", "diagonal", "exact", "identity")
_FILES = (
    "A file is .npy, .npz (sparse by rows), .csv, .tsv, .parquet, .svm, .h5 or .zarr, a data set in one "
    "(file.h5::name), or a folder of such files, whose rows are taken under each other. It is read in blocks, once for "
    "each pass; nothing is unpickled. "
)
_WRITES = "Ctrl-C keeps the passes that were made; --resume goes on after them."


def add_parsers(commands: Any) -> None:
    """Add the commands to those of ``rankopt``."""
    cca = commands.add_parser(
        "cca",
        help="canonical correlations of two files",
        description=f"Canonical correlations of two files with the same rows. {_FILES}Writes x_scores.npy, "
        f"y_scores.npy, weights.npz, summary.json and index.html. {_WRITES}",
        argument_default=argparse.SUPPRESS,
    )
    cca.add_argument("x", nargs="?", metavar="X", help="file of the first view")
    cca.add_argument("y", nargs="?", metavar="Y", help="file of the second view; it may be the same")
    cca.add_argument("--y-columns", type=_columns, metavar="A,B", help="columns of Y to use")
    cca.add_argument("--scale", action="store_true", help="divide columns by their standard deviations")
    cca.add_argument("--components", type=_positive, metavar="N", help="pairs of directions (default: 2)")
    _add_common(cca, _CCA_SOLVERS, "cca-report")
    cca.set_defaults(run=_run_cca)
    lda = commands.add_parser(
        "lda",
        help="linear discriminant analysis of a file",
        description=f"Linear discriminant analysis of a file whose rows have labels. {_FILES}Writes scores.npy, "
        f"weights.npz, summary.json and index.html. {_WRITES}",
        argument_default=argparse.SUPPRESS,
    )
    lda.add_argument("x", nargs="?", metavar="X", help="file of the rows")
    lda.add_argument(
        "y", nargs="?", metavar="Y", help="file of the labels: .npy, .csv, .tsv or .parquet (default: those in X)"
    )
    lda.add_argument("--labels", metavar="COLUMN", help="column of the labels, in Y or else in X")
    lda.add_argument("--shrinkage", type=_shrinkage, metavar="A", help="number from 0 to 1, or auto")
    lda.add_argument("--components", type=_positive, metavar="N", help="directions (default: all)")
    _add_common(lda, _LDA_SOLVERS, "lda-report")
    lda.set_defaults(run=_run_lda)


def _add_common(parser: argparse.ArgumentParser, solvers: tuple[str, ...], folder: str) -> None:
    parser.add_argument("--x-columns", type=_columns, metavar="A,B", help="columns of X to use (default: all)")
    parser.add_argument("--reg", type=float, metavar="R", help="ridge on the covariance (default: 0)")
    parser.add_argument("--solver", choices=solvers, help="(default: auto)")
    parser.add_argument("--preconditioner", choices=_PRECONDITIONERS, help="of iterative solvers (default: auto)")
    parser.add_argument("--tol", type=float, metavar="T", help="of iterative solvers (default: 1e-6)")
    parser.add_argument("--max-iter", type=_positive, metavar="N", help="of iterative solvers (default: 1000)")
    parser.add_argument("--seed", type=int, metavar="N", help="of sketches and start points (default: 0)")
    parser.add_argument("-o", "--output", type=Path, default=Path(folder), help=f"folder (default: {folder})")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", default=False, help="go on with the folder's stopped run")
    existing.add_argument("--force", action="store_true", default=False, help="overwrite the folder's results")
    parser.add_argument("--no-progress", action="store_true", default=False, help="show no progress bar")


def _columns(text: str) -> list[str | int]:
    """Names or numbers between commas."""
    return [int(part) if part.isdecimal() else part for part in (part.strip() for part in text.split(",")) if part]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1 is needed, got {number}")
    return number


def _shrinkage(text: str) -> float | str:
    return text if text == "auto" else float(text)


def _run_cca(options: argparse.Namespace) -> int:
    return _run(options, "cca", ("x_scores.npy", "y_scores.npy", "weights.npz"), _fit_cca)


def _run_lda(options: argparse.Namespace) -> int:
    return _run(options, "lda", ("scores.npy", "weights.npz"), _fit_lda)


_RUNNING = ("output", "resume", "force", "no_progress", "run", "verbose")


def _run(options: argparse.Namespace, command: str, names: tuple[str, ...], fit: Callable[..., Any]) -> int:
    """Fit, write and say what came out."""
    from problems.analysis_run import AnalysisFolder

    folder = AnalysisFolder(options.output, [*names, "index.html", "summary.json"])
    given = {name: value for name, value in vars(options).items() if name not in _RUNNING and value is not None}
    given["command"] = command
    if options.resume and not folder.is_stopped:
        return _refuse(f"there is no stopped run in {folder.path} to resume")
    if not options.resume and not options.force and (folder.present or folder.is_stopped):
        held = f"holds the {folder.present[0]} of another run" if folder.present else "holds a stopped run"
        return _refuse(
            f"{folder.path} {held}; choose another folder, {'' if folder.present else '--resume or '}--force"
        )
    if not options.resume and ("x" not in given or (command == "cca" and "y" not in given)):
        return _refuse(f"{command} needs {'two files, X and Y' if command == 'cca' else 'a file X'}; see --help")
    for name in ("x", "y"):
        if name in given:
            given[name] = _absolute(given[name])
    try:
        return _analyse(options, command, folder, given, fit)
    except (ImportError, TypeError) as error:
        return _refuse(str(error), code=1)


def _analyse(
    options: argparse.Namespace, command: str, folder: AnalysisFolder, given: dict[str, Any], fit: Callable[..., Any]
) -> int:
    from problems.analysis_report import write_results

    began = time.perf_counter()
    settings, journal = given, None
    if options.resume:
        settings, journal = folder.resume(given)
        print(f"going on after pass {journal.n_known}", flush=True)
    inputs = _inputs(command, settings)  # what cannot be read is no reason to delete a stopped run
    journal = folder.start(settings) if journal is None else journal
    progress = _Progress(sys.stderr.isatty() and not options.no_progress, journal)
    journal.has_read = progress
    inputs[0].journal = journal
    try:
        with warnings.catch_warnings(record=True) as caught, progress:
            warnings.simplefilter("always")
            fitted = fit(settings, *inputs)
            said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
        for sentence in said:
            print(f"rankopt: warning: {sentence}", file=sys.stderr)
        with folder.results() as place:
            summary = write_results(fitted, inputs, settings, place, said, time.perf_counter() - began)
    except KeyboardInterrupt:
        again = shlex.join(["rankopt", command, "--output", str(folder.path), "--resume"])
        return _refuse(f"stopped after pass {journal.n_known}; go on with: {again}", code=1)
    except (ValueError, TypeError):
        folder.forget()  # the same data and settings would fail again
        raise
    print(_table(command, summary))
    print(f"files         {', '.join(str(folder.path / name) for name in folder.names)}")
    return 0


def _inputs(command: str, settings: dict[str, Any]) -> tuple[RowSource, Any]:
    """Rows of X, and rows of Y or labels."""
    from problems.data_files import column_names, open_rows, read_labels

    x, y, label = settings["x"], settings.get("y", ""), settings.get("labels")
    x_columns = settings.get("x_columns")
    if command == "cca":
        return open_rows(x, columns=x_columns), open_rows(y, columns=settings.get("y_columns"))
    column = int(label) if label is not None and label.isdecimal() else label
    labels = read_labels(y or x, column)
    if not y and x_columns is None:
        names = column_names(x)
        if names is not None:
            x_columns = [name for name in names if name != (names[column] if isinstance(column, int) else column)]
    return open_rows(x, columns=x_columns), labels


def _fit_cca(settings: dict[str, Any], x: RowSource, y: RowSource) -> Any:
    from problems.cca import CCA

    return CCA(settings.get("components", 2), **_parameters(settings, "scale")).fit(x, y)


def _fit_lda(settings: dict[str, Any], x: RowSource, labels: np.ndarray) -> Any:
    from problems.lda import LDA

    return LDA(settings.get("components"), **_parameters(settings, "shrinkage")).fit(x, labels)


def _parameters(settings: dict[str, Any], *more: str) -> dict[str, Any]:
    names = ("reg", "solver", "preconditioner", "tol", "max_iter", *more)
    return {"random_state": settings.get("seed", 0)} | {name: settings[name] for name in names if name in settings}


class _Progress:
    """A bar over the rows of each pass."""

    def __init__(self, shown: bool, journal: Any) -> None:
        self._shown, self._journal, self._pass = shown, journal, -1
        self._bar: Any = None

    def __call__(self, rows: int, total: int) -> None:
        if not self._shown:
            return
        from tqdm import tqdm

        if self._journal.n_passes != self._pass:
            self._close()
            self._pass = self._journal.n_passes
            self._bar = tqdm(total=total, desc=f"pass {self._pass}", unit=" rows", leave=False)
        self._bar.update(rows - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()


def _absolute(path: str) -> str:
    file, colons, dataset = path.partition("::")
    return str(Path(file).resolve()) + colons + dataset


def _table(command: str, summary: dict[str, Any]) -> str:
    values = summary["correlations" if command == "cca" else "eigenvalues"]
    name = "correlations" if command == "cca" else "eigenvalues"
    lines = [
        f"{name:13s} {', '.join(f'{value:.6g}' for value in values)}",
        f"solver        {summary['solver']}, {summary['passes']} {'pass' if summary['passes'] == 1 else 'passes'} "
        f"over {summary['n_samples']:,} rows, "
        f"{summary['seconds']:.1f} s",
    ]
    if command == "lda":
        lines.insert(1, f"accuracy      {summary['accuracy']:.4f} of the training rows")
    return "\n".join(lines)


def _refuse(sentence: str, code: int = 2) -> int:
    print(f"rankopt: {sentence}", file=sys.stderr)
    return code
