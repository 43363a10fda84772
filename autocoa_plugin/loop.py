"""The rollout loop: sample a turn, run the action it holds, append the observation, repeat until an answer.

    sample a turn ──> closed action ────> ask the environment ──> append the observation ──> next turn
          │──────> invented observation ─> say so, close it ───────────────────────────────> next turn
          │──────> end of sequence ──────> ANSWERED or NO_ANSWER, or the protocol's notice and a new turn
          └──────> a limit ──────────────> append the answer's opening, let the policy complete it

Limits are checked in this order: actions, tokens per turn, tokens per observation, response length less the reserve
for the answer, wall clock of the trajectory, wall clock of a call. A limit that is hit becomes the stop reason.
Exceptions of the engine propagate; exceptions of a tool never do (`environments.base`). Which token gets which role is
left to `builder.py`, how text becomes ids to `tokenization.py`, the reward to `rewards.py`.
Source: arXiv:2503.06580, Algorithm 1 (forced answer included).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .builder import Builder, asked_before, check_beginning
from .engines.base import Engine, FinishReason, Generation, Sampling
from .environments.base import Context, Environment, Observation, answer_safely, opened
from .errors import EngineError
from .limits import Limits
from .protocol import Action, Defect, Tool
from .tokenization import Codec
from .trajectory import Call, Counts, Origin, Outcome, Role, Segment, Source, StopReason, Trajectory

# The limits of ours after which an answer is still owed (invariant 7). ABORTED is not among them: the engine gave the
# request back, and would only be asked for the same rollout again.
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
    """Run one chain-of-action rollout: the policy thinks, acts and answers; return all that was sampled and injected.

    `metadata` is handed to the environment and must not hold the gold answer. The trajectory begins with the segments
    `begun`, verbatim, as if this rollout had just made them: the limits on actions and tokens and the search for
    repeated actions include them, and what is sampled next is a turn and a segment of its own. Of the counts, `actions`
    includes their answered actions; every other one is of what was added. `on_segment` is called with each segment when
    it is appended, not with those of `begun`; it watches and must not raise.
    Raises `EngineError` from the engine; `ConfigError` when the answer reserve is too small for the protocol;
    `TrajectoryError` when `begun` ends inside an action, an observation or an answer.
    """
    limits = limits or Limits()
    # mistakes of the caller: refused before the first token is sampled, not found later as a rollout without an answer
    limits.check(codec)
    check_beginning(begun, codec, stops_at_observation=environment.stops_at_observation)
    async with opened(environment, metadata or {}) as inside:
        run = _Rollout(tuple(prompt_ids), engine, inside, codec, limits, sampling or Sampling(), metadata or {})
        run.builder.begin(begun)
        run.seen = asked_before(begun)
        run.builder.on_segment = on_segment  # only now: a watcher sees what this rollout adds, and `begun` is not new
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
        # the engine's window holds prompt and response: a long prompt shortens the response, never the answer's reserve
        context = engine.max_context_tokens
        room = limits.max_response_tokens if context is None else context - len(prompt_ids)
        self.budget = min(limits.max_response_tokens, room)

    async def trajectory(self) -> Trajectory:
        # No room for the reserve, after the prompt or after what was begun: an answer could only be half an answer, so
        # nothing is paid for. A room of 0 is enough: the reserve is whole, and the answer is forced at once.
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
        # tokens before seconds: where both are spent, the stop reason does not depend on how fast the machine is
        room = self._room()
        if room <= 0:
            return StopReason.MAX_RESPONSE_TOKENS
        if self._seconds_left() <= 0:
            return StopReason.TIMEOUT
        cap = min(room, self.limits.max_turn_tokens)
        generation = await self._sample(cap, self.stops)
        # with the open turn of `begun`: a tag may have been begun there and be completed by what was sampled now
        text = self.builder.turn_text(generation)
        action = self.codec.protocol.find_action(text)
        invented = self._invented(text, action)
        # An action that was opened and not closed is an action of the policy too, so its tokens get that role; it is
        # never executed, because its parameters may be half a query.
        unclosed = None if action or invented else self.codec.protocol.find_open_action(text)
        # appended before anything is decided: whatever happens next, nothing sampled is lost (invariant 8)
        self.builder.add_turn(generation, text, action.start if action and not invented else unclosed)
        # before the action: an aborted turn is no decision of the policy, so no call is spent on it
        if generation.finish_reason is FinishReason.ABORT:
            return StopReason.ABORTED
        # before the action: behind the opening tag the policy speaks as the tool
        if invented:
            return self._step(invented) or self._answer_invented(invented)
        if action and action.defect is Defect.MALFORMED and self.codec.protocol.invalid_turn:
            return self._try_again(StopReason.MAX_ACTIONS)
        if action:
            tool = self.codec.protocol.tool(action.tool)
            return self._step(tool) or await self._act(action, tool)
        if unclosed is not None:
            self.builder.counts.unclosed_actions += 1
        reason = self._ended(generation, cap, room)
        # a response that is used up is no choice of the policy, and nothing could follow
        if reason in (StopReason.ANSWERED, StopReason.MAX_RESPONSE_TOKENS) or not self.codec.protocol.invalid_turn:
            return reason
        return self._try_again(reason)

    def _invented(self, text: str, action: Action | None) -> Tool | None:
        # Where no environment asks for the stop, an opened observation is ordinary text. What comes first in the text
        # counts: an engine may have sampled beyond the first stop string.
        found = self.codec.protocol.find_invented_observation(text) if self.environment.stops_at_observation else None
        return found[1] if found and (action is None or found[0] < action.end) else None

    def _step(self, tool: Tool) -> StopReason | None:
        """Count one action, or name the limit that forbids it; checked before a tool is asked, so no call is wasted."""
        if self.builder.counts.actions >= self.limits.max_actions:
            return StopReason.MAX_ACTIONS
        # An observation's tags are never cut; a frame without room for one token of body would show the policy an empty
        # result that the tool never gave.
        head, tail = self.codec.observation_frame(tool)
        if self._observation_room() <= len(head.ids) + len(tail.ids):
            return StopReason.MAX_RESPONSE_TOKENS
        if self._seconds_left() <= 0:
            return StopReason.TIMEOUT
        self.builder.counts.actions += 1
        return None

    def _ended(self, generation: Generation, cap: int, room: int) -> StopReason:
        is_end = bool(generation.ids) and generation.ids[-1] in self.codec.end_ids
        # only what follows the last action or observation: an answer box before a search was not the last word
        answered = self.codec.protocol.extract_answer(self.builder.answer_run()) is not None
        # engines that cannot tell stop from length say STOP, hence the count
        is_cut = generation.finish_reason is FinishReason.LENGTH or len(generation.ids) >= cap
        # a last token that happens to fill the cap is no cut: the policy ended its turn with it
        if is_cut and not is_end and not (answered and self._answer_closed()):
            return StopReason.MAX_TURN_TOKENS if cap < room else StopReason.MAX_RESPONSE_TOKENS
        # nothing is forced here: a policy that ends without an answer has chosen to, and its reward says so
        return StopReason.ANSWERED if answered else StopReason.NO_ANSWER

    def _answer_closed(self) -> bool:
        # a closed answer tag is a stop string, so the turn ended there; prose may still follow a closed box
        protocol = self.codec.protocol
        return protocol.answer_kind == "tag" and not protocol.answer_is_open(self.builder.answer_run())

    def _try_again(self, reason: StopReason) -> StopReason | None:
        """Tell the policy that its turn was invalid, as an action; end with `reason` where no action is left for it."""
        counts, notice = self.builder.counts, self.codec.invalid_turn()
        # its sentences are not cut, and a turn must follow them (invariant 7)
        if counts.actions >= self.limits.max_actions or len(notice.ids) >= self._room() or self._seconds_left() <= 0:
            return reason
        counts.actions += 1
        counts.malformed_actions += 1
        call = self._record(self.codec.protocol.tools[0].name, "", _notice(notice.text))
        self.builder.add_injected(notice, Role.OBSERVATION, Source.ENVIRONMENT, call)
        return None

    async def _act(self, action: Action, tool: Tool) -> StopReason | None:
        observation = self._refuse(action) or await self._ask(action)
        call = self._record(action.tool, action.parameters, observation)
        if observation.generation is not None:
            return self._add_sampled(tool, observation, observation.generation, call)
        self._add_observation(tool, observation.text, call)
        return None

    def _refuse(self, action: Action) -> Observation | None:
        """A notice for an action that cannot be executed, with its cause counted; None for one that can."""
        # A notice instead of an end: the policy reads what was wrong and may do better in the same rollout. The most
        # basic fault comes first, so that each action counts for one.
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
        # counted, not refused: a tool may have failed the first time, and asking again is then right
        counts.repeated_actions += (action.tool, action.parameters) in self.seen
        self.seen.add((action.tool, action.parameters))
        return None

    async def _ask(self, action: Action) -> Observation:
        # a call never outlives its trajectory, and without any limit it may take as long as it likes
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
            action_logprobs=self.builder.segments[-1].logprobs,  # the turn just added ends with the action's segment
            call_index=self.builder.counts.actions - 1,  # `_step` has counted this one already
        )
        observation = await answer_safely(self.environment, action, context, timeout_s=timeout_s)
        self.builder.counts.tool_seconds += observation.seconds
        return observation

    def _answer_invented(self, tool: Tool) -> None:
        self.builder.counts.invented_observations += 1
        notice = _notice(self.codec.protocol.notices.invented)
        # the policy wrote the opening tag, which stays its own token and carries loss; we only close what it opened
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
        # Text would be cut and encoded again; sampled ids may be neither (invariant 1), so they fit or are left out.
        if len(head.ids) + len(generation.ids) + len(tail.ids) > self._observation_room():
            self.builder.counts.discarded_observation_tokens += len(generation.ids)
            return StopReason.MAX_RESPONSE_TOKENS
        # the tags are ours: only the body has log-probabilities, and only the body carries the call
        self.builder.add_injected(head, Role.OBSERVATION, Source.ENVIRONMENT)
        source = Source.POLICY if observation.is_own else Source.ENVIRONMENT
        self.builder.add_sampled(generation, observation.text, Role.OBSERVATION, call, source=source)
        self.builder.add_injected(tail, Role.OBSERVATION, Source.ENVIRONMENT)
        return None

    async def _force_answer(self) -> None:
        """Complete an answer that was begun, or open one; stop as soon as it is closed or the budget is spent."""
        protocol, builder = self.codec.protocol, self.builder
        # complete already: the limit cut what the policy said after its answer
        if protocol.extract_answer(builder.answer_run()) is not None and not protocol.answer_is_open(
            builder.answer_run()
        ):
            return
        # A box that the limit cut is completed as it stands: a second opening would throw the policy's own away.
        if not protocol.answer_is_open(builder.answer_run()):
            closed = builder.thought_closed or builder.in_answer or protocol.thought is None
            # template, not policy: the policy did not choose to answer now, so the opening carries no loss
            builder.add_injected(self.codec.forced_answer(thought_closed=closed), Role.ANSWER, Source.TEMPLATE)
            builder.thought_closed = builder.in_answer = self.forced_answer = True
        # again and again, because braces nest: in `\boxed{\text{a}}` the engine stops at a `}` that closes no box
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
        # an error, not a cut: a budget is a promise to the trainer, and a broken engine must not be repaired in silence
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
        # one token stays for the turn that follows: a trajectory ends on a token of the policy (invariant 7)
        return min(self.limits.max_observation_tokens, self._room() - 1)

    def _seconds_left(self) -> float:
        limit = self.limits.trajectory_timeout_s
        return float("inf") if limit is None else limit - (time.monotonic() - self.started)


def _notice(text: str) -> Observation:
    return Observation(text, Origin.NOTICE, Outcome.REFUSED)
