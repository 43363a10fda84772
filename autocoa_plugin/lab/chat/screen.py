"""Show a chain of action: one labelled paragraph per role, coloured on a terminal, plain elsewhere.

    thought          First I need the founder of Pahex Motors .
    search           Pahex Motors founder
    real 0.02 s      Pahex Motors : Pahex Motors is a company founded by Gigra Drarkman .
    thought          So the founder of Pahex Motors is Gigra Drarkman .
    answer           \\boxed{ Gigra Drarkman }
    Gigra Drarkman | answered | 1 action (1 real) | 31 tokens sampled, 24 read | 0.4 s | cost 0

No text reaches the terminal raw: what a document or a model says can move no cursor and colour nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...trajectory import Call, Role, Trajectory
from .watch import Piece

if TYPE_CHECKING:
    from rich.console import Console


_LABEL_WIDTH = 16
# all of category Cc but tab and newline; marks that turn the direction of text; separators that some terminals obey
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAK = re.compile(r"\s*\n\s*")
_STYLES = {Role.THOUGHT: "dim", Role.ACTION: "cyan", Role.ANSWER: "bold"}
_ORIGINS = {
    "real": ("real", "green"),
    "cache": ("cached", "green"),
    "replay": ("recorded", "blue"),
    "world_model": ("imagined", "magenta"),
    "notice": ("notice", "yellow"),
}


class Screen:
    """Screen that writes paragraphs to a console, as their text comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._label: str | None = None
        self._space = ""  # white space is written with what follows it

    def piece(self, piece: Piece, *, is_forced: bool) -> None:
        """Show text that the policy writes."""
        is_answer = piece.role is Role.ANSWER
        label = piece.tool or ("answer, forced" if is_answer and is_forced else str(piece.role))
        self._write(label, _STYLES[piece.role], piece.text)

    def observation(self, call: Call, text: str) -> None:
        """Show an observation with who answered, how long that took, and what went wrong."""
        name, style = _ORIGINS.get(call.origin, (call.origin, "green"))
        self.end()  # two observations in a row are two paragraphs
        went_wrong = "" if call.outcome == "ok" else f"[{call.outcome}] "
        self._write(f"{name} {call.seconds:.2f} s", style, went_wrong + (text or "(nothing)"))
        self.end()

    def line(self, text: str, style: str = "") -> None:
        """Show a line of its own."""
        self.end()
        self._print(harmless(text) + "\n", style)

    def end(self) -> None:
        """End the paragraph that is being written."""
        if self._label is not None:
            self._print("\n")
        self._label, self._space = None, ""

    def _write(self, label: str, style: str, text: str) -> None:
        text = harmless(text)
        if label != self._label:
            text = text.lstrip()
            if not text:
                return
            self.end()
            self._label = label
            self._print(f"{label:<{_LABEL_WIDTH}} ", "bold" if not style else f"bold {style}")
        whole = self._space + text
        shown = whole.rstrip()
        self._space = whole[len(shown) :]
        self._print(_BREAK.sub("\n" + " " * (_LABEL_WIDTH + 1), shown), style)

    def _print(self, text: str, style: str = "") -> None:
        encodable = text.encode(self._console.encoding, "replace").decode(self._console.encoding)
        self._console.out(encodable, style=style or None, highlight=False, end="")
        self._console.file.flush()


def harmless(text: str) -> str:
    """Replace every character that a terminal might obey instead of showing it; tabs and newlines stay."""
    return _OBEYED.sub("\ufffd", text)


def summary_line(trajectory: Trajectory, answer: str | None, seconds: float) -> str:
    """Sum up a finished rollout in one line; `seconds` is its wall clock."""
    counts = trajectory.counts
    asked = {
        "real": counts.real_calls,
        "cached": counts.cached_calls,
        "recorded": counts.replayed_calls,
        "imagined": counts.simulated_calls,
        "refused": counts.notices,
    }
    kinds = ", ".join(f"{count} {name}" for name, count in asked.items() if count)
    actions = f"{counts.actions} action{'' if counts.actions == 1 else 's'}{f' ({kinds})' if kinds else ''}"
    stop = str(trajectory.stop_reason) + (", answer forced" if trajectory.forced_answer else "")
    sampled = counts.sampled_tokens + counts.sampled_observation_tokens + counts.discarded_observation_tokens
    tokens = f"{sampled:,} tokens sampled, {counts.injected_tokens:,} read"
    shown = "no answer" if answer is None else " ".join(answer.split()) or "(empty)"
    return " | ".join([shown, stop, actions, tokens, f"{seconds:.1f} s", f"cost {counts.cost:g}"])
