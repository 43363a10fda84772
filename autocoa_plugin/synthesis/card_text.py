"""The data card as a page of Markdown, with the front matter that the Hugging Face hub reads.

Whatever was not written by us (documents, questions, names) stands in blocks and spans that it cannot leave.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from .card_counts import cost_section, gates_section, lengths_section, rows_section, yield_section
from .licence import NOT_STATED, hub_licences
from .markup import code, fenced, number

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
    """The whole page."""
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
    model = "STUDENT is a model with the teacher's tokenizer" if student is None else f"STUDENT is {code(student)}"
    command = f"autocoa stages RUNS --model STUDENT --data FOLDER --stages {_STAGES[card['name']]}"
    return f"{_TRAINED[card['name']]} FOLDER is the one this card lies in, {model}; {born}.\n\n{fenced(command)}"


def _teacher(card: Card) -> str:
    teacher = card["teacher"]
    lines = [f"- {name.replace('_', ' ')}: {code(value)}" for name, value in teacher.items() if _is_told(value)]
    sampling = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in teacher["sampling"].items())
    return "\n".join([*lines, f"- sampling: {sampling or 'not told'}"])


def _is_told(value: Any) -> bool:
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
