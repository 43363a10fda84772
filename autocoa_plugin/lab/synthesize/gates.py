"""Gates of a chain: each a pure function of an attempt and the settings, which is True when it finds a fault.

    refused, unfinished, format, acted            how the rollout ended
    empty_query, copied_query                     what the chain asked the tool
    tool_failed, imagined, long_observation       what the tool answered
    leaked_answer, unsupported                    where its answer comes from
    repetition, language_mix                      how it wrote (`gates_text.py`)

Thresholds are in `gate.py`. Near-duplicates concern rows, not attempts: `data_set.NearDuplicates`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ...answers import normalize_answer
from ...trajectory import FAILURES, Origin, Role, Source, StopReason
from .attempt import Attempt, Kind
from .gate import GATE_NAMES, Gate, GateSettings
from .gates_text import LANGUAGE_GATES, REPETITION_GATES, stands_in, text_of

# ------------------------------------------------------------------------------------------------ how the rollout ended


def is_refused(attempt: Attempt, _: GateSettings) -> bool:
    """True when the teacher's server would not answer."""
    return attempt.sample.error is not None


def is_unfinished(attempt: Attempt, _: GateSettings) -> bool:
    """True when the policy did not end with an answer of its own: a limit, no answer, a forced answer."""
    trajectory = attempt.sample.trajectory
    return trajectory.stop_reason is not StopReason.ANSWERED or trajectory.forced_answer


def breaks_format(attempt: Attempt, _: GateSettings) -> bool:
    """True when a format rule of `rewards.format_errors` is broken."""
    return bool(attempt.sample.reward.format_errors)


def acted_without_tool(attempt: Attempt, _: GateSettings) -> bool:
    """True when a chain of thought has an action or an observation."""
    roles = {segment.role for segment in attempt.sample.trajectory.segments}
    return attempt.kind is Kind.COT and bool(roles & {Role.ACTION, Role.OBSERVATION})


COMPLETION_GATES = (
    Gate("refused", "the teacher's server refused the request or gave no usable answer", is_refused, True),
    Gate(
        "unfinished",
        "the chain did not end with an answer of its own: a limit ended it, there was no answer, or it was forced",
        is_unfinished,
        True,
    ),
    Gate("format", "a tag is missing, doubled or misplaced, or an action is malformed or empty", breaks_format, True),
    Gate("acted", "a chain of thought, written without a tool, has an action", acted_without_tool, True),
)


# -------------------------------------------------------------------------------------------------- queries to the tool


def has_empty_query(attempt: Attempt, _: GateSettings) -> bool:
    """True when a query has no word: nothing, white space, punctuation, an article."""
    trajectory = attempt.sample.trajectory
    return trajectory.counts.empty_actions > 0 or "" in [normalize_answer(query) for query in _queries(attempt)]


def has_copied_query(attempt: Attempt, _: GateSettings) -> bool:
    """True when a query is the question, word for word after normalisation.

    Equal only: a query that leaves out or adds a word has been thought about, and one that repeats a short question's
    words ("capital of France") is the right one.
    """
    question = normalize_answer(attempt.sample.question.question)
    return question in [normalize_answer(query) for query in _queries(attempt)]


def _queries(attempt: Attempt) -> list[str]:
    # malformed and invented calls have no parameters at all; they are format errors
    return [call.parameters for call in attempt.sample.trajectory.calls() if call.parameters]


QUERY_GATES = (
    Gate("empty_query", "a query without a word in it", has_empty_query, True),
    Gate("copied_query", "a query equal to the question (normalised: case, punctuation, articles)", has_copied_query),
)


# --------------------------------------------------------------------------------------------- observations of the tool


def tool_failed(attempt: Attempt, _: GateSettings) -> bool:
    """True when a call failed, came too late, or had no recorded answer.

    The counts know of calls whose observation was cut off the end, the calls of those in a prefix taken over.
    """
    trajectory = attempt.sample.trajectory
    counts = trajectory.counts
    failures = counts.tool_errors + counts.tool_timeouts + counts.replay_misses
    return failures > 0 or any(call.outcome in FAILURES for call in trajectory.calls())


