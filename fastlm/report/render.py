"""A report as HTML, Markdown and JSON."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

from fastlm.report.content import Cell, Report

# a greater number with a fraction is written with an exponent
LARGEST_PLAIN = 1e9


def rendered(report: Report) -> dict[str, bytes]:
    """Renders a report.

    Returns:
        The contents of report.html, report.md and report.json by name.
    """
    return {
        "report.html": _template("report.html.jinja", report, markup=True),
        "report.md": _template("report.md.jinja", report, markup=False),
        "report.json": (json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n").encode(),
    }


def _template(name: str, report: Report, markup: bool) -> bytes:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fastlm.report", "templates"),
        autoescape=markup,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "ratio": ratio, "md": markdown_cell, "markup": markup_of}
    environment.tests |= {"numeric": is_number, "token": is_token}
    return environment.get_template(name).render(report=report).encode("utf-8", "backslashreplace")


def is_number(value: Cell) -> bool:
    """Whether a cell is a number or missing, and so aligned to the right."""
    return value is None or isinstance(value, int | float)


def is_token(value: Cell) -> bool:
    """Whether a cell is the repr of a token, which may be long and has no spaces to break at."""
    return isinstance(value, str) and value[:2] in ("b'", 'b"')


def markup_of(text: Any) -> str:
    """Text of a paragraph for a page: text between backticks is code.

    Example:
        >>> markup_of("`a` < b")
        '<code>a</code> &lt; b'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(str(text)))


def cell(value: Cell) -> str:
    """A cell as text.

    Example:
        >>> cell(2127057600), cell(8.5e9), cell(1234.56), cell(0.12345678), cell(None)
        ('2,127,057,600', '8.5e9', '1,234.6', '0.1235', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return value
    if abs(value) >= LARGEST_PLAIN:
        mantissa, exponent = f"{value:.9e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def ratio(value: float | None) -> str:
    """The ratio of two figures as text.

    Example:
        >>> ratio(1.0), ratio(0.0123456), ratio(2345.6), ratio(None)
        ('1', '0.0123', '2,346', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown_cell(value: Any) -> str:
    """Text for a cell of a table in Markdown."""
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
