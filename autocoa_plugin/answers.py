"""Answer extraction, gold answers and metrics: the final answer of a text, exact match, F1 and others against golds.

    "... \\boxed{\\text{The Stories}}"  --extract_boxed-->  "The Stories"  --normalize_answer-->  "stories"
    {"target": ["The Stories", 1902]}  --gold_answers-->  "The Stories", "1902"

Extraction is one pass over the text, however wild it is. Which part of a trajectory may be read for an answer is
decided in `trajectory.py`, the weight of a metric in the reward in `rewards.py`.
"""

from __future__ import annotations

import ast
import json
import math
import re
import string
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .errors import DataError

Golds = str | Sequence[str]
"""One gold answer, or several of which the best counts."""

# ---------------------------------------------------------------------------------------------------------- extraction

# An escaped brace is no brace; the look-ahead still finds a box behind a doubled backslash.
_BRACES = re.compile(r"(?P<box>\\boxed\s*\{)|\\(?!\\boxed\s*\{)(?s:.)|(?P<open>\{)|(?P<close>\})")
_TEXT_MACROS = (
    "text textbf textit textrm textsf texttt textsc textnormal emph mbox hbox fbox boxed underline "
    "mathrm mathbf mathit mathsf mathtt mathcal boldsymbol bm operatorname"
)
_LATEX = re.compile(
    r"(?P<nothing>(?<=\d)(?:\\,|\{,\}|\{,\\!\}|,\\!)(?=\d{3})|\\[!()\[\]]|\$)"  # 10\,000 is one number
    rf"|(?P<macro>\\(?:{'|'.join(_TEXT_MACROS.split())})\s*\{{)|(?P<open>\{{)|(?P<close>\}})"
    r"|(?P<space>\\[,;: \\]|\\q?quad\b|~)|\\(?P<literal>[%&#_$])|\\(?s:.)"
)


def extract_boxed(text: str) -> str | None:
    """Read the last complete `\\boxed{...}`: text macros unwrapped, `$` and LaTeX spacing removed, trimmed.

    Braces are balanced; `\\{` and `\\}` are ordinary characters. Of nested boxes the outermost complete one counts.
    Returns "" for an empty box and None when no box was completed. Time is linear in the text.
    """
    last, _ = _scan_boxes(text)
    return None if last is None else _plain(text[slice(*last)])


def has_open_box(text: str) -> bool:
    """True when the text ends inside a box that is not complete.

    A box that was opened before the last complete one is given up: `\\boxed{ or \\boxed{b}` ends outside.
    """
    return _scan_boxes(text)[1]


def extract_tagged(text: str, open: str, close: str) -> str | None:
    """Read the trimmed text of the last complete pair of tags (`<answer>`, `</answer>`); None when there is none.

    Of nested openings the innermost counts; a closing tag without an opening one is ignored.
    """
    last, _ = _scan_tags(text, open, close)
    return None if last is None else text[slice(*last)].strip()


def has_open_tag(text: str, open: str, close: str) -> bool:
    """True when the text ends after an opening tag that no closing tag follows."""
    return _scan_tags(text, open, close)[1]


def _scan_boxes(text: str) -> tuple[tuple[int, int] | None, bool]:
    """The span of the last complete box's content, and whether a box opened after it is still open."""
    last: tuple[int, int] | None = None
    opened: list[int | None] = []  # where the content of each open brace begins; None: a brace that is no box
    for match in _BRACES.finditer(text):
        if match["close"] and opened:
            start = opened.pop()
            last = last if start is None else (start, match.start())
        elif match["box"] or match["open"]:
            opened.append(match.end() if match["box"] else None)
    complete = -1 if last is None else last[1]
    return last, any(start is not None and start > complete for start in opened)


def _scan_tags(text: str, open: str, close: str) -> tuple[tuple[int, int] | None, bool]:
    last: tuple[int, int] | None = None
    start: int | None = None
    for match in re.finditer(f"(?P<open>{re.escape(open)})|{re.escape(close)}", text):
        if match["open"]:
            start = match.end()
        elif start is not None:
            last, start = (start, match.start()), None
    return last, start is not None


def _plain(latex: str) -> str:
    """Turn LaTeX text into plain text; mathematics such as `\\frac{1}{2}` stays as it is."""
    is_macro: list[bool] = []  # for each open brace: did a text macro open it?

    def replace(match: re.Match[str]) -> str:
        kind = match.lastgroup
        if kind in ("macro", "open"):
            is_macro.append(kind == "macro")
            return "" if kind == "macro" else "{"
        if kind == "close":
            return "" if is_macro and is_macro.pop() else "}"
        if kind == "nothing":
            return ""
        return " " if kind == "space" else match["literal"] or match[0]

    return " ".join(_LATEX.sub(replace, latex).split())


