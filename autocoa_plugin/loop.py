"""The rollout: Algorithm 1 of AutoCoA as a loop over turns.

    sample a turn ──> closed action ────> ask the environment ──> append the observation ──> next turn
          │──────> invented observation ─> say so, close it ───────────────────────────────> next turn
          │──────> end of sequence ──────> ANSWERED or NO_ANSWER
          └──────> a limit ──────────────> append the answer's opening, let the policy complete it

Limits are checked in this order: actions, tokens per turn, tokens per observation, response length less the reserve
for the answer, wall clock of the trajectory, wall clock of a call. A limit that is hit becomes the stop reason.
Exceptions of the engine propagate; exceptions of a tool never do (`environments.base`).
Source: arXiv:2503.06580, Algorithm 1 (forced answer included).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .builder import Builder, asked_before, check_beginning
from .engines.base import Engine, FinishReason, Generation, Sampling
from .environments.base import Context, Environment, Observation, answer_safely
from .errors import EngineError
from .limits import Limits
from .protocol import Action, Defect, Tool
from .tokenization import Codec
from .trajectory import Call, Counts, Origin, Outcome, Role, Segment, Source, StopReason, Trajectory

_FORCING = {
    StopReason.MAX_ACTIONS,
    StopReason.MAX_TURN_TOKENS,
    StopReason.MAX_RESPONSE_TOKENS,
    StopReason.TIMEOUT,
}


async def rollout(
    prompt_ids: Sequence[int],
    *,
    engine: Engine,
    environment: Environment,
    codec: Codec,
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    metadata: Mapping[str, Any] | None = None,
    begun: Sequence[Segment] = (),
    on_segment: Callable[[Segment], object] | None = None,
) -> Trajectory:
    """Let a policy think, act and answer; return everything that was sampled and injected.

    `metadata` is handed to the environment and must not hold the gold answer. The trajectory begins with the segments
    `begun`, verbatim, as if this rollout had just made them: the limits on actions and tokens and the search for
    repeated actions include them, and what is sampled next is a turn and a segment of its own. Of the counts, `actions`
    includes their answered actions; every other one is of what was added. `on_segment` is told each segment when it is
    appended, not those begun; it watches and must not raise.
    Raises `EngineError` from the engine; `ConfigError` when the answer reserve is too small for the protocol;
    `TrajectoryError` when `begun` ends inside an action, an observation or an answer.
    """
    limits = limits or Limits()
    limits.check(codec)
    check_beginning(begun, codec, stops_at_observation=environment.stops_at_observation)
    run = _Rollout(tuple(prompt_ids), engine, environment, codec, limits, sampling or Sampling(), metadata or {})
    run.builder.begin(begun)
    run.seen = asked_before(begun)
    run.builder.on_segment = on_segment
    return await run.trajectory()


class _Rollout:
    """The state of one rollout; one method per box of the picture above."""

    def __init__(
        self,
        prompt_ids: tuple[int, ...],
        engine: Engine,
        environment: Environment,
        codec: Codec,
        limits: Limits,
        sampling: Sampling,
        metadata: Mapping[str, Any],
    ) -> None:
        self.engine, self.environment, self.codec = engine, environment, codec
        self.limits, self.sampling, self.metadata = limits, sampling, metadata
        self.builder = Builder(codec, prompt_ids)
        self.opened_by_prompt = codec.opens_thought(prompt_ids)
        self.stops = codec.protocol.stop_strings(stop_at_observation=environment.stops_at_observation)
        self.seen: set[tuple[str, str]] = set()
        self.forced_answer = False
        self.started = time.monotonic()
        context = engine.max_context_tokens
        room = limits.max_response_tokens if context is None else context - len(prompt_ids)
        self.budget = min(limits.max_response_tokens, room)

    async def trajectory(self) -> Trajectory:
        if self.budget <= self.limits.answer_reserve_tokens or self._room() < 0:
            return self._build(StopReason.PROMPT_TOO_LONG)
        reason = None
        while reason is None:
            reason = await self._turn()
        if reason in _FORCING:
            await self._force_answer()
        return self._build(reason)

    def _build(self, reason: StopReason) -> Trajectory:
        return self.builder.build(reason, forced_answer=self.forced_answer, opened_by_prompt=self.opened_by_prompt)

    async def _turn(self) -> StopReason | None:
        room = self._room()
        if room <= 0:
            return StopReason.MAX_RESPONSE_TOKENS
        if self._seconds_left() <= 0:
            return StopReason.TIMEOUT
        cap = min(room, self.limits.max_turn_tokens)
        generation = await self._sample(cap, self.stops)
        text = self.builder.turn_text(generation)
        action = self.codec.protocol.find_action(text)
        invented = self._invented(text, action)
        unclosed = None if action or invented else self.codec.protocol.find_open_action(text)
        self.builder.add_turn(generation, text, action.start if action and not invented else unclosed)
        if generation.finish_reason is FinishReason.ABORT:
            return StopReason.ABORTED
        if invented:
            return self._step(invented) or self._answer_invented(invented)
        if action:
            tool = self.codec.protocol.tool(action.tool)
            return self._step(tool) or await self._act(action, tool)
        if unclosed is not None:
            self.builder.counts.unclosed_actions += 1
        return self._ended(generation, cap, room)

    def _invented(self, text: str, action: Action | None) -> Tool | None:
        found = self.codec.protocol.find_invented_observation(text) if self.environment.stops_at_observation else None
        return found[1] if found and (action is None or found[0] < action.end) else None

    def _step(self, tool: Tool) -> StopReason | None:
        """Count one action, or name the limit that forbids it; checked before a tool is asked, so no call is wasted."""
        if self.builder.counts.actions >= self.limits.max_actions:
            return StopReason.MAX_ACTIONS
        head, tail = self.codec.observation_frame(tool)
        if self._observation_room() <= len(head.ids) + len(tail.ids):
            return StopReason.MAX_RESPONSE_TOKENS
        if self._seconds_left() <= 0:
            return StopReason.TIMEOUT
        self.builder.counts.actions += 1
        return None

    def _ended(self, generation: Generation, cap: int, room: int) -> StopReason:
        is_end = bool(generation.ids) and generation.ids[-1] in self.codec.end_ids
        answered = self.codec.protocol.extract_answer(self.builder.answer_run()) is not None
        # engines that cannot tell stop from length say STOP, hence the count
        is_cut = generation.finish_reason is FinishReason.LENGTH or len(generation.ids) >= cap
        if is_cut and not is_end and not (answered and self._answer_closed()):
            return StopReason.MAX_TURN_TOKENS if cap < room else StopReason.MAX_RESPONSE_TOKENS
        return StopReason.ANSWERED if answered else StopReason.NO_ANSWER

    def _answer_closed(self) -> bool:
        protocol = self.codec.protocol
        return protocol.answer_kind == "tag" and not protocol.answer_is_open(self.builder.answer_run())

    async def _act(self, action: Action, tool: Tool) -> StopReason | None:
        observation = self._refuse(action) or await self._ask(action)
        call = self._record(action.tool, action.parameters, observation)
        if observation.generation is not None:
            return self._add_sampled(tool, observation, observation.generation, call)
        self._add_observation(tool, observation.text, call)
        return None

    def _refuse(self, action: Action) -> Observation | None:
        counts, notices = self.builder.counts, self.codec.protocol.notices
        if action.defect is Defect.MALFORMED:
            counts.malformed_actions += 1
            return _notice(notices.malformed_action)
        if action.defect is Defect.EMPTY:
            counts.empty_actions += 1
            return _notice(notices.empty_action)
        if self.builder.is_outside_thought():
            counts.actions_outside_thought += 1
            return _notice(notices.outside_thought)
        if len(self.builder.segments[-1].ids) > self.limits.max_action_tokens:
            counts.long_actions += 1
            return _notice(notices.long_action)
        counts.repeated_actions += (action.tool, action.parameters) in self.seen
        self.seen.add((action.tool, action.parameters))
        return None

    async def _ask(self, action: Action) -> Observation:
        call_s, left_s = self.limits.call_timeout_s, self._seconds_left()
        timeout_s = call_s if left_s == float("inf") else min(left_s, call_s or left_s)
        room = self._observation_room()
        context = Context(
            self.builder.ids,
            self.codec,
            self.engine,
            self.sampling,
            room,
            self.metadata,
            action_logprobs=self.builder.segments[-1].logprobs,
            call_index=self.builder.counts.actions - 1,
        )
        observation = await answer_safely(self.environment, action, context, timeout_s=timeout_s)
        self.builder.counts.tool_seconds += observation.seconds
        return observation

    def _answer_invented(self, tool: Tool) -> None:
        self.builder.counts.invented_observations += 1
        notice = _notice(self.codec.protocol.notices.invented)
        self._add_observation(tool, notice.text, self._record(tool.name, "", notice), is_opened=True)

    def _add_observation(self, tool: Tool, text: str, call: Call, *, is_opened: bool = False) -> None:
        room = self._observation_room()
        injected = self.codec.spell_observation(tool, text, max_tokens=room, is_opened=is_opened)
        self.builder.counts.truncated_observations += injected.is_truncated
        self.builder.add_injected(injected, Role.OBSERVATION, Source.ENVIRONMENT, call)

    def _add_sampled(
        self, tool: Tool, observation: Observation, generation: Generation, call: Call
    ) -> StopReason | None:
        """Append a body that a language model sampled between the tags that it did not write itself."""
        head, tail = self.codec.observation_frame(tool)
        if observation.is_closed:
            tail = self.codec.after_observation(tool, observation.text)
        if len(head.ids) + len(generation.ids) + len(tail.ids) > self._observation_room():
            self.builder.counts.discarded_observation_tokens += len(generation.ids)
            return StopReason.MAX_RESPONSE_TOKENS
        self.builder.add_injected(head, Role.OBSERVATION, Source.ENVIRONMENT)
        source = Source.POLICY if observation.is_own else Source.ENVIRONMENT
        self.builder.add_sampled(generation, observation.text, Role.OBSERVATION, call, source=source)
        self.builder.add_injected(tail, Role.OBSERVATION, Source.ENVIRONMENT)
        return None

    async def _force_answer(self) -> None:
        """Complete an answer that was begun, or open one; stop as soon as it is closed or the budget is spent."""
        protocol, builder = self.codec.protocol, self.builder
        if protocol.extract_answer(builder.answer_run()) is not None and not protocol.answer_is_open(
            builder.answer_run()
        ):
            return
        if not protocol.answer_is_open(builder.answer_run()):
            closed = builder.thought_closed or builder.in_answer or protocol.thought is None
            builder.add_injected(self.codec.forced_answer(thought_closed=closed), Role.ANSWER, Source.TEMPLATE)
            builder.thought_closed = builder.in_answer = self.forced_answer = True
        while (room := self.budget - builder.n_response) > 0 and protocol.answer_is_open(builder.answer_run()):
            generation = await self._sample(room, (protocol.answer.close,))
            builder.counts.turns += 1
            builder.add_sampled(generation, self.codec.decode(generation.ids), Role.ANSWER)
            if not generation.ids or generation.ids[-1] in self.codec.end_ids:
                return

    async def _sample(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        started = time.perf_counter()
        generation = await self.engine.generate(
            self.builder.ids, max_tokens=max_tokens, stop=stop, sampling=self.sampling
        )
        self.builder.counts.engine_seconds += time.perf_counter() - started
        if len(generation.ids) > max_tokens:
            raise EngineError(f"the engine returned {len(generation.ids)} ids, at most {max_tokens} were asked for")
        return generation

    def _record(self, tool: str, parameters: str, observation: Observation) -> Call:
        self.builder.counts += Counts.of_call(observation.origin, observation.outcome) + observation.counts
        self.builder.counts.cost += observation.cost
        return Call(
            tool=tool,
            parameters=parameters,
            outcome=observation.outcome,
            origin=observation.origin,
            seconds=observation.seconds,
            cost=observation.cost,
            error=observation.error,
        )

    def _room(self) -> int:
        """Tokens left for a turn, the answer's reserve kept aside."""
        return self.budget - self.builder.n_response - self.limits.answer_reserve_tokens

    def _observation_room(self) -> int:
        # one token stays for the turn that follows
        return min(self.limits.max_observation_tokens, self._room() - 1)

    def _seconds_left(self) -> float:
        limit = self.limits.trajectory_timeout_s
        return float("inf") if limit is None else limit - (time.monotonic() - self.started)


def _notice(text: str) -> Observation:
    return Observation(text, Origin.NOTICE, Outcome.REFUSED)
