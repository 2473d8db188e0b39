"""Print a table and write it as JSON, with the machine it was measured on."""

import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from problems.demo.report import environment

_FOLDER = Path(__file__).parent / "results"
_PAGES = Path(__file__).parent.parent / "docs" / "measured"


def publish(name: str, title: str, rows: list[dict], *, page: bool | Sequence[str] = False, **extra: object) -> None:
    """Print and write the rows; with ``page`` these columns, or all, also as a table for the documentation."""
    columns = list(rows[0])
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    print(f"\n{title}")
    for line in (columns, ["-" * width for width in widths], *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    _FOLDER.mkdir(exist_ok=True)
    results = {"title": title, "rows": rows, "environment": environment() | {"machine": platform.machine()}, **extra}
    path = _FOLDER / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")
    if page:
        _PAGES.mkdir(exist_ok=True)
        table = _PAGES / f"{name}.txt"
        table.write_text(
            _as_list_table(command(sys.argv), title, columns if page is True else page, rows), encoding="utf-8"
        )
        print(f"table of the documentation: {table}")


def command(arguments: Sequence[str]) -> str:
    """The command that repeats a run: of a module, or a package that is run by its ``__main__``, with its options."""
    path, options = Path(arguments[0]), arguments[1:]
    name = path.parent.name if path.stem == "__main__" else path.stem
    return " ".join([f"python -m benchmarks.{name}", *options]) if options else f"make bench NAME={name}"


def _as_list_table(script: str, title: str, columns: Sequence[str], rows: list[dict]) -> str:
    lines = [f".. list-table:: {title}, by ``{script}``", "   :header-rows: 1", ""]
    for cells in (columns, *([_text(row[column]) for column in columns] for row in rows)):
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(cells)]
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
