"""From sections to one HTML file: jinja2 fills the template, everything it fills in is escaped but our own SVG.

The page has no script and asks nobody for anything: its policy (CSP) forbids both, and the theme is chosen by CSS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .blocks import Details, Figure, Heading, Section, Table, Text
from .figures.canvas import plain_text

_FOLDER = Path(__file__).parent / "page"
_KINDS = {Table: "table", Figure: "figure", Heading: "heading", Text: "text", Details: "details"}


@dataclass(frozen=True)
class Head:
    """What stands above the sections: `lead` are sentences that say the most important, `left_out` what is missing."""

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
