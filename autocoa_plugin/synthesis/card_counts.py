"""The sections of a data card that are made of counts, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .markup import code, number, share, table
from .provenance import money
from .tally import REASONS

Card = Mapping[str, Any]

_KINDS = {
    "cot": "chain of thought, without tool",
    "coa": "chain of action, with tool",
    "act": "action begun in a wrong chain of thought",
    "think": "action not taken in a wrong chain of action",
}
_SHOWN_KINDS = {"cot": ("cot", "coa"), "coa": ("coa",), "pairs": ("cot", "coa", "act", "think")}
_REASONS = dict(
    zip(
        REASONS,
        (
            "cannot be made a row",
            "not spelled by the student's tokenizer",
            "near-duplicate of an earlier row",
            "of the commoner direction, for the balance that was asked for",
        ),
        strict=True,
    )
)


def rows_section(card: Card) -> str:
    """How many rows, of what, and which kept chains are none."""
    rows = card["rows"]
    lines = [f"{number(rows['rows'])} rows of {number(rows['questions'])} questions."]
    if rows["directions"]:
        lines.append(_counted("Acting or thinking on is chosen", rows["directions"], rows["rows"]))
    else:
        lines.append(_counted("Asked for as", rows["asked_as"], rows["rows"]))
    lines.append(_counted("Questions of", rows["groups"], rows["rows"]))
    left = [[_REASONS[name], number(count)] for name, count in rows["left_out"].items() if count]
    kept = table(("kept chains that are no row", "chains"), left) if left else "Every kept chain is a row."
    why = [f"The first that {_REASONS[name]}: {code(text)}" for name, text in rows["why_no_row"].items()]
    return "\n\n".join(["\n".join(f"- {line}" for line in lines), kept, *why])


def _counted(before: str, counts: Mapping[str, int], whole: int) -> str:
    return f"{before}: " + ", ".join(f"{code(name)} {number(n)} ({share(n, whole)})" for name, n in counts.items())


def yield_section(card: Card) -> str:
    """How many chains it took, by what was asked for; of pairs by direction and strategy too."""
    head = ("asked for", "questions", "chains", "right", "kept", "kept of chains", "questions with one kept")
    kinds = {name: card["run"]["kinds"].get(name) for name in _SHOWN_KINDS[card["name"]]}
    rows = [_kind_row(name, kind) for name, kind in kinds.items() if kind]
    tables = [table(head, rows)]
    if card["name"] == "pairs" and card["run"]["cuts"]:
        head = ("changed by", "place chosen by", "tried", "right", "kept", "kept of tried")
        tables.append(table(head, [_cut_row(each) for each in card["run"]["cuts"]], texts=2))
    stops = {name: kind["stop_reasons"] for name, kind in kinds.items() if kind}
    ended = [
        f"- {name}: {', '.join(f'{number(n)} {reason}' for reason, n in each.items())}" for name, each in stops.items()
    ]
    return "\n\n".join([*tables, "How the chains ended:\n\n" + "\n".join(ended)])


def _kind_row(name: str, kind: Mapping[str, Any]) -> Sequence[str]:
    counts = (number(kind[each]) for each in ("asked", "attempts", "right", "kept"))
    return (
        f"{name}: {_KINDS[name]}",
        *counts,
        share(kind["kept"], kind["attempts"]),
        f"{number(kind['answered'])} ({share(kind['answered'], kind['asked'])})",
    )


def _cut_row(cut: Mapping[str, Any]) -> Sequence[str]:
    counts = (number(cut[each]) for each in ("tried", "right", "kept"))
    return (f"{cut['kind']}: {_KINDS[cut['kind']]}", cut["strategy"], *counts, share(cut["kept"], cut["tried"]))


def lengths_section(card: Card) -> str:
    """Tokens of each part of a row, and rows by number of actions."""
    head = ("part of a row", "mean", "median", "95 % have at most", "longest", "all rows")
    columns = ("mean", "median", "p95", "max", "total")
    rows = [[name, *(number(each[column]) for column in columns)] for name, each in card["rows"]["lengths"].items()]
    actions = ", ".join(
        f"{number(n)} with {count} ({share(n, card['rows']['rows'])})" for count, n in card["rows"]["actions"].items()
    )
    chosen = " on the chosen side" if card["name"] == "pairs" else ""
    return f"{table(head, rows)}\n\nRows by number of actions{chosen}: {actions}."


def gates_section(card: Card) -> str:
    """What each gate left out."""
    counted = {"right_left_out": "right chains left out", "wrong_left_out": "wrong chains not changed"}
    shown = {name: told for name, told in counted.items() if card["name"] == "pairs" or name == "right_left_out"}
    rows = [
        (each["name"], each["told"], *(number(each[name]) if each["asked"] else "not asked" for name in shown))
        for each in card["gates"]
    ]
    lines = table(("gate", "what it finds", *shown.values()), rows, texts=2)
    return f"A chain is counted at every gate that finds something in it.\n\n{lines}"


def cost_section(card: Card) -> str:
    """What the whole run cost."""
    cost, settings = card["run"]["cost"], card["settings"]
    spent = [
        f"{number(cost[name])} {name.replace('_', ' ')}" for name in ("requests", "prompt_tokens", "sampled_tokens")
    ]
    calls = [
        f"{number(cost[name])} {name.replace('_', ' ')}" for name in ("real_calls", "cached_calls", "replayed_calls")
    ]
    ceiling = "" if settings["max_cost"] is None else f" of at most {money(settings['max_cost'])}"
    wall = "" if card["seconds"] is None else f", {number(card['seconds'])} s of wall clock"
    return (
        f"All chains of the run, those of the other sets and those that were not kept included: {', '.join(spent)}; "
        f"{', '.join(calls)} of the tool; money {money(cost['money'])}{ceiling}; {number(cost['seconds'])} s of "
        f"rollouts, which run side by side{wall}."
    )
