"""The data card of a set: what stands in it, where it is from, how it was filtered, what it cost; for programs.

`NAME.card.json` is written from this, `NAME.card.md` says the same to people (`card_text.py`). Everything but the date
follows from the attempts and the job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .. import __version__
from ..config import to_mapping
from ..evaluation.fingerprint import Fingerprint
from .card_notes import known_limits, told
from .examples import examples_of
from .gates.registry import GATES
from .job import SynthesisJob
from .licence import licences_of
from .provenance import Prompt, public_name
from .tally import GateTally, RunTally, SetTally, to_plain

CARD_VERSION = 1
CARD_SUFFIXES = (".card.json", ".card.md")
Ended = Literal["complete", "stopped", "ceiling"]
# whose right chains a set is made of, and whose wrong ones it needs
_KINDS = {"cot": (("cot",), ()), "coa": (("coa",), ()), "pairs": (("act", "think"), ("cot", "coa"))}


@dataclass(frozen=True)
class Run:
    """The run that data sets are made from, as a card tells it.

    `ended` "complete": nothing is left to ask; "stopped": a signal came first; "ceiling": the money was spent. `cot`
    and `coa` are the teacher's prompts, `training` the one that the recipe will put before the rows. `created` is UTC
    in ISO 8601, `seconds` wall clock of all sessions (None: not told).
    """

    job: SynthesisJob
    fingerprint: Fingerprint
    cot: Prompt
    coa: Prompt
    training: Prompt
    ended: Ended
    created: str
    command: Sequence[str] = ()
    seconds: float | None = None


def write_cards(
    folder: Path, run: Run, tally: RunTally, sets: Mapping[str, SetTally], files: Mapping[str, Sequence[Path]]
) -> None:
    """Write both files of the card of each set that has rows; `files` are read for examples."""
    from .card_text import card_text

    for name, each in sets.items():
        if each.rows:
            card = card_of(name, run, tally, each, files[name])
            text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False)
            for suffix, content in zip(CARD_SUFFIXES, (text + "\n", card_text(card)), strict=True):
                (folder / f"{name}{suffix}").write_text(content, encoding="utf-8", newline="\n")


def card_of(name: str, run: Run, tally: RunTally, rows: SetTally, files: Sequence[Path]) -> dict[str, Any]:
    """The card of one set, JSON-ready; `files` are its data files."""
    job = run.job
    return {
        "card_version": CARD_VERSION,
        "name": name,
        "told": told(name, job),
        "created": run.created,
        "version": __version__,
        "ended": run.ended,
        "files": [file.name for file in files],
        "rows": to_plain(rows),
        "run": to_plain(tally),
        "questions": {**run.fingerprint.questions, "licences": licences_of(job.questions, job.output.licence)},
        "teacher": _teacher(run),
        "student": None if job.student is None else public_name(job.student),
        "prompts": {each: _prompt(getattr(run, each)) for each in ("cot", "coa", "training")},
        "accept": str(job.acceptance),
        "gates": _gates(name, tally, job),
        "settings": _settings(run),
        "seconds": run.seconds,
        "command": [public_name(each) for each in run.command],
        "fingerprint": run.fingerprint.digest,
        "known_limits": known_limits(name, job, rows, run.ended),
        "examples": examples_of(files, rows),
    }


def _teacher(run: Run) -> dict[str, Any]:
    job, sampling = run.job, run.fingerprint.sampling
    return {
        "model": public_name(job.model),
        "served_model": job.served_model,
        **run.fingerprint.model,
        "sampling": {name: sampling[name] for name in ("temperature", "top_p") if name in sampling},
        "seed": job.rules.seed,
    }


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {**asdict(prompt), "digest": prompt.digest}


def _gates(name: str, tally: RunTally, job: SynthesisJob) -> list[dict[str, Any]]:
    chosen, rejected = _KINDS[name]
    return [
        {
            "name": gate.name,
            "told": gate.told,
            "asked": gate.name not in job.gates.off,
            "right_left_out": sum(_found(tally, kind, gate.name).right for kind in chosen),
            "wrong_left_out": sum(_found(tally, kind, gate.name).wrong for kind in rejected),
        }
        for gate in GATES.values()
    ]


def _found(tally: RunTally, kind: str, gate: str) -> GateTally:
    return tally.kinds[kind].gates.get(gate, GateTally()) if kind in tally.kinds else GateTally()


def _settings(run: Run) -> dict[str, Any]:
    job = run.job
    settings = {each: to_mapping(getattr(job, each)) for each in ("rules", "output", "gates", "prices")}
    return {**settings, "max_cost": job.max_cost, "world": dict(run.fingerprint.world)}
