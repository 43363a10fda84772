"""What a reading teacher says next: pure text, decided by a question, what was written so far, and a die.

    without tool    The question is about A.  I am not sure about A.  Perhaps it is x.  So the answer is x.
    with tool       I look up A. <begin_search> A </end_search>  │  The passages name y.  So the answer is y.

Tokens, stop strings and seeds are `reading_teacher.py`'s business.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..answers import exact_match, normalize_answer
from ..protocol import Protocol, Tool
from ..questions.question import Question

REMEMBERED = "As far as I remember, the answer is "
"""How a teacher says what it knows; whatever it then says with the tool agrees with it."""

MAX_NAMES = 3
"""Names of one question that are searched; one more query is the question's own words."""

SURE, USUAL, UNSURE = -0.05, -0.3, -1.6
"""Mean log-probabilities (nats per token) of what the teacher says."""

_WORD = r"(?:[A-Z][\w'.&-]*\w|[A-Z])"
_LINK = r"(?:of|the|de|du|la|von|van|der|in|on|for|to|a|ap|&)"
_NUMBER = r"\d[\d-]*"
_SPAN = re.compile(
    rf"{_WORD}(?:,? (?:{_WORD}|{_NUMBER})|(?: {_LINK}){{1,2}} {_WORD})*|(?:{_NUMBER} ){_WORD}(?: {_WORD})*"
)
_QUOTED = re.compile(r'"([^"]{2,80})"')
_ASKING_WORDS = (
    "are at besides between both did do does for from how if in is name notable of on the this that to under was were "
    "what when where which who whose why"
)
_OTHER_WORDS = "a an and as be been by has have it its one or with"
_ASKING = frozenset(_ASKING_WORDS.split())
_FUNCTION_WORDS = _ASKING | frozenset(_OTHER_WORDS.split())
_YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Said:
    """Some words of a turn and how sure the teacher is of them (mean log-probability per token, nats)."""

    text: str
    logprob: float = USUAL


@dataclass(frozen=True)
class Written:
    """What stands after the question: the response so far, behind whatever the chat template puts before it."""

    text: str
    protocol: Protocol
    tool: Tool

    @property
    def own(self) -> str:
        """All but the observations."""
        return self._observation().sub(" ", self.text)

    @property
    def run(self) -> str:
        """The text after the last observation."""
        return self.text.rpartition(self.tool.observation.close)[2]

    @property
    def has_open_action(self) -> bool:
        """True when an action was begun and not closed."""
        return self.protocol.find_open_action(self.own) is not None

    @property
    def has_open_answer(self) -> bool:
        """True when an answer was begun and not completed."""
        return self.protocol.answer_is_open(self.run)

    @property
    def thought(self) -> str | None:
        """What was thought so far, actions included; None: the thought was not opened."""
        tags = self.protocol.thought
        _, is_open, thought = self.own.partition(tags.open) if tags else ("", "", "")
        return thought if is_open else None

    @property
    def has_closed_thought(self) -> bool:
        """True when nothing but the answer may follow."""
        tags = self.protocol.thought
        return tags is not None and tags.close in self.own

    @property
    def queries(self) -> list[str]:
        """The closed queries, in order."""
        action = self.tool.action
        found = re.findall(f"{re.escape(action.open)}(.*?){re.escape(action.close)}", self.own, re.DOTALL)
        return [query.strip() for query in found]

    @property
    def passages(self) -> str:
        """What was observed, normalised as answers are, with a space at either end."""
        return f" {normalize_answer(' '.join(self._observation().findall(self.text)))} "

    def _observation(self) -> re.Pattern[str]:
        tags = self.tool.observation
        return re.compile(f"{re.escape(tags.open)}(.*?){re.escape(tags.close)}", re.DOTALL)


def names(question: str) -> list[str]:
    """What a question names, most telling first: quoted titles, then capitalised spans, longest first."""
    quoted = _QUOTED.findall(question)
    spans = (_without_asking(match[0]) for match in _SPAN.finditer(_QUOTED.sub(" , ", question)))
    longest = sorted((span for span in spans if len(span) > 1), key=len, reverse=True)
    return list(dict.fromkeys([*quoted, *longest]))[:MAX_NAMES]


