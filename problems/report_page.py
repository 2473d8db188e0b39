"""Pieces of a report in HTML: every text is escaped, figures are part of the page."""

from __future__ import annotations

import base64
import html
import io
from typing import Any


def escaped(value: Any) -> str:
    """Text of a value for a page; a dash for None."""
    return "–" if value is None else html.escape(str(value))


def table_row(cells: list[Any], kind: str = "td") -> str:
    """Row of a table."""
    return "<tr>" + "".join(f"<{kind}>{escaped(cell)}</{kind}>" for cell in cells) + "</tr>"


def embedded(figure: Any) -> str:
    """Figure as the source of an image element."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def plain_label(name: Any) -> str:
    """Name as it is in a figure: no formula, and not hidden from the legend, whatever signs it has."""
    text = str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
