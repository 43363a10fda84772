"""Teacher that writes one chain: which prompt it is shown, what it may not write, where it goes on from.

    cot     prompt without tool │ from the start, actions forbidden
    coa     prompt with tool    │ from the start
    act     prompt with tool    │ head of a wrong cot   <begin_search>  ...
    think   prompt with tool    │ head of a wrong coa   one step under the prompt without tool  ...

Source: AutoCoA (arXiv:2503.06580), 3.2.1: change the trajectory at one point, insert the action or force internal
reasoning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...engines.base import Engine, FinishReason, Generation, Sampling
from ...environments.base import Environment
from ...errors import DataError
from ...limits import Limits
from ...loop import rollout
from ...protocol import Tool
from ...rewarder import Rewarder
from ...tokenization import Codec
from ...trajectory import Segment, Trajectory
from ..asking.player import CountingEngine, SeededEngine, judged, sample_seed
from ..asking.question import Question
from .attempt import Attempt, Kind, Request
from .job import Prices
from .schedule import MeteredEngine
from .steps import STEP_ENDS, step_spans

SPLIT = "synthesis"
STEP_TOKENS = 512
"""Maximum of tokens of the one step that is thought instead of an action."""


@dataclass(frozen=True)
class Way:
    """Way of asking, with or without a tool: how a question is spelled, who answers actions, what may be spent."""

    prompt_ids: Callable[[Question], Sequence[int]]
    environment: Environment
    limits: Limits


@dataclass(frozen=True)
class Teacher:
    """Teacher that writes chains; `tool` is the one whose action is begun in a changed chain of thought."""

    engine: Engine
    codec: Codec
    cot: Way
    coa: Way
    tool: Tool
    sampling: Sampling
    rewarder: Rewarder
    prices: Prices
    seed: int = 0

    async def write(self, question: Question, request: Request, parent: Attempt | None) -> Attempt:
        """Write what is asked for; `parent` is the wrong chain that is changed, None where there is none.

        A chain that the engine refuses is an attempt with the reason as its sample's error. Raises `EngineError` naming
        the question when the engine fails.
        """
        counting = CountingEngine(self.engine)
        metered = MeteredEngine(counting, self.prices)
        seed = sample_seed(self.seed, f"{request.kind} {question.id}", request.number)
        way = self.cot if request.kind is Kind.COT else self.coa
        prompt_ids = tuple(way.prompt_ids(question))
        begun = self._begun(request, parent)
        engine = self._engine(SeededEngine(metered, seed), request, question, len(prompt_ids), begun)
        chain = self._roll_out(question, way, prompt_ids, engine, request, begun)
        protocol, counts = self.codec.protocol, counting.counts
        sample = await judged(
            chain, question, request.number, prompt_ids, protocol, self.rewarder, seed=seed, engine=counts
        )
        return Attempt(request, sample, metered.usage)

    def _begun(self, request: Request, parent: Attempt | None) -> tuple[Segment, ...]:
        if request.cut is None or parent is None:
            return ()
        return head(parent.sample.trajectory, request.cut.n_shared, self.codec)

    def _engine(
        self, engine: Engine, request: Request, question: Question, n_prompt: int, begun: Sequence[Segment]
    ) -> Engine:
        at = n_prompt + sum(len(segment.ids) for segment in begun)
        if request.kind is Kind.ACT:
            before = "".join(segment.text for segment in begun)
            opening = action_opening(self.tool, before, self.codec)
            return OpenedEngine(engine, opening, at=at, forbidden=(self.tool.action.open,))
        if request.kind is Kind.THINK:
            return StepFirstEngine(
                engine,
                self.codec,
                at=at,
                n_prompt=n_prompt,
                other_prompt_ids=tuple(self.cot.prompt_ids(question)),
                stop=STEP_ENDS,
                forbidden=self.codec.protocol.tags(),
                max_tokens=STEP_TOKENS,
            )
        return engine

    async def _roll_out(
        self,
        question: Question,
        way: Way,
        prompt_ids: Sequence[int],
        engine: Engine,
        request: Request,
        begun: Sequence[Segment],
    ) -> Trajectory:
        forbidden = self._tool_tags() if request.kind is Kind.COT else ()
        return await rollout(
            prompt_ids,
            engine=engine,
            environment=way.environment,
            codec=self.codec,
            limits=way.limits,
            sampling=replace(self.sampling, forbidden=forbidden),
            metadata={"split": SPLIT, "uid": question.id, "global_step": 0},
            begun=begun,
        )

    def _tool_tags(self) -> tuple[str, ...]:
        # closing tags too: a policy that may not begin an action ends it all the same
        pairs = [pair for tool in self.codec.protocol.tools for pair in (tool.action, tool.observation)]
        return tuple(tag for pair in pairs for tag in (pair.open, pair.close))


# ----------------------------------------------------------------------------------- engines that begin a turn at a cut


# a step is not a blank line: that is sampled on, so many times
_MAX_PARTS = 4


def head(trajectory: Trajectory, n_shared: int, codec: Codec) -> tuple[Segment, ...]:
    """Keep the first `n_shared` response tokens as segments; the text of one that is cut is what its ids decode to.

    A rollout goes on from them: `loop.rollout(begun=...)`.

    Raises `DataError` unless the response has so many tokens, and at least one is kept.
    """
    n_response = len(trajectory.response_ids)
    if not 1 <= n_shared <= n_response:
        raise DataError(f"n_shared must be between 1 and the {n_response} tokens of the response, got {n_shared}")
    kept: list[Segment] = []
    for segment in trajectory.segments:
        if n_shared == 0:
            break
        kept.append(segment if len(segment.ids) <= n_shared else _beginning(segment, n_shared, codec))
        n_shared -= len(kept[-1].ids)
    return tuple(kept)


def _beginning(segment: Segment, n_tokens: int, codec: Codec) -> Segment:
    ids = segment.ids[:n_tokens]
    logprobs = None if segment.logprobs is None else segment.logprobs[:n_tokens]
    return replace(segment, ids=ids, text=codec.decode(ids), logprobs=logprobs)


def action_opening(tool: Tool, text_before: str, codec: Codec) -> tuple[int, ...]:
    """Spell the ids of an action's opening tag, after a space unless `text_before` ends in white space."""
    space = "" if not text_before or text_before[-1].isspace() else " "
    return tuple(codec.encode(space + tool.action.open))


