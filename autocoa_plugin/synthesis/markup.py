"""Markdown that quotes: what stands in a block or a code span cannot end it, whatever it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BACKTICKS = re.compile(r"`+")


def fenced(text: str) -> str:
    """A block that shows text as it is; its fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}text\n{_CONTROL.sub('�', text)}\n{fence}"


def code(text: object) -> str:
    """Text on one line as a code span; not for a table, where a bar would begin a cell."""
    line = _CONTROL.sub("�", " ".join(str(text).split()))
    ticks = "`" * (_longest_run(line) + 1)
    # the outermost spaces are taken off where there is one on both sides
    inner = f" {line} " if line[:1] in ("`", "") or line[-1:] == "`" else line
    return f"{ticks}{inner}{ticks}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """A table of cells of our own words; the first `texts` columns are aligned to the left, the others to the right."""
    lines = [head, [*["---"] * texts, *["---:"] * (len(head) - texts)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(part: int, whole: int) -> str:
    """A share of a number as people read it: "30 %", "30.4 %" from a thousand on, "-" of nothing."""
    return "-" if not whole else f"{100 * part / whole:.{int(whole >= 1000)}f} %"


def number(value: float) -> str:
    """A number with separators: whole from a hundred on, else with one decimal where it has one."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def _longest_run(text: str) -> int:
    return max(map(len, _BACKTICKS.findall(text)), default=0)
