"""One trajectory as the explorer shows it, whichever kind of file it was read from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_MAX_EXTRA_CHARS = 2000


@dataclass(frozen=True)
class Tokens:
    """The tokens that spell one part.

    `lengths` are the UTF-16 code units of the part's text that each token spells; their sum is the text's length.
    `logprobs` are in nats, None where the engine reported none.
    """

    ids: tuple[int, ...]
    lengths: tuple[int, ...]
    logprobs: tuple[float, ...] | None


@dataclass
class Part:
    """Consecutive text with one role.

    `role` is one of `trajectory.Role` or "text" (nothing is known), `source` one of `trajectory.Source` or "unknown".
    `trained`: the text carries loss; None: unknown. `call` is a stored `trajectory.Call`, None where none was made.
    `real` is what a real tool answers where this part was imagined: text, from, diff.
    """

    role: str
    source: str
    text: str
    trained: bool | None = None
    call: Mapping[str, Any] | None = None
    tokens: Tokens | None = None
    real: Mapping[str, Any] | None = None


@dataclass
class Entry:
    """One trajectory; None is "not known" throughout.

    `uid` names the prompt and `sample` counts its answers from 0. `group` is the data set or the number of hops,
    `rewards` the named parts of the reward, `n_tokens` the length of the response. `protocol` is the name of the
    spelling, `extra` what else the row had, as text.
    """

    uid: str
    parts: list[Part]
    protocol: str | None = None
    run: str = ""
    sample: int = 0
    step: int | None = None
    split: str | None = None
    group: str = ""
    question: str = ""
    golds: list[str] = field(default_factory=list)
    answer: str | None = None
    correct: bool | None = None
    judge: bool | None = None
    reward: float | None = None
    rewards: dict[str, float] = field(default_factory=dict)
    stop: str | None = None
    forced: bool = False
    format_errors: list[str] = field(default_factory=list)
    n_tokens: int | None = None
    prompt: str | None = None
    counts: dict[str, float] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    advantage: float | None = None

    @property
    def prompt_key(self) -> tuple[str, str | None, int | None, str]:
        """What the samples of one prompt at one step share."""
        return self.run, self.split, self.step, self.uid

    def calls(self) -> Iterable[Mapping[str, Any]]:
        """The answered actions in order."""
        return (part.call for part in self.parts if part.call)


def finite(value: Any) -> float | None:
    """A number as JSON can hold it, True as 1; None for anything else, infinities and what no float holds included."""
    try:
        return value + 0 if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def numbers_of(values: Any) -> dict[str, float]:
    """The numbers of a mapping by name; whatever else it holds is left out."""
    if not isinstance(values, Mapping):
        return {}
    found = ((str(name), finite(value)) for name, value in values.items())
    return {name: value for name, value in found if value is not None}


def extra_of(row: Mapping[str, Any], known: Iterable[str], prefix: str = "") -> dict[str, str]:
    """The unknown fields of a row as text; long ones are cut, with a mark that says so."""
    known = set(known)
    return {f"{prefix}{name}": as_text(value) for name, value in row.items() if name not in known and value is not None}


def as_text(value: Any) -> str:
    """Any JSON value as text of at most some 2,000 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_EXTRA_CHARS else f"{text[:_MAX_EXTRA_CHARS]} … (cut, {len(text):,} characters)"
