"""Trajectory builder: gives every token its role as it is appended, and keeps the ids that the engine is shown.

    sampled text   I need it.<begin_search> q </end_search>      the character where the role changes ...
    token ids      [I][ need][ it][.<][begin_search>][ q] ...    ... may lie inside a token: ".<"
    role           thought ..     ^ action ..                    an opening tag takes the whole token

`loop.py` decides what happens next, this file which tokens get which role. Ids are only ever appended, never decoded
and encoded again (invariant 1), so a mask is right by construction and no text is searched for it later.

A rollout may go on from the segments of another one, up to a token of a thought or to a whole observation:

    thought action observation thought                     goes on inside the thought
    thought action observation                             goes on with a turn
    .. action, .. half an observation, .. answer, .. end   refused: what would follow is not the policy's to say

Its last turn is open where it ends in a thought: tags may be completed by what is sampled next, so both are read
together as one turn (`Builder.add_turn`), and only the new tokens get a role. Where to cut is for the callers to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise, takewhile

from .engines.base import Generation
from .errors import TrajectoryError
from .tokenization import Codec, Injected
from .trajectory import Call, Counts, Origin, Outcome, Role, Segment, Source, StopReason, Trajectory, final_run


@dataclass
class Builder:
    """Segments, ids and counts of one unfinished trajectory; `ids` is prompt plus response, as shown to the engine.

    `on_segment` is called with each segment when it is appended.
    """

    codec: Codec
    prompt_ids: tuple[int, ...]
    ids: list[int] = field(init=False)
    segments: list[Segment] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    thought_closed: bool = False
    in_answer: bool = False
    on_segment: Callable[[Segment], object] | None = None
    # the turn that `begin` left open; its tokens have their segments already and are only read again
    _open_ids: tuple[int, ...] = ()
    _open_text: str = ""

    def __post_init__(self) -> None:
        self.ids = list(self.prompt_ids)

    @property
    def n_response(self) -> int:
        """Number of response tokens so far."""
        return len(self.ids) - len(self.prompt_ids)

    def begin(self, begun: Sequence[Segment]) -> None:
        """Take over segments, checked by `check_beginning`, as if they had been added; only actions are counted."""
        self.segments = list(begun)
        self.ids += [token for segment in begun for token in segment.ids]
        # Actions alone, because a limit counts them; tokens and calls were paid for by the rollout that made them, and
        # counted again here they would stand twice in a ledger.
        self.counts.actions = n_answered(begun)
        self.in_answer = any(segment.role is Role.ANSWER for segment in begun)
        for text in policy_runs(begun):  # turn by turn, as `add_turn` would have read them
            self._follow_thought(text)
        turn = open_turn(begun)
        self._open_ids = tuple(token for segment in turn for token in segment.ids)
        self._open_text = "".join(segment.text for segment in turn)

    def turn_text(self, generation: Generation) -> str:
        """The text of a turn, from where it was begun."""
        # decoded in one piece: a character or a tag may lie on both sides of the place where the turn was cut
        return self.codec.decode((*self._open_ids, *generation.ids))

    def add_turn(self, generation: Generation, text: str, action_start: int | None) -> None:
        """Append what the policy sampled; `text` is `turn_text`, from its character `action_start` on an action."""
        self.counts.turns += 1
        self.counts.sampled_tokens += len(generation.ids)
        # Once the answer has begun, all text is answer until the end: an action in it gets its own role, and what
        # follows it goes on with the answer.
        role = Role.ANSWER if self.in_answer else Role.THOUGHT
        cuts: list[tuple[int, Role]] = []
        # only before the action: what a query quotes opens no answer and closes no thought
        answer = None if self.in_answer else self._answer_start(text[:action_start])
        if answer is not None:
            cuts.append((answer, Role.ANSWER))
            self.in_answer = True
        if action_start is not None:
            cuts.append((action_start, Role.ACTION))
        # after `_answer_start`, which has to know whether the thought was closed before this turn
        self._follow_thought(text[:action_start])
        self._split(generation, text, role, cuts)
        self._open_ids, self._open_text = (), ""

    def add_sampled(
        self,
        generation: Generation,
        text: str,
        role: Role,
        call: Call | None = None,
        *,
        source: Source = Source.POLICY,
    ) -> None:
        """Append sampled tokens that all have one role: an imagined observation, or a forced answer's content.

        What another model than the policy sampled has source environment, and no log-probabilities of the policy.
        """
        # two counters: imagined observations are the price of simulation, to be held against real calls
        if role is Role.OBSERVATION:
            self.counts.sampled_observation_tokens += len(generation.ids)
        else:
            self.counts.sampled_tokens += len(generation.ids)
        # another model's log-probabilities beside the policy's would be read as importance weights
        logprobs = generation.logprobs if source is Source.POLICY else None
        self._append(Segment(role, source, generation.ids, text, logprobs, call))

    def add_injected(self, injected: Injected, role: Role, source: Source, call: Call | None = None) -> None:
        """Append text that no model sampled: a tool's observation, a notice, the opening of a forced answer."""
        self.counts.injected_tokens += len(injected.ids)
        self._append(Segment(role, source, injected.ids, injected.text, call=call))

    def is_outside_thought(self) -> bool:
        """True when the protocol wants actions inside the thought and the thought has ended."""
        return self.codec.protocol.actions_inside_thought and self.thought_closed

    def answer_run(self) -> str:
        """The text since the last action or observation."""
        return final_run(self.segments)

    def build(self, reason: StopReason, *, forced_answer: bool, opened_by_prompt: bool) -> Trajectory:
        """Close the trajectory; observations that the policy never read are taken off the end (invariant 7)."""
        # An observation that no turn follows, or an answer's opening that no token follows, teaches nothing and would
        # stand where the reward is paid: on the last token. What it had cost stays counted.
        while self.segments and not self.segments[-1].is_trained:
            self.segments.pop()
        return Trajectory(
            prompt_ids=self.prompt_ids,
            segments=tuple(self.segments),
            stop_reason=reason,
            protocol=self.codec.protocol.name,
            counts=replace(self.counts),  # a copy: a trajectory is frozen, the builder's counts are not
            forced_answer=forced_answer,
            thought_opened_by_prompt=opened_by_prompt,
        )

    def _follow_thought(self, text: str) -> None:
        thought = self.codec.protocol.thought
        if thought is None:
            return
        # the last tag decides, and a text without any leaves things as they were: search_r1 thinks anew after a result
        opened, closed = text.rfind(thought.open), text.rfind(thought.close)
        if max(opened, closed) >= 0:
            self.thought_closed = closed > opened

    def _answer_start(self, text: str) -> int | None:
        return self.codec.protocol.find_answer_start(text, thought_closed=self.thought_closed)

    def _split(self, generation: Generation, text: str, role: Role, cuts: list[tuple[int, Role]]) -> None:
        """Cut a turn into segments at the characters `cuts`; each gets whole tokens, and exactly its own text."""
        ids, logprobs = (*self._open_ids, *generation.ids), generation.logprobs
        begin_id = n_open = len(self._open_ids)
        begin_char = _n_alike(self._open_text, text)  # what was begun may end inside a character
        for char, next_role in [*cuts, (len(text), role)]:
            # The end of the text needs no search: the last tokens may spell nothing yet (half a character).
            end_id = len(ids) if char == len(text) else self._token_at(ids, char, next_role)
            # Never back into what was begun, whose tokens have their role, nor before the previous cut: one token may
            # hold two tags, and then the segment between them has text and no token.
            end_id, end_char = max(end_id, begin_id), max(char, begin_char)
            if end_char > begin_char or end_id > begin_id:
                part = None if logprobs is None else logprobs[begin_id - n_open : end_id - n_open]
                self._append(Segment(role, Source.POLICY, ids[begin_id:end_id], text[begin_char:end_char], part))
            begin_id, begin_char, role = end_id, end_char, next_role

    def _token_at(self, ids: tuple[int, ...], char: int, next_role: Role) -> int:
        # A tag belongs to what it frames, and a token that a tag shares with its neighbour goes with the tag: the token
        # in which an action's opening tag begins to the action, the token that completes `</think>` to the thought.
        if next_role is Role.ACTION:
            return self.codec.tokens_covering(ids, char) - 1
        return self.codec.tokens_covering(ids, char - 1)

    def _append(self, segment: Segment) -> None:
        if segment.ids or segment.text:
            self.segments.append(segment)
            self.ids.extend(segment.ids)  # together with the segments: engine and trajectory cannot drift apart
            if self.on_segment is not None:
                self.on_segment(segment)


