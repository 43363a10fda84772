"""The data card: what the stage data amounts to, counted from the records themselves.

`data_card.json` is for programs, `data_card.md` says the same to people.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..data.records import PairRecord, Piece, Record, TextRecord
from ..trajectory import Role
from .stage_config import StageConfig
from .world import WORLD_SEED

CARD_VERSION = 1
_DISTRACTED = ("observations", "distracted", "misled")


def data_card(
    data: Mapping[str, Sequence[Record]], config: StageConfig, *, seed: int, tokenizer: str
) -> dict[str, Any]:
    """Count the sets of stage data; JSON-ready. `tokenizer` is the fingerprint."""
    return {
        "card_version": CARD_VERSION,
        "world_seed": WORLD_SEED,
        "teacher_seed": seed,
        "tokenizer": tokenizer,
        "sets": {name: set_card(records) for name, records in data.items()},
        "config": json.loads(json.dumps(asdict(config))),
    }


def set_card(records: Sequence[Record]) -> dict[str, Any]:
    """Count one set: rows by kind and hops, actions, tokens of each sequence, distractors, directions of pairs."""
    sequences = [sequence for record in records for sequence in _sequences(record)]
    card: dict[str, Any] = {
        "rows": len(records),
        "kinds": _counts(record.kind for record in records),
        "hops": _counts(record.meta["hops"] for record in records if "hops" in record.meta),
        "actions": _spread([sum(piece.role is Role.ACTION for piece in pieces) for _, pieces in sequences]),
        "tokens": _spread([n_before + sum(len(piece.ids or ()) for piece in pieces) for n_before, pieces in sequences]),
    }
    card |= {name: sum(int(record.meta.get(name, 0)) for record in records) for name in _DISTRACTED}
    card["distractor_share"] = _share(card["distracted"], card["observations"])
    pairs = [record for record in records if isinstance(record, PairRecord)]
    return card | ({"pairs": _pair_card(pairs)} if pairs else {})


def _pair_card(pairs: Sequence[PairRecord]) -> dict[str, Any]:
    acts = Counter(pair.meta["act"] for pair in pairs)
    return {
        "act_chosen": acts["chosen"],
        "act_rejected": acts["rejected"],
        "act_chosen_share": _share(acts["chosen"], len(pairs)),
        "decision_at_hop": _counts(pair.meta["hop"] for pair in pairs),
        "span": _counts(pair.meta["span"] for pair in pairs),
    }


def _sequences(record: Record) -> list[tuple[int, tuple[Piece, ...]]]:
    """The training sequences of a record: (tokens before the response, pieces); two for a pair."""
    if isinstance(record, TextRecord):
        return [(len(record.ids or ()), ())]
    n_prompt = len(record.prompt_ids or ())
    if isinstance(record, PairRecord):
        return [(n_prompt, (*record.prefix, *side)) for side in (record.chosen, record.rejected)]
    return [(n_prompt, record.segments)]


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _spread(values: Sequence[int]) -> dict[str, float]:
    """Mean, largest and sum of the values of each sequence."""
    mean = round(sum(values) / len(values), 2) if values else 0.0
    return {"mean": mean, "max": max(values, default=0), "total": sum(values)}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def write_card(card: Mapping[str, Any], json_path: Path, markdown_path: Path) -> list[Path]:
    """Write both files of the card and return their paths."""
    json_path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    markdown_path.write_text(card_markdown(card), encoding="utf-8")
    return [json_path, markdown_path]


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card as a page of Markdown."""
    rows = [_markdown_row(name, each) for name, each in card["sets"].items()]
    pairs = [_pair_line(each["pairs"], each["misled"]) for each in card["sets"].values() if "pairs" in each]
    return "\n".join([_TITLE.format(**card), _HEAD, *rows, "", *pairs, _NOTES])


def _markdown_row(name: str, card: Mapping[str, Any]) -> str:
    actions, tokens, share = card["actions"], card["tokens"], card["distractor_share"]
    cells = (
        name,
        ", ".join(f"{count} {kind}" for kind, count in card["kinds"].items()) or "none",
        " / ".join(str(card["hops"].get(hops, 0)) for hops in "123") if card["hops"] else "-",
        f"{actions['mean']:.2f} / {actions['max']}",
        f"{tokens['mean']:.1f} / {tokens['max']}",
        str(tokens["total"]),
        "-" if share is None else f"{share:.3f}",
    )
    return f"| {' | '.join(cells)} |"


def _pair_line(card: Mapping[str, Any], misled: int) -> str:
    spans = ", ".join(f"{count} of span {span}" for span, count in card["span"].items())
    where = ", ".join(f"{count} at hop {hop}" for hop, count in card["decision_at_hop"].items())
    return (
        f"Pairs: acting is chosen in {card['act_chosen']} and rejected in {card['act_rejected']} "
        f"(share {card['act_chosen_share']:.3f}); {spans}; the decision stands {where}; "
        f"{misled} needless searches mislead.\n"
    )


_TITLE = """# Data card: stage data of the embedded world

World seed {world_seed}, teacher seed {teacher_seed}, tokenizer `{tokenizer}`. Made by `autocoa tinyworld build`.
"""
_HEAD = """| set | rows | hops 1 / 2 / 3 | actions mean / max | tokens mean / max | tokens | distractor share |
|---|---|---|---|---|---|---|"""
_NOTES = """\
A pair counts as two sequences, chosen and rejected. Tokens include the prompt. The distractor share is of a set's
observations: two articles instead of one, in random order. `cot`: every hop is known and recalled. `coa`, `coa_stage3`:
at least one hop is of the tail. `replay`: lines of pre-training, which state facts and decide nothing.

Held-out entities occur nowhere. The third of popular entities that validation asks about ("popeval") is the subject of
no hop and of no distractor; it may be the object of a hop, and replayed lines state facts about it as pre-training did.
"""
