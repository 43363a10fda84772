"""Entry of the explorer: one trajectory as it is shown, from any kind of file; its rows and gold answers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...answers import gold_answers
from ...errors import DataError

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
        """Key shared by the samples of one prompt at one step."""
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


# -------------------------------------------------------------------------------------------------- rows of JSON lines
#
# The programs that wrote them may have died: a half-written last line is dropped, and reported. Training data is read
# more strictly (`data.record_files`): there a half-written line is refused.


Row = Mapping[str, Any]
Report = Callable[[str], object]


def rows_of(path: Path, report: Report) -> Iterator[tuple[str, Row]]:
    """Yield each row with its place, "file.jsonl:12"; empty lines are skipped. `report` gets what was dropped.

    Raises `DataError` with the place of a line that is not a JSON object, unless it is the last one and breaks off.
    """
    with path.open("rb") as file:  # text mode would also split at "\r" alone
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    report(f"{place}: a half-written last line was dropped")
                    return
                raise DataError(f"{place}: not a JSON object: {error}") from error
            yield place, object_of(row, place)


def object_of(row: Any, place: str) -> Row:
    """Raise `DataError` unless a row is an object."""
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, got {type(row).__name__} {row!r:.60}")
    return row


# ---------------------------------------------------------------------- gold answers, and the question inside a prompt


_MAX_QUESTION_CHARS = 2000
_ASKED = re.compile(r"\bQuestion:[ \t]*(\S.*)")
# the lines or tags at which the speaker changes, special tokens spelled out or left out
_SPEAKER = re.compile(
    r"(?im)^(?:<\|im_start\|>|<\|start_header_id\|>)?(system|user|assistant)(?:<\|end_header_id\|>)?[ \t]*$"
    r"|<[|\uff5c](system|user|assistant)[|\uff5c]>"
)
_END = re.compile(r"<\|im_end\|>|<\|eot_id\|>")


def golds_of(value: Any) -> list[str]:
    """Gold answers as texts; [] for none. Those that training and evaluation refuse are shown as they stand."""
    try:
        return list(gold_answers(value, "golds"))
    except DataError:
        return [as_text(value)]


def question_of(prompt: str) -> str:
    """The question that a prompt asks: behind the last "Question:", else the last user turn, else the whole prompt."""
    spans = [match.span() for match in _SPEAKER.finditer(prompt)]
    speakers = [(match[1] or match[2]).lower() for match in _SPEAKER.finditer(prompt)]
    text = prompt
    for index, speaker in enumerate(speakers):
        if speaker == "user":
            end = spans[index + 1][0] if index + 1 < len(spans) else len(prompt)
            text = prompt[spans[index][1] : end]
    asked = _ASKED.findall(text)
    return _END.sub("", asked[-1] if asked else text).strip()[:_MAX_QUESTION_CHARS]