def _n_alike(first: str, second: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


# -------------------------------------------------------------------------------- segments that a rollout goes on from

_SHOWN_CHARS = 60


def check_beginning(begun: Sequence[Segment], codec: Codec, *, stops_at_observation: bool = True) -> None:
    """Refuse segments that no rollout can go on from.

    `stops_at_observation`, of the environment: the policy may then not have opened an observation itself.
    Raises `TrajectoryError` naming what stands at the end.
    """
    if not begun:
        return
    # an action without its observation would be read as one that is still to be asked, or never was
    for segment, following in pairwise(begun):
        if segment.role is Role.ACTION and following.role not in (Role.ACTION, Role.OBSERVATION):
            raise _refusal(begun, f"has an action that a {following.role} follows, not an observation")
    last = begun[-1]
    if last.role is Role.ANSWER:
        raise _refusal(begun, "ends inside an answer")
    if last.role is Role.ACTION:
        raise _refusal(begun, "ends inside an action that nobody answered")
    if last.role is Role.OBSERVATION:
        _check_observation(begun, codec)
    else:
        _check_thought(begun, codec, stops_at_observation)


def open_turn(begun: Sequence[Segment]) -> tuple[Segment, ...]:
    """The segments of the turn that goes on: those after the last action or observation."""
    is_closed = [segment.role in (Role.ACTION, Role.OBSERVATION) for segment in begun]
    return tuple(begun[len(begun) - is_closed[::-1].index(True) :]) if any(is_closed) else tuple(begun)


def policy_runs(begun: Sequence[Segment]) -> list[str]:
    """The text of each turn, actions left out: where the thought is opened and closed."""
    # a tag inside a query or a document opens and closes nothing
    runs = groupby(begun, key=lambda segment: segment.role in (Role.ACTION, Role.OBSERVATION))
    return ["".join(segment.text for segment in run) for is_closed, run in runs if not is_closed]


def n_answered(begun: Sequence[Segment]) -> int:
    """Number of actions that have an observation, notices included."""
    # runs, not segments: an imagined observation is three of them (opening tag, body, closing tag)
    return sum(is_observation for is_observation, _ in groupby(each.role is Role.OBSERVATION for each in begun))


def asked_before(begun: Sequence[Segment]) -> set[tuple[str, str]]:
    """Tool and parameters of the actions that a tool was asked for; those that the loop refused are left out."""
    # a refused action got a notice and no answer, so asking it again, better spelled, is no repetition
    calls = (segment.call for segment in begun if segment.call)
    refused = (Origin.NOTICE, Outcome.REFUSED)
    return {(call.tool, call.parameters) for call in calls if (call.origin, call.outcome) != refused}


def _check_observation(begun: Sequence[Segment], codec: Codec) -> None:
    # the whole last run: an imagined observation has its closing tag in a segment of its own
    runs = groupby(reversed(begun), key=lambda segment: segment.role)
    text = "".join(reversed([segment.text for segment in next(runs)[1]]))
    is_notice = codec.protocol.invalid_turn and text == codec.protocol.invalid_turn
    if not is_notice and not any(tool.observation.close in text for tool in codec.protocol.spelled_tools):
        raise _refusal(begun, "ends inside an observation")


def _check_thought(begun: Sequence[Segment], codec: Codec, stops_at_observation: bool) -> None:
    text, protocol = final_run(begun), codec.protocol
    if begun[-1].ids and begun[-1].ids[-1] in codec.end_ids:
        raise _refusal(begun, "has come to its end-of-sequence token")
    if protocol.find_action(text) is not None or protocol.find_open_action(text) is not None:
        raise _refusal(begun, "ends inside an action")
    if stops_at_observation and protocol.find_invented_observation(text) is not None:
        raise _refusal(begun, "ends inside an observation that the policy opened itself")
    # Ids and text are trusted as one from here on; segments of another tokenizer would give masks that are silently
    # wrong. One may be longer than the other: a character may be cut, a token may reach beyond its segment's text.
    spelled = codec.decode([token for segment in open_turn(begun) for token in segment.ids]).rstrip("\ufffd")
    written = text.rstrip("\ufffd")
    if not (written.startswith(spelled) or spelled.startswith(written)):
        raise _refusal(begun, f"ends in a text that is not its ids', which say {spelled[-_SHOWN_CHARS:]!r}")


def _refusal(begun: Sequence[Segment], problem: str) -> TrajectoryError:
    text, tokens = begun[-1].text[-_SHOWN_CHARS:], sum(len(segment.ids) for segment in begun)
    return TrajectoryError(
        f"a rollout cannot go on: what was begun ({len(begun)} segments, {tokens} tokens, the last a {begun[-1].role} "
        f"{text!r}) {problem}; cut it inside a thought or after an observation"
    )
