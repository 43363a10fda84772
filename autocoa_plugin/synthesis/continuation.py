"""How a chain goes on from a cut: what is kept of it, and engines that write what comes first there.

    head              the first tokens of a wrong chain, as segments that `loop.rollout(begun=...)` goes on from
    OpenedEngine      kept + <begin_search>│ query </end_search>       the action's opening is written, the rest sampled
    StepFirstEngine   kept │ one step, sampled under another prompt │ and on under the real one

Each is one turn to the loop, so roles are given as ever and no id is encoded twice (invariant 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..engines.base import Engine, FinishReason, Generation, Sampling
from ..errors import DataError
from ..protocol import Tool
from ..tokenization import Codec
from ..trajectory import Segment, Trajectory
from .step_text import step_spans

# a step is not a blank line: that is sampled on, so many times
_MAX_PARTS = 4


def head(trajectory: Trajectory, n_shared: int, codec: Codec) -> tuple[Segment, ...]:
    """The first `n_shared` response tokens as segments; the text of one that is cut is what its ids decode to.

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
    """The ids of an action's opening tag, after a space unless `text_before` ends in white space."""
    space = "" if not text_before or text_before[-1].isspace() else " "
    return tuple(codec.encode(space + tool.action.open))


class OpenedEngine:
    """Begins the turn that follows `at` ids with `opening_ids`; every other call is passed on.

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
    """Begins the turn that follows `at` ids with a step that is sampled under another prompt.

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
        """The step without what begins the next one: only a token after a full stop shows that a sentence has ended.

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
    """Two generations as one; log-probabilities only when both have them."""
    logprobs = None
    if first.logprobs is not None and second.logprobs is not None:
        logprobs = first.logprobs + second.logprobs
    return replace(second, ids=first.ids + second.ids, logprobs=logprobs)
