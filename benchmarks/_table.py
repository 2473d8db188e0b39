"""Print a table and write it as JSON, with the machine it was measured on."""

import json
import platform
from pathlib import Path

from problems.demo.report import environment

_FOLDER = Path(__file__).parent / "results"


def publish(name: str, title: str, rows: list[dict], **extra: object) -> None:
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


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
