"""Data card as a page of Markdown, with the front matter that the Hugging Face hub reads.

Quoted text (documents, questions, names) stands in blocks and spans that it cannot leave.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .provenance import NOT_STATED, hub_licences, money
from .tally import REASONS

Card = Mapping[str, Any]

_TITLES = {"cot": "CoT data", "coa": "CoA data", "pairs": "CoT+A pairs"}
_STAGES = {"cot": "sft2,sft3", "coa": "sft2,sft3", "pairs": "sft1"}
_TRAINED = {
    "cot": "Stages 2 and 3 train on it together with `coa`.",
    "coa": "Stages 2 and 3 train on it together with `cot`; in stage 2 observations carry no loss.",
    "pairs": "Stage 1 trains on it, with the contrastive loss over what comes after the shared beginning.",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card_text(card: Card) -> str:
    """Spell a data card as a whole page of Markdown."""
    sections = {
        "Training on it": _training(card),
        "Rows": rows_section(card),
        "Yield": yield_section(card),
        "Lengths in tokens": lengths_section(card),
        "Teacher": _teacher(card),
        "Prompts": _prompts(card),
        "Gates": gates_section(card),
        "Cost": cost_section(card),
        "Questions and tool": _sources(card),
        "Examples": _examples(card),
        "Provenance": _provenance(card),
        "Known limits": "\n".join(f"- {each}" for each in card["known_limits"]),
    }
    page = [f"# {_title(card)}", card["told"], *(f"## {name}\n\n{text}" for name, text in sections.items() if text)]
    return _front_matter(card) + "\n\n".join(page) + "\n"


def _title(card: Card) -> str:
    return f"Data card: {_TITLES[card['name']]}, {number(card['rows']['rows'])} rows"


def _front_matter(card: Card) -> str:
    name, rows = card["name"], card["rows"]["rows"]
    size = next((label for below, label in _SIZES if rows < below), "n>1M")
    matter = {
        "license": hub_licences(card["questions"]["licences"]),
        "task_categories": ["question-answering", "text-generation"],
        "size_categories": [size],
        "tags": ["autocoa", "tool-use", "reasoning", "synthetic"],
        "pretty_name": f"AutoCoA {_TITLES[name]}",
        "configs": [{"config_name": name, "data_files": card["files"]}],
    }
    # JSON is YAML
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in matter.items()), "---", "", ""])


def _training(card: Card) -> str:
    rows, student = card["rows"], card["student"]
    born = f"{number(rows['with_ids'])} of {number(rows['rows'])} rows have the token ids that the teacher sampled"
    of_teacher = "STUDENT is a model with the teacher's tokenizer" if rows["with_ids"] else "STUDENT is any model"
    model = of_teacher if student is None else f"STUDENT is {code(student)}"
    command = f"autocoa stages RUNS --model STUDENT --data FOLDER --stages {_STAGES[card['name']]}"
    return f"{_TRAINED[card['name']]} FOLDER is the one this card lies in, {model}; {born}.\n\n{fenced(command)}"


def _teacher(card: Card) -> str:
    teacher = card["teacher"]
    lines = [f"- {name.replace('_', ' ')}: {code(value)}" for name, value in teacher.items() if _is_known(value)]
    sampling = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in teacher["sampling"].items())
    return "\n".join([*lines, f"- sampling: {sampling or 'not told'}"])


def _is_known(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _prompts(card: Card) -> str:
    ways = {"cot": "Without tool", "coa": "With tool", "training": "The one that the recipe puts before the rows"}
    return "\n\n".join(_prompt(ways[name], prompt) for name, prompt in card["prompts"].items())


def _prompt(way: str, prompt: Mapping[str, Any]) -> str:
    if not prompt["text"]:
        return f"{way}: no system prompt."
    return f"{way}: {code(prompt['name'])}, digest {code(prompt['digest'])}\n\n{fenced(prompt['text'])}"


def _sources(card: Card) -> str:
    questions = card["questions"]
    licences = ", ".join(f"{code(of)}: {code(each)}" for of, each in questions["licences"].items()) or NOT_STATED
    lines = [
        f"- questions: {code(questions['source'])}, {number(questions['count'])}, SHA-256 {code(questions['sha256'])}",
        f"- licence of the questions: {licences}",
        *(f"- {name}: {code(value)}" for name, value in card["settings"]["world"].items()),
    ]
    return "\n".join(lines)


def _examples(card: Card) -> str:
    return "\n\n".join(f"### {code(each['id'])}\n\n{_example(each)}" for each in card["examples"])


def _example(example: Mapping[str, Any]) -> str:
    golds = {"label": "gold answers", "text": "\n".join(example["golds"]), "characters": 0}
    return "\n\n".join(_part(part) for part in (example["question"], golds, *example["parts"]))


def _part(part: Mapping[str, Any]) -> str:
    shown, whole = len(part["text"]), part["characters"]
    cut = f" (the first {number(shown)} of {number(whole)} characters)" if whole > shown else ""
    return f"**{part['label']}**{cut}\n\n{fenced(part['text'])}"


def _provenance(card: Card) -> str:
    settings = {name: card["settings"][name] for name in ("rules", "output", "prices")}
    lines = [
        f"- made by autocoa_plugin {card['version']}, {card['created']}",
        f"- fingerprint of everything the chains depend on: {code(card['fingerprint'])}",
        *(f"- {name}: {code(json.dumps(value, ensure_ascii=False))}" for name, value in settings.items()),
    ]
    command = f"\n\n{fenced(shlex.join(card['command']))}" if card["command"] else ""
    return "\n".join(lines) + command


# ------------------------------------------------------------------------------------- sections that are made of counts


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
    """Section of rows: how many, of what, and which kept chains are none."""
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
    """Section of yields: how many chains it took, by kind; of pairs by direction and strategy too."""
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
    """Section of lengths: tokens of each part of a row, and rows by number of actions."""
    head = ("part of a row", "mean", "median", "95 % have at most", "longest", "all rows")
    columns = ("mean", "median", "p95", "max", "total")
    rows = [[name, *(number(each[column]) for column in columns)] for name, each in card["rows"]["lengths"].items()]
    actions = ", ".join(
        f"{number(n)} with {count} ({share(n, card['rows']['rows'])})" for count, n in card["rows"]["actions"].items()
    )
    chosen = " on the chosen side" if card["name"] == "pairs" else ""
    return f"{table(head, rows)}\n\nRows by number of actions{chosen}: {actions}."


def gates_section(card: Card) -> str:
    """Section of gates: what each left out."""
    counted = {"right_left_out": "right chains left out", "wrong_left_out": "wrong chains not changed"}
    shown = {name: head for name, head in counted.items() if card["name"] == "pairs" or name == "right_left_out"}
    rows = [
        (each["name"], each["told"], *(number(each[name]) if each["asked"] else "not asked" for name in shown))
        for each in card["gates"]
    ]
    lines = table(("gate", "what it finds", *shown.values()), rows, texts=2)
    return f"A chain is counted at every gate that finds something in it.\n\n{lines}"


def cost_section(card: Card) -> str:
    """Section of costs: those of the whole run."""
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


# ------------------------------------------------------------------------------------------------- Markdown that quotes


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BACKTICKS = re.compile(r"`+")


def fenced(text: str) -> str:
    """Fence a text that is shown as it is; the fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}text\n{_CONTROL.sub('�', text)}\n{fence}"


def code(text: object) -> str:
    """Spell text on one line as a code span, which it cannot end; not for a table, where a bar would begin a cell."""
    line = _CONTROL.sub("�", " ".join(str(text).split()))
    ticks = "`" * (_longest_run(line) + 1)
    # the outermost spaces are taken off where there is one on both sides
    inner = f" {line} " if line[:1] in ("`", "") or line[-1:] == "`" else line
    return f"{ticks}{inner}{ticks}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """Lay out a table of cells of our own words; the first `texts` columns are aligned left, the others right."""
    lines = [head, [*["---"] * texts, *["---:"] * (len(head) - texts)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(part: int, whole: int) -> str:
    """Spell a share as people read it: "30 %", "30.4 %" from a thousand on, "-" of nothing."""
    return "-" if not whole else f"{100 * part / whole:.{int(whole >= 1000)}f} %"


def number(value: float) -> str:
    """Spell a number with separators: whole from a hundred on, else with one decimal where it has one."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def _longest_run(text: str) -> int:
    return max(map(len, _BACKTICKS.findall(text)), default=0)
