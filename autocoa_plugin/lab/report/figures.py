"""Draw matplotlib figures as inline SVG: text stays text, colours are the page's variables, ids are unique.

    paint(figure) ──matplotlib──> <svg ... #00a003 ...> ──inlined──> <svg ... var(--blue) ...>

Light and dark and the fonts are then chosen by the page, and the same input gives the same bytes. The pictures
themselves are in `figures_results.py` and `figures_training.py`.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from ...errors import ConfigError
from ..evaluate.summary import Interval

# what matplotlib draws with -> the variable of report.css that stands for it
_NAMES = ("ink", "muted", "faint", "paper", "blue", "sky", "green", "orange", "vermilion", "purple", "grey")
COLOURS = {name: f"#00a0{number:02x}" for number, name in enumerate(_NAMES, 1)}
TEXT, SMALL = 13.0, 11.5
"""Sizes of text in CSS pixels."""

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": SMALL,
    "axes.edgecolor": COLOURS["faint"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": TEXT,
    "axes.titlepad": 7,
    "axes.linewidth": 1,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": COLOURS["faint"],
    "grid.linewidth": 1,
    "lines.solid_capstyle": "round",
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Picture:
    """One SVG element, `width` CSS pixels wide, with `alt` as its spoken text; `name` is unique in the page."""

    name: str
    svg: str
    alt: str
    width: int


def check_plots() -> None:
    """Raise `ConfigError` when there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("a report needs matplotlib: pip install 'autocoa-plugin[eval]'") from error


def drawn(paint: Callable[[Any], None], *, name: str, alt: str, width: int, height: int) -> Picture:
    """Let `paint` fill a matplotlib figure of so many CSS pixels and return it as SVG for the page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings(), io.StringIO() as file:
        # its own fonts only measure the text; the browser has the glyphs
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")  # 1/72 inch is a unit of the SVG
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.03, hspace=0.03)  # pyright: ignore[reportOptionalMemberAccess,reportCallIssue]
        paint(figure)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        return Picture(name, _inlined(file.getvalue(), name, alt), alt, width)


# control characters but tab and line feed, line separators, what turns the direction of writing around
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def plain_text(text: str) -> str:
    """Clean text for a page: what cannot be shown, or would change what stands around it, becomes U+FFFD."""
    return _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def plain(text: str) -> str:
    """Clean text for a picture: one line of at most 60 characters."""
    line = " ".join(plain_text(text).split())
    return line if len(line) <= 60 else line[:59] + "…"


def _inlined(svg: str, name: str, alt: str) -> str:
    root = ElementTree.fromstring(svg)
    width, height = root.get("viewBox", "0 0 0 0").split()[2:]
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "role": "img",
        "aria-label": plain_text(alt),
        "id": name,
        "class": "plot",
    }
    for parent in list(root.iter()):
        for element in list(parent):
            if element.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):  # its style would be the whole page's
                parent.remove(element)
    for element in root.iter():
        _adopt(element, name)
    return ElementTree.tostring(root, encoding="unicode")


def _adopt(element: Any, name: str) -> None:
    """Give an element ids of its own, the page's colours and the page's font."""
    element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    for key, value in list(element.attrib.items()):
        if key == "id" and value != name:
            element.set(key, f"{name}-{value}")
        elif key == f"{{{_LINK}}}href":
            del element.attrib[key]
            element.set("href", re.sub(r"^#", f"#{name}-", value))
        else:
            element.set(key, _page_style(value.replace("url(#", f"url(#{name}-"), key))
    if element.tag == "svg":
        element.set("xmlns", _SVG)


def _page_style(value: str, key: str) -> str:
    if key != "style":
        return value
    value = re.sub(r"font-family: [^;]*(; )?", "", value)
    for name, colour in COLOURS.items():
        value = value.replace(colour, f"var(--{name})")
    return value


# ------------------------------------------- parts of several pictures: percent axes, whiskers, labels that keep apart


def percent(value: float | None) -> float:
    """A share as percent; NaN, which is not drawn, for None."""
    return float("nan") if value is None else 100 * value


def whisker(interval: Interval) -> tuple[float, float] | None:
    """The ends of an interval in percent, None when it has none."""
    if interval.low is None or interval.high is None:
        return None
    return percent(interval.low), percent(interval.high)


def bare(axes: Any, *sides: str) -> None:
    """Take these sides of the frame away."""
    for side in sides:
        axes.spines[side].set_visible(False)


def whole_percent(axes: Any, axis: str = "x", *, ticks: Sequence[int] = (0, 25, 50, 75, 100)) -> None:
    """An axis from 0 to 100 %, with faint lines."""
    getattr(axes, f"set_{axis}lim")(-2 if axis == "x" else 0, 102)
    getattr(axes, f"set_{axis}ticks")(ticks, [str(tick) for tick in ticks])
    axes.grid(axis=axis)
    axes.set_axisbelow(True)


def name_lines(axes: Any) -> None:
    """Write the lines' names in their colours where they hide least."""
    look = {"frameon": False, "labelcolor": "linecolor", "handlelength": 0, "handletextpad": 0, "fontsize": SMALL}
    for handle in axes.legend(loc="best", **look).legend_handles:
        handle.set_visible(False)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the wanted ones as at least `gap` between them allows, inside low to high where they fit.

    Labels that would touch form a block around the mean of what they want; blocks that touch join.
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _end(blocks[-2], wanted, gap, low, high) > _start(blocks[-1], wanted, gap, low, high):
            last = blocks.pop()
            blocks[-1] += last
    places = [0.0] * len(wanted)
    for block in blocks:
        start = _start(block, wanted, gap, low, high)
        for number, index in enumerate(block):
            places[index] = start + (number + 0.5) * gap
    return places


def _start(block: Sequence[int], wanted: Sequence[float], gap: float, low: float, high: float) -> float:
    height = len(block) * gap
    start = sum(wanted[index] for index in block) / len(block) - height / 2
    return max(low, min(start, high - height))


def _end(block: Sequence[int], wanted: Sequence[float], gap: float, low: float, high: float) -> float:
    return _start(block, wanted, gap, low, high) + len(block) * gap


def colour(name: str) -> str:
    """A colour of the page by its name."""
    return COLOURS[name]