# -------------------------------------------------------------------------------------------------------- gold answers

_KEYS = ("ground_truth", "target")  # verl's reward_model, Search-R1's ground_truth
_EXACT = 2**53  # whole numbers below are exact as floats
_QUOTED = r"""(?:'(?:[^'\\]|\\(?s:.))*'|"(?:[^"\\]|\\(?s:.))*")"""
_UNSEPARATED = re.compile(rf"\[\s*(?:{_QUOTED}\s*)*\]")  # how numpy prints an array of texts
_ARRAY = re.compile(r"array\(\s*(\[.*?\])(?:,\s*dtype=[^()]+)?\s*\)", re.DOTALL)


def gold_answers(value: Any, where: str) -> tuple[str, ...]:
    """Read gold answers as texts, however a data set writes them; () when there is none.

        "Paris"    72    ["Paris", "Paname"]    array(["Paris"])    {"target": ["Paris"]}    '["Paris", "Paname"]'

    - A text is itself. A number is its text, without ".0" where it is whole: data frames turn a column of whole numbers
      with a gap into floats.
    - None, blank text, not-a-number and an empty list are no gold answer, inside a list too.
    - A text that spells a list of texts, as JSON, Python or numpy do, is that list: so CSV files and dumps keep lists,
      and as one answer nobody could match it. "[0, 1]" holds no text, and is an answer.
    - A mapping is read under "ground_truth" or "target".

    Raises `DataError` beginning with `where` for true and false, of which nobody knows how they are spelled, for lists
    in lists, and for anything else.
    """
    if hasattr(value, "tolist"):  # an array or a number of numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return _golds_of_mapping(value, where)
    if isinstance(value, list | tuple):
        return tuple(gold for each in value for gold in _golds_of_item(each, where))
    return _golds_of_item(value, where)


def needed_golds(value: Any, where: str) -> tuple[str, ...]:
    """Read gold answers as `gold_answers` does, but raise `DataError` when there is none as well."""
    golds = gold_answers(value, where)
    if not golds:
        expected = "expected text, a number or a list of these"
        raise DataError(f"{where}: there is no gold answer, {expected}, got {value!r:.80}")
    return golds


def _golds_of_mapping(value: Mapping[Any, Any], where: str) -> tuple[str, ...]:
    key = next((key for key in _KEYS if key in value), None)
    if key is None and value:
        raise DataError(f"{where}: gold answers stand under {' or '.join(_KEYS)}, got an object with {[*value]!r:.80}")
    return () if key is None else gold_answers(value[key], where)


def _golds_of_item(value: Any, where: str) -> tuple[str, ...]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        spelled = _spelled(value)
        return gold_answers(spelled, where) if spelled is not None else (value,) if value.strip() else ()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ()
    if isinstance(value, bool):
        raise DataError(f"{where}: gold answers must be text or numbers, got {value}: write yes, True or the like")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return (str(value),)
    raise DataError(
        f"{where}: gold answers must be text, numbers or a list of these, got {type(value).__name__} {value!r:.80}"
    )


def _spelled(text: str) -> Any:
    """The list or mapping of gold answers that a text spells; None for any other text."""
    text = text.strip()
    if not text.startswith(("[", "{", "array(")):
        return None
    for read in (json.loads, _python, lambda text: _python(_ARRAY.sub(r"\1", text))):
        try:
            found = read(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list) and (not found or any(isinstance(each, str) for each in found)):
            return found
        if isinstance(found, dict) and any(key in found for key in _KEYS):
            return found
    return None


def _python(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unknown escapes
        if _UNSEPARATED.fullmatch(text):  # which Python would join into one text
            return [ast.literal_eval(each) for each in re.findall(_QUOTED, text)]
        return ast.literal_eval(text)


# ------------------------------------------------------------------------------------------------------------- metrics

METRIC_VERSION = "1"
"""Raised whenever a metric may give another number for the same answer; stored with every result."""

_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_FILLERS = ("well", "so", "basically", "actually", "literally", "simply", "just", "um", "uh")
_LOOSE = {**dict(zip(_DIGITS, string.digits, strict=True)), **dict.fromkeys(_FILLERS, " ")}
_LOOSE_WORDS = re.compile(rf"\b(?:{'|'.join(_LOOSE)})\b")
_RELEASE_RECALL = 0.7


def normalize_answer(text: str) -> str:
    """Lower-case, drop ASCII punctuation, drop the articles a, an, the, and squeeze white space, in this order.

    Source: the official evaluation scripts of SQuAD v1.1 and HotpotQA (`hotpot_evaluate_v1.py`).
    """
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub("", text.lower())).split())


