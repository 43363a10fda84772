"""Several tapes of the same configuration into one: those of several nodes, or of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..errors import ConfigError
from .header import check
from .tape import Entry, Tape
from .whole import new_tape

Preference = Literal["first", "newest"]


@dataclass
class Merged:
    """What became of the answers: `same` were on an earlier tape already, `conflicts` had another text there."""

    answers: int = 0
    same: int = 0
    conflicts: int = 0
    example: str = ""  # a query in conflict


def merge(out: str | Path, inputs: Sequence[str | Path], *, prefer: Preference | None = None) -> Merged:
    """Write the answers of all tapes into the new tape `out`.

    Where two tapes answer one query differently, `prefer` "first" keeps the answer of the tape named first, "newest"
    the one recorded last; None refuses. Raises `ConfigError` then, for differing headers, and when `out` exists.
    """
    if not inputs:
        raise ConfigError("a merge needs at least one cassette to read")
    with ExitStack() as stack:
        tapes = [stack.enter_context(Tape.play(path)) for path in inputs]
        for tape in tapes[1:]:
            check(tape.header, asdict(tapes[0].header), tape.path, other=f"in {tapes[0].path}")
        merged, target = Merged(), stack.enter_context(new_tape(out, tapes[0].header))
        for tape in tapes:
            for entry in tape.entries():
                _add(target, entry, prefer, merged)
        if merged.conflicts and prefer is None:
            raise ConfigError(
                f"{merged.conflicts:,} queries have different answers on these tapes, such as {merged.example!r} "
                f"({merged.answers:,} answers in all): choose with --prefer first or --prefer newest"
            )
    return merged


def _add(target: Tape, entry: Entry, prefer: Preference | None, merged: Merged) -> None:
    kept = target.keep(entry)
    if kept is entry:
        merged.answers += 1
    elif (kept.text, kept.outcome) == (entry.text, entry.outcome):
        merged.same += 1
    else:
        merged.conflicts += 1
        merged.example = merged.example or entry.query
        if prefer == "newest" and entry.created > kept.created:
            target.replace(entry)
