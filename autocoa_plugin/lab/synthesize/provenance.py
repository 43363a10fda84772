"""Provenance of a row, stored in the row itself: `meta` of every record, text to text; licences of the questions.

teacher  prompt  prompt_digest  seed  kind  number              who wrote it, how it was asked
attempts  prompt_tokens  sampled_tokens  cost                   until it was right; what this chain cost
question_attempts  question_cost  group                         all chains of the question, kept or not
parent  strategy  cut_at  span  direction  rejected_prompt      pairs only
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runs.identity import digest
from ..asking.question import Question
from ..asking.questions import named_sets
from ..prepare.prepare import CARD
from .attempt import Attempt, Kind
from .job import Span

_SHOWN_PARTS = 3
_CREDENTIALS = re.compile(r"://[^/@\s]*@")


@dataclass(frozen=True)
class Prompt:
    """System prompt of one way of asking: a name of `prompts.PROMPTS` and the whole text; None and "": none."""

    name: str | None
    text: str

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the text."""
        return digest(self.text)


@dataclass(frozen=True)
class Provenance:
    """Provenance of rows by one teacher; `cot` is the prompt without the tool, `coa` the one with it."""

    teacher: str
    cot: Prompt
    coa: Prompt

    def prompt(self, kind: Kind) -> Prompt:
        """Prompt that a chain of this kind was asked with; changed chains go on under the one with the tool."""
        return self.cot if kind is Kind.COT else self.coa

    def of_chain(self, question: Question, attempt: Attempt, every: Sequence[Attempt]) -> dict[str, str]:
        """Spell `meta` of a row; `every` are all attempts of the question."""
        prompt, usage = self.prompt(attempt.kind), attempt.usage
        return {
            "teacher": self.teacher,
            "prompt": prompt.name or "none",
            "prompt_digest": prompt.digest,
            "seed": str(attempt.sample.seed),
            "kind": str(attempt.kind),
            "number": str(attempt.request.number),
            "attempts": str(attempt.request.number + 1),
            "prompt_tokens": str(usage.prompt_tokens),
            "sampled_tokens": str(usage.sampled_tokens),
            "cost": money(attempt.cost),
            "question_attempts": str(len(every)),
            "question_cost": money(math.fsum(each.cost for each in every)),
            "group": question.group,
        }

    def of_pair(
        self, question: Question, attempt: Attempt, parent: Attempt, every: Sequence[Attempt], span: Span
    ) -> dict[str, str]:
        """Spell `meta` of a pair, its direction excepted; `parent` is the chain that was changed."""
        cut = attempt.request.cut
        assert cut is not None
        return {
            **self.of_chain(question, attempt, every),
            "parent": row_id(parent),
            "strategy": cut.strategy,
            "cut_at": str(cut.n_shared),
            "span": span,
            "rejected_prompt": self.prompt(parent.kind).name or "none",
        }


def row_id(attempt: Attempt) -> str:
    """Id of an attempt's row: "question/kind/number"."""
    return "/".join(map(str, attempt.key))


def money(amount: float) -> str:
    """Spell an amount without false precision: four significant digits."""
    return f"{amount:.4g}"


def public_name(text: str) -> str:
    """Spell a model, a path, a URL or an argument as it may be published.

    Without credentials in a URL, and of an absolute path the last three parts.
    """
    name, equals, value = _CREDENTIALS.sub("://", text).rpartition("=")
    path = Path(value)
    return f"{name}{equals}{'/'.join(('...', *path.parts[1:][-_SHOWN_PARTS:])) if path.is_absolute() else value}"


# ------------------------------------------------------------- licences of the questions, as far as they are known here


NOT_STATED = "not stated"
# names of the Hugging Face hub that are not just ours in lower case with hyphens
_HUB_NAMES = frozenset(
    (
        "apache-2.0",
        "mit",
        "cc-by-4.0",
        "cc-by-3.0",
        "cc-by-sa-4.0",
        "cc-by-sa-3.0",
        "cc-by-nc-4.0",
        "cc0-1.0",
        "unknown",
    )
)


def licences_of(questions: str, stated: str | None) -> dict[str, str]:
    """Find licences by what they are of: a set's label, or "questions"; {} where nothing is known.

    The one stated by the user wins, then a named set's (`question_sets.SETS`), then what `autocoa prepare` has noted
    beside a file.
    """
    if stated is not None:
        return {"questions": stated}
    return {each.label: each.licence for each in named_sets(questions)} or _noted_beside(Path(questions))


def hub_licences(licences: dict[str, str]) -> list[str]:
    """Spell licences under the names of the Hugging Face hub: "other" for one it may not know, "unknown" for none."""
    names = sorted({"-".join(licence.lower().split()) for licence in licences.values()})
    return list(dict.fromkeys(name if name in _HUB_NAMES else "other" for name in names)) or ["unknown"]


def _noted_beside(file: Path) -> dict[str, str]:
    try:
        licences = json.loads((file.parent / CARD).read_text(encoding="utf-8"))[file.stem]["licences"]
        return {str(label): str(licence) for label, licence in licences.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no such note, or not about this file
        return {}
