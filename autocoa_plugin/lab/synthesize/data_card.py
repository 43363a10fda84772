"""Data card of a set: what stands in it, where it is from, how it was filtered, what it cost; for programs.

`NAME.card.json` is written from this, `NAME.card.md` says the same to people (`data_card_text.py`). Everything but the
date follows from the attempts and the job.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

from ... import __version__
from ...config import to_mapping
from ...data.record_files import read_records
from ...data.records import PairRecord, Piece, Record, TextRecord
from ...engines.text_tokenizer import TEXT_V1
from ...runs.files import write_atomically, write_json
from ...runs.identity import Identity
from .gates import GATES
from .job import Acceptance, Output, Span, SynthesisJob
from .provenance import Prompt, licences_of, public_name
from .tally import GateTally, RunTally, SetTally, to_plain

CARD_VERSION = 1
CARD_SUFFIXES = (".card.json", ".card.md")
Ended = Literal["complete", "stopped", "ceiling"]
# whose right chains a set is made of, and whose wrong ones it needs
_KINDS = {"cot": (("cot",), ()), "coa": (("coa",), ()), "pairs": (("act", "think"), ("cot", "coa"))}


@dataclass(frozen=True)
class Run:
    """Run that data sets are made from, as a card describes it.

    `ended` "complete": nothing is left to ask; "stopped": a signal came first; "ceiling": the money was spent. `cot`
    and `coa` are the teacher's prompts, `training` the one that the recipe will put before the rows. `created` is UTC
    in ISO 8601, `seconds` wall clock of all sessions (None: unknown).
    """

    job: SynthesisJob
    fingerprint: Identity
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
    from .data_card_text import card_text

    for name, each in sets.items():
        if each.rows:
            card = card_of(name, run, tally, each, files[name])
            for_programs, for_people = (folder / f"{name}{suffix}" for suffix in CARD_SUFFIXES)
            write_json(for_programs, card, allow_nan=False)
            write_atomically(for_people, card_text(card))


def card_of(name: str, run: Run, tally: RunTally, rows: SetTally, files: Sequence[Path]) -> dict[str, Any]:
    """Make the card of one set, JSON-ready; `files` are its data files."""
    job = run.job
    return {
        "card_version": CARD_VERSION,
        "name": name,
        "told": description(name, job.acceptance, job.output.span),
        "created": run.created,
        "version": __version__,
        "ended": run.ended,
        "files": [file.name for file in files],
        "rows": to_plain(rows),
        "run": to_plain(tally),
        "questions": {**run.fingerprint.questions, "licences": licences_of(job.questions.source, job.output.licence)},
        "teacher": _teacher(run),
        "student": None if job.student is None else public_name(job.student),
        "prompts": {each: _prompt(getattr(run, each)) for each in ("cot", "coa", "training")},
        "accept": str(job.acceptance),
        "gates": _gates(name, tally, job.gates.off),
        "settings": _settings(run),
        "seconds": run.seconds,
        "command": [public_name(each) for each in run.command],
        "fingerprint": run.fingerprint.digest,
        "known_limits": [
            *known_limits(name, rows, run.ended, job.acceptance, job.rules.attempts, job.output),
            *_of_text(rows, is_text=run.fingerprint.model.get("tokenizer") == TEXT_V1),
        ],
        "examples": examples_of(files, rows),
    }


def _teacher(run: Run) -> dict[str, Any]:
    job, sampling = run.job, run.fingerprint.sampling
    return {
        "model": public_name(job.model.path),
        "served_model": job.model.served_model,
        **run.fingerprint.model,
        "sampling": {name: sampling[name] for name in ("temperature", "top_p") if name in sampling},
        "seed": job.rules.seed,
    }


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {**asdict(prompt), "digest": prompt.digest}


def _gates(name: str, tally: RunTally, off: Collection[str]) -> list[dict[str, Any]]:
    chosen, rejected = _KINDS[name]
    return [
        {
            "name": gate.name,
            "told": gate.description,
            "asked": gate.name not in off,
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


# ---------------------------------------------------------- sentences: what a set is, and what it must not be taken for


_ENDINGS = {
    "stopped": "The run was interrupted: questions are missing that the same command would still ask.",
    "ceiling": "The run ended at its cost ceiling: questions are missing that were not asked, or not to the end.",
}
_SPANS = {
    "trajectory": "both sides go on to their answers",
    "step": "each side ends after the step at which they part, so neither shows its answer",
}


def description(name: str, acceptance: Acceptance, span: Span) -> str:
    """Describe a row of the set in one sentence."""
    right = f"the final answer is right ({acceptance})"
    return {
        "cot": f"Chains of thought: the teacher answered without acting, and {right}.",
        "coa": f"Chains of action: the teacher thought, asked a tool, read its answer and went on, and {right}.",
        "pairs": "Contrastive pairs: two continuations of one beginning, the one that acts and the one that thinks on; "
        f"the chosen one comes out right ({acceptance}), the rejected one wrong; {_SPANS[span]}.",
    }[name]


def known_limits(
    name: str, rows: SetTally, ended: str, acceptance: Acceptance, attempts: int, output: Output
) -> list[str]:
    """List what a reader could be wrong about, a sentence each."""
    return [
        *filter(None, [_ENDINGS.get(ended)]),
        f"Right means {acceptance} against the gold answers: a wrong gold answer keeps wrong chains, and a right "
        "answer in other words is left out.",
        f"Questions that the teacher did not get right in {attempts} attempts have no row, so the rows are "
        "easier than the questions.",
        *_of_set(name, output, rows),
        "The questions were taken as they are: whether they stand in an evaluation set too was not checked here "
        "(`autocoa prepare` leaves those out).",
        "A seed gives the same chain again only with the same model, engine and hardware.",
    ]


def _of_set(name: str, output: Output, rows: SetTally) -> list[str]:
    quoted = (
        "Observations quote the searched documents, which have a licence of their own and may be wrong or name people."
    )
    if name == "cot":
        return ["Nothing checks that a thought is true: only that the answer stands in it before it is given."]
    if name == "coa":
        return [quoted]
    return [quoted, _SIDES[output.span], *_of_balance(output, rows)]


_SIDES = {
    "trajectory": "That a rejected side ends wrong does not prove its first step wrong: it may have failed later.",
    "step": "That a rejected chain ended wrong does not prove the step that is shown wrong: it may have failed later.",
}


def _of_balance(output: Output, rows: SetTally) -> list[str]:
    asked = output.act_chosen_share
    if len(rows.directions) != 1:
        return []
    done = "act" if "act" in rows.directions else "think on"
    balance = "" if asked is None else f" The share of {asked:g} that was asked for could not be had."
    return [f"In all pairs the side that was chosen is the one to {done}: alone, they teach to {done} always.{balance}"]


def _of_text(rows: SetTally, *, is_text: bool) -> list[str]:
    if rows.with_ids:
        return []
    if is_text:
        return [
            "Rows are text without ids, because the teacher speaks text only: training encodes it, and lengths in "
            "tokens are approximate unless a student was named."
        ]
    return [
        "Rows are text without ids, because the student has another tokenizer than the teacher: training encodes it."
    ]


# ----------------------------------------------- example rows as people read them: roles and texts in order, JSON-ready


EXAMPLES = 3
SHOWN_CHARACTERS = 1200
_LOOKED_AT = 1000
Part = dict[str, Any]


def examples_of(files: Sequence[Path], rows: SetTally) -> list[dict[str, Any]]:
    """Take the first rows of a set, of pairs one of each direction among them if the first thousand have both.

    A part has `label` ("thought", "chosen: action"), `text`, its first characters, and `characters`, its whole length.
    Quoted text may be long and hostile: it is cut here, and made harmless where it is shown (`data_card_text.fenced`).
    """
    wanted = set(rows.directions)
    first: list[Record] = []
    for record in islice(read_records(files), _LOOKED_AT):
        direction = record.meta.get("direction")
        if direction in wanted or len(first) + len(wanted) < EXAMPLES:
            wanted.discard(str(direction))
            first.append(record)
        if len(first) >= EXAMPLES:
            break
    return [_example(each) for each in first]


def _example(record: Record) -> dict[str, Any]:
    assert not isinstance(record, TextRecord)
    if isinstance(record, PairRecord):
        sides = (("shared", record.prefix), ("chosen", record.chosen), ("rejected", record.rejected))
        parts = [part for name, pieces in sides for part in _parts(pieces, f"{name}: ")]
    else:
        parts = _parts(record.segments)
    asked = record.messages[-1].content if record.messages else ""
    return {"id": record.id, "question": _cut(asked, "question"), "golds": list(record.golds), "parts": parts}


def _parts(pieces: Sequence[Piece], before: str = "") -> list[Part]:
    runs = ((role, "".join(piece.text for piece in run)) for role, run in groupby(pieces, lambda piece: piece.role))
    return [_cut(text.strip(), f"{before}{role}") for role, text in runs if text.strip()]


def _cut(text: str, label: str) -> Part:
    return {"label": label, "text": text[:SHOWN_CHARACTERS], "characters": len(text)}
