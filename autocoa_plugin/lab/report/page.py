"""HTML page of a report: its blocks (tables, figures, text), and the jinja2 template that they fill.

All that is filled in is escaped, but for our own SVG. The page has no script and makes no request: its policy (CSP)
forbids both, and the theme is chosen by CSS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...errors import ConfigError
from ..evaluate.summary import Interval
from ..scorecard.scorecard import Estimate
from .figures import Picture, plain_text

# ----------------------------------------------------- blocks: everything is text here, markup comes with the template


NONE = "-"
"""Text of a cell without a number."""


@dataclass(frozen=True)
class Cell:
    """One cell; `note` is small print below it. `mark`: "best" of its column, "tied" with the best, or neither."""

    text: str
    note: str = ""
    mark: Literal["", "best", "tied"] = ""


@dataclass(frozen=True)
class Table:
    """Rows with a name each; `notes` stand below, `caption` above, `columns` name the cells without the row's name."""

    name: str
    caption: str
    corner: str
    columns: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """Pictures side by side as the width allows, with one caption; `key` is label -> colour of the page."""

    name: str
    pictures: tuple[Picture, ...]
    caption: str
    key: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Heading:
    """A part of a section."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Details:
    """Something long that opens on demand; `text` keeps its lines."""

    name: str
    summary: str
    text: str


Block = Table | Figure | Heading | Text | Details


@dataclass(frozen=True)
class Section:
    """One part of the report; `name` is its id in the page, `says` one line for the contents."""

    name: str
    title: str
    says: str
    blocks: tuple[Block, ...]


def share(
    found: Interval | Estimate | None,
    mark: Literal["", "best", "tied"] = "",
    *,
    scale: float = 100.0,
    digits: int = 1,
) -> Cell:
    """A mean, in percent unless scaled otherwise, over its interval: 71.0, 66.2 to 75.4."""
    if found is None or found.mean is None:
        return Cell(NONE)
    ends = [end for end in (found.low, found.high) if end is not None]
    note = " to ".join(f"{scale * end:.{digits}f}" for end in ends)
    return Cell(f"{scale * found.mean:.{digits}f}", note, mark)


def number(value: float | None) -> Cell:
    """A count or an amount: 12,340 or 0.25."""
    if value is None:
        return Cell(NONE)
    return Cell(f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.2f}")


_FOLDER = Path(__file__).parent / "page"
_KINDS = {Table: "table", Figure: "figure", Heading: "heading", Text: "text", Details: "details"}


@dataclass(frozen=True)
class Head:
    """Head of the page: `lead` are sentences that say the most important, `left_out` what is missing."""

    title: str
    created: str
    command: str
    lead: Sequence[str] = ()
    left_out: Sequence[str] = ()


def check_page() -> None:
    """Raise `ConfigError` when there is no jinja2."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise ConfigError("a report needs jinja2: pip install 'autocoa-plugin[eval]'") from error


def html(head: Head, sections: Sequence[Section]) -> str:
    """Render the page."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.tests["kind"] = lambda block, kind: _KINDS[type(block)] == kind
    style = Markup((_FOLDER / "report.css").read_text(encoding="utf-8"))
    template = environment.get_template("report.html.j2")
    return template.render(head=head, sections=sections, style=style, drawn=lambda picture: Markup(picture.svg))


def _clean(value: Any) -> Any:
    return plain_text(value) if type(value) is str else value
