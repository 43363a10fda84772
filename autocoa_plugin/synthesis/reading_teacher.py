"""A teacher without a language model, for trying a synthesis on real questions and real retrieval without a GPU.

It is shown the gold answers: it says the right one where a passage that it was given names it (or where it was made to
"know" it), and a wrong one elsewhere. So its yields say what retrieval finds and that the pipeline works, not how good
any model is, and its prose is a few fixed sentences: do not train on it for anything but a rehearsal.

What it says is `reading_script.py`'s business; here are ids, stop strings, seeds and the engine's contract. It reads
the question and what was written so far out of the ids it is shown, so it goes on from any beginning.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from ..config import require
from ..engines.base import FinishReason, Generation, Sampling
from ..errors import EngineError
from ..questions.question import Question
from ..tokenization import Codec
from .reading_script import (
    REMEMBERED,
    SURE,
    UNSURE,
    USUAL,
    Said,
    Written,
    conclude,
    found_answer,
    guess,
    opened,
    queries,
    recall,
    search,
    shape,
)

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