def queries(question: Question) -> list[str]:
    """What is searched for a question, in this order, until its answer is found."""
    words = re.findall(r"[\w'-]+", question.question)
    content = " ".join(word for word in words if word.lower() not in _FUNCTION_WORDS)
    return list(dict.fromkeys([*names(question.question), content or question.question]))


def found_answer(question: Question, written: Written) -> str | None:
    """The gold answer that stands in the passages; yes and no stand there once everything named was read about."""
    passages = written.passages
    if question.golds[0].lower() in _YES_NO:
        named = [normalize_answer(name) for name in names(question.question)]
        return question.golds[0] if named and all(f" {name} " in passages for name in named) else None
    return next((gold for gold in question.golds if f" {normalize_answer(gold) or gold} " in passages), None)


def shape(answer: str) -> str:
    """What an answer looks like, so that a guess can look alike: "yes or no", "number", "name" or "words"."""
    if answer.lower() in _YES_NO:
        return "yes or no"
    return "number" if any(char.isdigit() for char in answer) else "name" if answer[:1].isupper() else "words"


def guess(question: Question, answers: Sequence[str], die: random.Random) -> str:
    """A wrong answer that looks right: one of `answers`, else something the question names."""
    if shape(question.golds[0]) == "yes or no":
        return "no" if exact_match("yes", question.golds) else "yes"
    wrong = [each for each in answers if not exact_match(each, question.golds)]
    named = [each for each in names(question.question) if not exact_match(each, question.golds)]
    return die.choice(wrong or named or ["unknown"])


def recall(question: Question, written: Written, *, known: str | None, guessed: str) -> list[Said]:
    """A turn without tool: up to four sentences and the answer, which is `known`, or `guessed` where that is None."""
    named = next(iter(names(question.question)), "that")
    said = [] if (written.thought or "").strip() else [Said(f"The question is about {named}. ")]
    if known is not None:
        said.append(Said(f"{REMEMBERED}{known}. ", SURE))
    else:
        said += [Said(f"I am not sure about {named}. "), Said(f"Perhaps it is {guessed}. ", UNSURE)]
    return [*said, *conclude(written, known or guessed, SURE if known is not None else UNSURE)]


def conclude(written: Written, answer: str, logprob: float) -> list[Said]:
    """The end of a thought and the answer; of an answer that was begun, the rest."""
    tags, thought = written.protocol.answer, written.protocol.thought
    end = [Said(re.sub(r"[{}\\]", "", answer), logprob), Said(tags.close, SURE)]
    if written.has_open_answer:
        return end
    end = [Said(tags.open, SURE), *end]
    if thought is None or written.has_closed_thought:
        return end
    return [Said("So the answer is "), Said(f"{answer}.", logprob), Said(f"\n{thought.close}\n\n", SURE), *end]


def search(written: Written, query: str, logprob: float) -> list[Said]:
    """A turn that searches; of an action that was begun, the rest."""
    action = written.tool.action
    if written.has_open_action:
        return [Said(f" {query} ", logprob), Said(action.close, SURE)]
    told = "That does not tell. " if written.queries else ""
    return [Said(f"{told}I look up {query}. "), Said(f"{action.open} {query} ", logprob), Said(action.close, SURE)]


def opened(written: Written, said: Sequence[Said]) -> list[Said]:
    """The turn behind the thought's opening tag where that is missing, and behind a space where words would touch."""
    thought = written.protocol.thought
    if thought is not None and written.thought is None and not written.has_closed_thought:
        return [Said(f"{thought.open}\n", SURE), *said]
    is_glued = bool(written.text) and not written.text[-1].isspace() and not said[0].text[:1].isspace()
    return [Said(" ", SURE), *said] if is_glued and not written.has_open_answer else list(said)


def _without_asking(span: str) -> str:
    words = span.split(" ")
    while words and words[0].lower() in _ASKING:
        words.pop(0)
    while words and words[-1].lower() in _ASKING:
        words.pop()
    return " ".join(words)