class OpenedEngine:
    """Engine that begins the turn after `at` ids with an action's opening, `opening_ids`; other calls are passed on.

        kept + <begin_search>│ query </end_search>       the opening is written, the rest sampled

    It is one turn to the loop, so roles are given as ever and no id is encoded twice (invariant 1).
    Texts `forbidden` are not sampled in that turn, such as a second opening of the action. The turn has no
    log-probabilities: the engine did not choose the opening, and a segment has all or none.
    """

    def __init__(self, engine: Engine, opening_ids: Sequence[int], *, at: int, forbidden: tuple[str, ...] = ()) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self._engine, self._opening, self._at, self._forbidden = engine, tuple(opening_ids), at, forbidden

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample a turn; the opening counts as part of it. Raises what the engine raises."""
        if len(ids) != self._at:
            return await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)
        room = max_tokens - len(self._opening)
        if room <= 0:
            return Generation(self._opening[:max_tokens], None, FinishReason.LENGTH)
        shown = [*ids, *self._opening]
        sampling = replace(sampling, forbidden=(*sampling.forbidden, *self._forbidden))
        written = await self._engine.generate(shown, max_tokens=room, stop=stop, sampling=sampling)
        return replace(written, ids=self._opening + written.ids, logprobs=None)


class StepFirstEngine:
    """Engine that begins the turn after `at` ids with a step that is sampled under another prompt.

        kept │ one step, sampled under another prompt │ and on under the real one

    The step follows `other_prompt_ids` and the ids after the first `n_prompt`; it ends at one of the strings `stop`,
    what shows that its sentence has ended taken off again, or after `max_tokens` tokens, and texts `forbidden` are not
    sampled in it. The turn then goes on after the real ids, unless the step ended it: with an end of sequence, or at
    what ends any turn. Every other call is passed on.
    """

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        *,
        at: int,
        n_prompt: int,
        other_prompt_ids: Sequence[int],
        stop: Sequence[str],
        forbidden: tuple[str, ...],
        max_tokens: int,
    ) -> None:
        context = engine.max_context_tokens
        # the longer one of the two prompts must leave room
        longer = max(0, len(other_prompt_ids) - n_prompt)
        self.max_context_tokens = None if context is None else context - longer
        self._engine, self._codec, self._at, self._n_prompt = engine, codec, at, n_prompt
        self._other, self._stop, self._forbidden = tuple(other_prompt_ids), tuple(stop), forbidden
        self._max_step = max_tokens

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample a turn; the step counts as part of it. Raises what the engine raises."""
        if len(ids) != self._at:
            return await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)
        step = self._without_next(await self._step(ids, min(max_tokens, self._max_step), sampling))
        room = max_tokens - len(step.ids)
        if room <= 0 or self._is_over(step, stop):
            return step
        rest = await self._engine.generate([*ids, *step.ids], max_tokens=room, stop=stop, sampling=sampling)
        return _joined(step, rest)

    async def _step(self, ids: Sequence[int], max_tokens: int, sampling: Sampling) -> Generation:
        shown = [*self._other, *ids[self._n_prompt :]]
        sampling = replace(sampling, forbidden=(*sampling.forbidden, *self._forbidden))
        step = Generation((), (), FinishReason.STOP)
        for _ in range(_MAX_PARTS):
            room = max_tokens - len(step.ids)
            part = await self._engine.generate([*shown, *step.ids], max_tokens=room, stop=self._stop, sampling=sampling)
            step = _joined(step, part)
            is_blank = not self._codec.decode(step.ids).strip()
            if not is_blank or not part.ids or len(step.ids) >= max_tokens or self._is_over(step, ()):
                break
        return step

    def _without_next(self, step: Generation) -> Generation:
        """Cut a step before what begins the next one: only a token after a full stop shows that a sentence has ended.

        That token was sampled with tags forbidden, and the real prompt may have had the thought end there.
        """
        text = self._codec.decode(step.ids)
        end = next((end for _, end in step_spans(text)), len(text))
        if not text[end:].strip():
            return step
        count = self._codec.tokens_covering(step.ids, end - 1)
        logprobs = None if step.logprobs is None else step.logprobs[:count]
        return replace(step, ids=step.ids[:count], logprobs=logprobs, finish_reason=FinishReason.STOP)

    def _is_over(self, step: Generation, stop: Sequence[str]) -> bool:
        if step.finish_reason is FinishReason.ABORT or (step.ids and step.ids[-1] in self._codec.end_ids):
            return True
        text = self._codec.decode(step.ids)
        return any(string in text for string in stop)


def _joined(first: Generation, second: Generation) -> Generation:
    """Join two generations; log-probabilities only when both have them."""
    logprobs = None
    if first.logprobs is not None and second.logprobs is not None:
        logprobs = first.logprobs + second.logprobs
    return replace(second, ids=first.ids + second.ids, logprobs=logprobs)
