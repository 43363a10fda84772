"""Plug the embedded world into the product: a settings file, and the objects that it names.

    settings.yaml    autocoa: protocol, limits, corpus and its index    as in a recipe
                     lab:     questions, queries, methods, checks       for --settings of `autocoa evaluate` and others

The product knows nothing else of this world: any project's file of these two keys does the same for its own.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from ..config import to_mapping
from ..lab.asking.methods import Method
from ..lab.asking.prompting import Example, Message, example_messages
from ..limits import Limits
from ..runs.files import replacing
from .questions import Question, train_questions
from .teacher import teacher_turns
from .tokenizer import END, TINYWORLD, check_vocabulary
from .world import generate

SETTINGS_FILE = "settings.yaml"
# those of `recipes/setting/tinyworld.yaml`
LIMITS = Limits(
    max_actions=4,
    max_turn_tokens=80,
    max_action_tokens=16,
    max_observation_tokens=40,
    max_response_tokens=192,
    answer_reserve_tokens=12,
)
TOP_K = 1

_HERE = "autocoa_plugin.tinyworld.sockets"
# no system prompts: the tokenizer has no words for them
MODEL_ONLY = Method("tinyworld_model_only", "model only", TINYWORLD.name, has_tool=False)
REACT = Method("tinyworld_react", "ReAct", TINYWORLD.name, shots=f"{_HERE}:react_examples")

_DECISIONS = ((True,), (False,), (True, True))  # what the teacher shows: one search, recalling, a chain of two
_PARTS = re.compile(r"'s\b|\w+(?:-\w+)*|[^\w\s]")


def write_settings(folder: Path) -> Path:
    """Write the world's settings file into its folder, paths relative to it; return the file."""
    import yaml

    content = {
        "autocoa": {
            "protocol": TINYWORLD.name,
            "limits": to_mapping(LIMITS),
            "search": {"corpus": "./corpus.jsonl", "index_dir": "./index", "top_k": TOP_K},
        },
        "lab": {
            "questions": "./val.parquet",
            "train_questions": "./train.parquet",
            "queries": "./scorecard.jsonl",
            "methods": {"autocoa": TINYWORLD.name, "model_only": f"{_HERE}:MODEL_ONLY", "react": f"{_HERE}:REACT"},
            "check_tokenizer": f"{_HERE}:check_tokenizer",
            "spell_question": f"{_HERE}:spell_question",
        },
    }
    path = folder / SETTINGS_FILE
    with replacing(path) as file:
        file.write("# Written by `autocoa tinyworld build`, for --settings of evaluate, chat, synthesize and others\n")
        yaml.safe_dump(content, file, sort_keys=False)
    return path


def react_examples() -> tuple[Message, ...]:
    """Training questions, each searched and recalled as the teacher would, as turns of user and assistant."""
    world = generate()
    questions = train_questions(world)

    def example(question: Question) -> Example:
        searched = [hop.subject for hop in question.hops if hop.needs_search]
        *turns, last = teacher_turns(question, question.needs_search)
        last = last.removesuffix(END).rstrip()  # the chat template ends a turn itself
        return Example(question.text, (*turns, last), tuple([(name, world.entities[name].text)] for name in searched))

    shown = (next(each for each in questions if each.needs_search == wanted) for wanted in _DECISIONS)
    return example_messages([example(each) for each in shown], TINYWORLD)


def check_tokenizer(tokenizer: Any, model: str) -> None:
    """Raise `TokenizerError` for a model whose tokenizer does not hold the world's words."""
    check_vocabulary(tokenizer, generate(), model)


def spell_question(question: str, tokenizer: Any) -> tuple[str, list[str]]:
    """Put a typed question into the world's words: the tokenizer knows a word only with white space around it.

    "Where was Gigra Drarkman born?" becomes "Where was Gigra Drarkman born ?". Also returns the words that the
    tokenizer lacks, once each.
    """
    return spell_words(question, tokenizer.get_vocab())


def spell_words(question: str, vocabulary: Container[str]) -> tuple[str, list[str]]:
    """Set punctuation apart and find each word's capitals; also returns the words that the vocabulary lacks, once each.

    Such words stay, and the tokenizer reads them as its unknown word; punctuation that it lacks is left out.
    """
    words = [word for chunk in question.split() for word in _spell(chunk, vocabulary)]
    kept = [word for word in words if word in vocabulary or any(map(str.isalnum, word))]
    unknown = dict.fromkeys(word for word in kept if word not in vocabulary)
    return " ".join(kept), list(unknown)


def _spell(chunk: str, vocabulary: Container[str]) -> Iterator[str]:
    for word in [chunk] if chunk in vocabulary else _PARTS.findall(chunk):
        spellings = (word, word.lower(), word.capitalize())
        yield next((each for each in spellings if each in vocabulary), word)