def exact_match(prediction: str | None, golds: Golds) -> bool:
    """True when the normalised prediction equals a normalised gold answer; None never matches.

    One difference from the official scripts: a gold answer that normalises to nothing ("The", "?") is compared by case
    and white space only, where they would accept an empty prediction.
    Raises `DataError` when there is no gold answer.
    """
    return any(answer == gold for answer, gold in _pairs(prediction, golds, normalize_answer))


def f1(prediction: str | None, golds: Golds) -> float:
    """Harmonic mean of word precision and recall, between 0 and 1, the best over the gold answers; None scores 0.

    "yes", "no" and "noanswer" score only against themselves. Raises `DataError` when there is no gold answer.
    Source: HotpotQA's `hotpot_evaluate_v1.py`.
    """
    return max((_f1(answer, gold) for answer, gold in _pairs(prediction, golds, normalize_answer)), default=0.0)


def cover_exact_match(prediction: str | None, golds: Golds) -> bool:
    """True when a normalised gold answer stands in the normalised prediction as consecutive whole words.

    It rewards long answers, so it is for reports, never for training. Raises `DataError` when there is no gold answer.
    """
    return any(f" {gold} " in f" {answer} " for answer, gold in _pairs(prediction, golds, normalize_answer))


def release_recall_match(prediction: str | None, golds: Golds) -> bool:
    """The release's "exact match", which is none: 70 % word recall after dropping filler words.

    Number words become digits ("one" is "1"), fillers ("just", "so", "well", ...) are dropped, so "Just So Stories"
    matches "Stories". Then, as in the release: equal matches; one contained in the other as a string does not; else at
    least 70 % of the distinct gold words must occur. Only for comparison with the release's numbers.
    Raises `DataError` when there is no gold answer.
    Source: ADaM-BJTU/AutoCoA, `verl/utils/reward_score/hotpotqa.py`, commit 4390249.
    """
    return any(_release_match(answer, gold) for answer, gold in _pairs(prediction, golds, _normalize_loosely))


METRICS: Mapping[str, Callable[[str | None, Golds], float]] = MappingProxyType(
    {metric.__name__: metric for metric in (exact_match, f1, cover_exact_match, release_recall_match)}
)
"""Every metric by name: (prediction, golds) -> a number between 0 and 1."""


def _pairs(prediction: str | None, golds: Golds, normalize: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """The normalised prediction beside each normalised gold answer; nothing when there is no prediction."""
    checked = _checked(golds)
    if prediction is None:
        return
    answer = normalize(prediction)
    for gold in checked:
        normalized = normalize(gold)
        yield (answer, normalized) if normalized else (_squeeze(prediction), _squeeze(gold))


def _checked(golds: Golds) -> tuple[str, ...]:
    # a data frame hands out lists as arrays, which are no Sequence
    answers = (golds,) if isinstance(golds, str) else tuple(golds) if hasattr(golds, "__iter__") else None
    if not answers:
        raise DataError(f"a gold answer is needed, as a string or a list of strings; got {golds!r}")
    for answer in answers:
        if not isinstance(answer, str) or not answer.strip():
            raise DataError(f"every gold answer must be a string that is not blank; got {answer!r} in {golds!r}")
    return answers


def _squeeze(text: str) -> str:
    return " ".join(text.lower().split())


def _normalize_loosely(text: str) -> str:
    normalized = normalize_answer(text)
    # an answer of fillers only ("Well") keeps them
    return " ".join(_LOOSE_WORDS.sub(lambda match: _LOOSE[match[0]], normalized).split()) or normalized


def _f1(answer: str, gold: str) -> float:
    if answer != gold and (answer in _CLOSED_ANSWERS or gold in _CLOSED_ANSWERS):
        return 0.0
    answer_words, gold_words, common = answer.split(), gold.split(), 0
    unmatched = dict.fromkeys(gold_words, 0)
    for word in gold_words:
        unmatched[word] += 1
    for word in answer_words:
        if unmatched.get(word):
            unmatched[word] -= 1
            common += 1
    # 2PR / (P + R) with P = common / words of the answer, R = common / words of the gold answer
    return 2 * common / (len(answer_words) + len(gold_words)) if common else 0.0


def _release_match(answer: str, gold: str) -> bool:
    if answer == gold:
        return True
    if answer in gold or gold in answer:
        return False
    gold_words = set(gold.split())
    return len(gold_words & set(answer.split())) >= _RELEASE_RECALL * len(gold_words)
