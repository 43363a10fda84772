"""A teacher without a language model, for trying a synthesis on real questions and real retrieval without a GPU.

It is shown the gold answers: it says the right one where a passage that it was given names it (or where it was made to
"know" it), and a wrong one elsewhere. So its yields say what retrieval finds and that the pipeline works, not how good
any model is, and its prose is a few fixed sentences: do not train on it for anything but a rehearsal.

    without tool    The question is about A.  I am not sure about A.  Perhaps it is x.  So the answer is x.
    with tool       I look up A. <begin_search> A </end_search>  │  The passages name y.  So the answer is y.

It reads the question and what was written so far out of the ids it is shown, so it goes on from any beginning. The
class holds ids, stop strings, seeds and the engine's contract; below it stand its words, pure text.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from autocoa_plugin.answers import exact_match, normalize_answer
from autocoa_plugin.config import require
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.errors import EngineError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.protocol import Protocol, Tool
from autocoa_plugin.tokenization import Codec

_OTHER_QUERY = 0.2  # how often another query than the best is tried, so that attempts differ
_SPREAD = (0.5, 1.5)  # of a token's log-probability around the mean of its words
_KEY = 20  # characters that questions are looked up by


class ReadingTeacher:
    """Plays a teacher on `questions`, whose gold answers it is shown; an `engines.base.Engine`.

    Without tool (`Sampling.forbidden` names the opening of `tool`'s action) it recalls: the gold answer for a share
    `knows_share` (0 to 1) of the questions, which `seed` draws, a wrong one for the others. With the tool it searches
    what the question names, and concludes the gold answer once a passage holds it, something else with probability
    `error_share` or when nothing was found. Log-probabilities are made up: low for guesses. The same ids, seed
    (`Sampling.options["seed"]`) and `seed` give the same turn. `max_context_tokens` as in `Engine`.
    Raises `ConfigError` for a share out of range, questions of which none is given, or a protocol that acts outside the
    thought.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        codec: Codec,
        *,
        knows_share: float = 0.3,
        error_share: float = 0.1,
        seed: int = 0,
        tool: str = "search",
        max_context_tokens: int | None = None,
    ) -> None:
        for name, share in (("knows_share", knows_share), ("error_share", error_share)):
            require(0 <= share <= 1, f"{name} must be between 0 and 1, got {share}")
        require(bool(questions), "a reading teacher needs the questions it will be asked, got none")
        protocol = codec.protocol
        require(
            protocol.thought is not None and protocol.actions_inside_thought,
            f"a reading teacher acts inside its thought, which protocol {protocol.name!r} does not: take 'autocoa'",
        )
        self.max_context_tokens = max_context_tokens
        self._codec, self._tool, self._seed = codec, protocol.tool(tool), seed
        self._knows_share, self._error_share = knows_share, error_share
        end = getattr(codec.tokenizer, "eos_token_id", None)
        self._end = () if end is None else (int(end),)
        self._asked: dict[str, list[tuple[str, Question]]] = defaultdict(list)
        self._answers: dict[str, list[str]] = defaultdict(list)
        for each in questions:
            text = codec.decode(codec.encode(each.question)).strip()  # as a prompt spells it
            self._asked[text[:_KEY]].append((text, each))
            self._answers[shape(each.golds[0])].append(each.golds[0])

    @property
    def name(self) -> str:
        """What its attempts depend on, in words: for a job's `model`, so that no run goes on with another teacher."""
        shares = f"knows {self._knows_share:g}, errs {self._error_share:g}"
        return f"reading teacher, {shares}, seed {self._seed}"

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Write the next turn; raises `EngineError` when the prompt holds none of the questions."""
        text = self._codec.decode(ids)
        question, end = self._question(text)
        written = Written(text[end:], self._codec.protocol, self._tool)
        die = random.Random(f"{self._seed}\n{question.id}\n{sampling.options.get('seed')}\n{len(ids)}")
        may_act = written.has_open_action or self._tool.action.open not in sampling.forbidden
        said = self._turn(question, written, die, may_act=may_act)
        return self._spelled(opened(written, said), die, max_tokens, stop)

    def knows(self, question: Question) -> bool:
        """True for a question whose gold answer the teacher remembers without looking it up."""
        return random.Random(f"{self._seed}\nknows\n{question.id}").random() < self._knows_share

    def _turn(self, question: Question, written: Written, die: random.Random, *, may_act: bool) -> list[Said]:
        guessed = guess(question, self._answers[shape(question.golds[0])], die)
        if not may_act:
            return recall(question, written, known=question.golds[0] if self.knows(question) else None, guessed=guessed)
        answer = self._answer(question, written)
        left = [each for each in queries(question) if each not in written.queries]
        must_answer = (
            written.has_closed_thought or written.has_open_answer or (not left and not written.has_open_action)
        )
        if must_answer or (answer is not None and not written.has_open_action):
            if answer is None or die.random() < self._error_share:
                return conclude(written, guessed, UNSURE)
            return conclude(written, answer, SURE)
        is_second_choice = len(left) > 1 and die.random() < _OTHER_QUERY
        query = die.choice(left[1:]) if is_second_choice else (left or [question.question])[0]
        return search(written, query, UNSURE if is_second_choice else USUAL)

    def _answer(self, question: Question, written: Written) -> str | None:
        """The gold answer where the teacher has read it, or has said that it remembers it."""
        is_remembered = f"{REMEMBERED}{question.golds[0]}" in written.own
        return question.golds[0] if is_remembered else found_answer(question, written)

    def _question(self, text: str) -> tuple[Question, int]:
        """The first question in the prompt, the longest where several begin there, and where it ends."""
        sizes = sorted({len(key) for key in self._asked}, reverse=True)
        for start in range(len(text)):
            near = [each for size in sizes for each in self._asked.get(text[start : start + size], ())]
            here = [each for each in near if text.startswith(each[0], start)]
            if here:
                asked, question = max(here, key=lambda each: len(each[0]))
                return question, start + len(asked)
        raise EngineError(f"the reading teacher finds none of its questions in the prompt {text[-200:]!r}")

    def _spelled(self, said: Sequence[Said], die: random.Random, max_tokens: int, stop: Sequence[str]) -> Generation:
        """Encode a turn, give every token the certainty of the words it begins in, and end it as an engine does."""
        ids = self._codec.encode("".join(each.text for each in said))
        text = self._codec.decode(ids)
        ends = [found + len(each) for each in stop if (found := text.find(each)) >= 0]
        kept = self._codec.tokens_covering(ids, min(ends) - 1) if ends else len(ids)
        ids = ids[:kept] if ends else [*ids, *self._end]
        means = self._means(said, ids)
        logprobs = [mean * die.uniform(*_SPREAD) for mean in means][:max_tokens]
        reason = FinishReason.STOP if len(ids) <= max_tokens else FinishReason.LENGTH
        return Generation(tuple(ids[:max_tokens]), tuple(logprobs), reason)

    def _means(self, said: Sequence[Said], ids: Sequence[int]) -> list[float]:
        means, start = [SURE] * len(ids), 0
        for each in said:
            first = max(0, self._codec.tokens_covering(ids, start) - 1)
            means[first:] = [each.logprob] * len(means[first:])
            start += len(each.text)
        return means


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
