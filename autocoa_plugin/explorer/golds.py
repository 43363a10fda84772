"""Gold answers as any project writes them, as a list of texts; and the question inside a prompt.

"Paris"   ["Paris", "Paname"]   {"target": ["Paris"]}   "['Paris' 'Paname']"   "array(['Paris'], dtype=object)"
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

_KEYS = ("target", "ground_truth", "golds", "golden_answers", "answers", "answer", "value")
_MAX_QUESTION_CHARS = 2000
_ARRAY = re.compile(r"array\(\s*(\[.*?\])(?:,\s*dtype=\w+)?\s*\)", re.DOTALL)
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_ASKED = re.compile(r"\bQuestion:[ \t]*(\S.*)")
# the lines or tags at which the speaker changes, special tokens spelled out or left out
_SPEAKER = re.compile(
    r"(?im)^(?:<\|im_start\|>|<\|start_header_id\|>)?(system|user|assistant)(?:<\|end_header_id\|>)?[ \t]*$"
    r"|<[|\uff5c](system|user|assistant)[|\uff5c]>"
)
_END = re.compile(r"<\|im_end\|>|<\|eot_id\|>")


def golds_of(value: Any) -> list[str]:
    """Gold answers as texts; [] for None. What is not understood is shown as it stands."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        inner = next((value[name] for name in _KEYS if value.get(name) is not None), None)
        return golds_of(list(value.values()) if inner is None else inner)
    if isinstance(value, list | tuple):
        return [gold for each in value for gold in golds_of(each)]
    return _golds_of_text(value) if isinstance(value, str) else [str(value)]


def _golds_of_text(text: str) -> list[str]:
    stripped = _ARRAY.sub(r"\1", text.strip())
    if not stripped.startswith(("[", "{")):
        return [text]
    quoted = _QUOTED.findall(stripped)
    if quoted and not _QUOTED.sub("", stripped).strip("[] \n"):  # numpy's str: no commas, which Python would join
        return [first or second for first, second in quoted]
    try:
        return golds_of(ast.literal_eval(stripped))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return [text]


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