def is_imagined(attempt: Attempt, _: GateSettings) -> bool:
    """True when the policy or another language model wrote an observation."""
    return any(
        segment.source is Source.POLICY or (segment.call is not None and segment.call.origin == Origin.WORLD_MODEL)
        for segment in attempt.sample.trajectory.segments
        if segment.role is Role.OBSERVATION
    )


def is_observation_long(attempt: Attempt, _: GateSettings) -> bool:
    """True when an observation was cut at `limits.max_observation_tokens`, or for lack of room.

    A changed chain counts what was added to its prefix only; a chain that was cut here is never changed.
    """
    return attempt.sample.trajectory.counts.truncated_observations > 0


OBSERVATION_GATES = (
    Gate("tool_failed", "a tool call failed, timed out or had no recorded answer", tool_failed, True),
    Gate("imagined", "a language model, not a tool, wrote an observation", is_imagined, True),
    Gate(
        "long_observation",
        "an observation was longer than the limit (limits.max_observation_tokens) and had to be cut",
        is_observation_long,
        True,
    ),
)


# --------------------------------------------------------------------------------------------- the source of the answer


_CLOSED = ("yes", "no", "noanswer")  # answers.f1 treats these as closed answers, too
_GROUNDS = (Role.THOUGHT, Role.OBSERVATION)
_OFFERS = re.compile(
    r"\b(?:or|between|among|out of|which of|of the two)\b|^(?:of|regarding|in regards? to)\b.* and ", re.IGNORECASE
)


def is_answer_leaked(attempt: Attempt, settings: GateSettings) -> bool:
    """True when a gold answer stands verbatim in the question, which does not offer it as one of several.

    A comparison has to name its answer ("Which came first, A or B?"), so questions that offer what to choose from are
    not looked at. Of 6,144 HotpotQA training questions 65 leak (1.1 %) and 440 offer; nine of the 65 are comparisons
    without a word that says so ("Pizza Hut and Little Caesars were ... Which was the first?").
    Very short answers and "yes" and "no" are not looked for: they stand in too many sentences.
    """
    question, least = attempt.sample.question, settings.leaked_answer_characters
    if _OFFERS.search(question.question):
        return False
    golds = [each for each in question.golds if len(normalize_answer(each)) >= least and not _is_closed(each)]
    return stands_in(golds, question.question)


def is_answer_unsupported(attempt: Attempt, _: GateSettings) -> bool:
    """True when no observation and no thought has the answer, as it was given or as any gold answer spells it.

    Support is a lower bound: the answer's words stand somewhere, which does not say that they follow. Of 2,785 right
    trajectories on tinyworld 14 have none: 13 were forced, one leaves its last step out. "12" is not found in "twelve".
    "yes" and "no" cannot be looked for and pass.
    """
    sample = attempt.sample
    answers = (sample.reward.answer or "", *sample.question.golds)
    if any(map(_is_closed, answers)):
        return False
    return not stands_in(answers, text_of(sample.trajectory, lambda segment: segment.role in _GROUNDS))


def _is_closed(answer: str) -> bool:
    return normalize_answer(answer) in _CLOSED


ANSWER_GATES = (
    Gate(
        "leaked_answer",
        "a gold answer stands in the question word for word, and the question does not offer it as one of several",
        is_answer_leaked,
        concerns_wrong=True,
        of_question=True,
    ),
    Gate(
        "unsupported",
        "the answer is right, but no thought and no observation has its words (yes and no are not checked)",
        is_answer_unsupported,
    ),
)


_FAMILIES = (COMPLETION_GATES, OBSERVATION_GATES, QUERY_GATES, ANSWER_GATES, REPETITION_GATES, LANGUAGE_GATES)
_GATES = {gate.name: gate for family in _FAMILIES for gate in family}

GATES: Mapping[str, Gate] = MappingProxyType({name: _GATES[name] for name in GATE_NAMES})
"""Every gate by name, in the order in which they are asked."""


def failed_gates(attempt: Attempt, settings: GateSettings, *, is_right: bool) -> tuple[str, ...]:
    """Names of all gates that find something, in their order; of a wrong attempt, of those that concern wrong chains.

    Gates in `settings.off` are not asked.
    """
    asked = (gate for gate in GATES.values() if gate.name not in settings.off and (is_right or gate.concerns_wrong))
    return tuple(gate.name for gate in asked if gate.finds(attempt, settings))
