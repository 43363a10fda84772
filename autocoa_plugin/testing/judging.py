"""Do my reward and my metric keep the rules? `check_reward` and `check_metric` name the first one that is broken.

    def test_brevity_keeps_the_rules_of_a_reward():
        check_reward(brevity)

What is judged are rollouts of a script: a right answer, a wrong one, none, an empty trajectory, and two that differ in
nothing but what a tool has said.
"""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import replace
from numbers import Real
from typing import Any

from ..errors import ConfigError
from ..lookup import described
from ..protocol import AUTOCOA, Protocol
from ..rewarder import Rewarder, needs_golds
from ..rewards import Judged, Metric, RewardConfig, RewardPart
from ..tokenization import Codec
from ..trajectory import Role, StopReason, Trajectory
from .fakes import readable
from .script import ROOMY, Script
from .trial import name_of, rule, run, shown

QUESTION, GOLD, WRONG = "Where was Rudyard Kipling born?", "Bombay", "Lahore"
_SILENT = "An article without a word about that."
_LIMIT_S = 60.0
_SAMPLES = 8


def check_reward(reward: RewardPart | RewardConfig, *, protocol: Protocol = AUTOCOA, repeatable: bool = True) -> None:
    """Check that a part of the reward, or a whole configuration, keeps the rules of a reward.

    `repeatable` False: the same trajectory may earn another number the next time, as with a judge that samples.
    Raises `AssertionError`: one sentence with the rule that was broken and what was seen.
    """
    __tracebackhide__ = True
    what = "the reward" if isinstance(reward, RewardConfig) else f"reward {name_of(reward)}"
    rule(isinstance(reward, RewardConfig) or callable(reward), f"{what} must be a function of rewards.Judged")
    cases, pairs = _cases(protocol), _pairs(protocol)
    try:
        asked = Rewarder(reward) if isinstance(reward, RewardConfig) else reward
        if not isinstance(asked, Rewarder) and needs_golds(asked, what):
            del cases["no gold answer"]  # where it is not asked
    except ConfigError as error:
        raise AssertionError(str(error)) from error

    async def main() -> None:
        for label, judged in cases.items():
            earned, again = [await _earned(asked, judged, f"{what} of {label}") for _ in range(2)]
            rule(
                earned == again or not repeatable,
                f"{what} of {label} is {earned}, and the same trajectory earns {again} the next time",
            )
        for quoted, (silent, telling) in pairs.items():
            times = range(1 if repeatable else _SAMPLES)
            without = [await _earned(asked, silent, what) for _ in times]
            told = [await _earned(asked, telling, what) for _ in times]
            rule(
                # numbers that change by themselves must at least overlap
                min(told) <= max(without) and min(without) <= max(told),
                f"{what} reads observations: the answer {silent.answer!r} earns {without[0]}, and {told[0]} when a "
                f"tool has said {quoted!r}",
            )

    run(main, what=what, limit_s=_LIMIT_S)


async def _earned(reward: RewardPart | Rewarder, judged: Judged, what: str) -> float:
    before = copy.deepcopy((judged.trajectory.to_dict(), judged.golds, dict(judged.metadata)))
    try:
        if isinstance(reward, Rewarder):
            row = {"question": judged.question, "metadata": judged.metadata}
            earned: Any = (await reward.score(judged.trajectory, judged.golds, judged.protocol, **row)).total
        else:
            earned = reward(judged)
            earned = await earned if inspect.isawaitable(earned) else earned
    except Exception as error:
        raise AssertionError(f"{what} raised {described(error)}, which ends the run") from error
    number = _number(earned, what)
    after = (judged.trajectory.to_dict(), judged.golds, dict(judged.metadata))
    for name, one, two in zip(("trajectory", "gold answers", "metadata"), before, after, strict=True):
        rule(one == two, f"{what} changes the {name} that it judges")
    return number


def _cases(protocol: Protocol) -> dict[str, Judged]:
    right = _judged(protocol, GOLD)
    empty = Trajectory((1, 2, 3), (), StopReason.PROMPT_TOO_LONG, protocol.name)
    return {
        "a right answer": right,
        "a wrong answer": _judged(protocol, WRONG),
        "a long answer": _judged(protocol, "x" * 500),
        "an empty answer": _judged(protocol, ""),
        "no answer": _judged(protocol, None),
        "several gold answers": replace(right, golds=("Mumbai", GOLD)),
        "no gold answer": replace(right, golds=()),
        "an empty trajectory": replace(right, trajectory=empty, answer=None),
    }


def _pairs(protocol: Protocol) -> dict[str, tuple[Judged, Judged]]:
    """Two trajectories that differ in nothing but their observation; the second one has an answer in it."""
    told = {f"{protocol.answer.open}{text}{protocol.answer.close}": text for text in (GOLD, WRONG)}
    answers = {GOLD: WRONG, WRONG: GOLD}
    return {
        quoted: (_judged(protocol, answers[text]), _judged(protocol, answers[text], quoted))
        for quoted, text in told.items()
    }


def _judged(protocol: Protocol, answer: str | None, said: str = _SILENT) -> Judged:
    """A rollout with one action and this answer; its observation says `said`, tags and all, in as many tokens."""
    codec = Codec(readable(protocol), protocol)
    script = Script(codec, "Kipling birthplace", answer or "", observation=_SILENT)
    last = script.giving_up() if answer is None else script.answering()
    limits = replace(ROOMY, max_actions=1)  # a protocol may ask for another turn where one has no answer
    turns = [script.action(protocol.tools[0]), last]
    trajectory, _ = script.play(turns, what=f"protocol {protocol.name!r}", limits=limits)
    if said != _SILENT:  # put in by hand: the loop would break its tags
        segments = [
            _saying(each, said, codec) if each.role is Role.OBSERVATION else each for each in trajectory.segments
        ]
        trajectory = replace(trajectory, segments=tuple(segments))
    read = protocol.extract_answer(trajectory.final_run())
    row = {"uid": "question-1", "split": "train", "global_step": 1, "data_source": "harbour", "ground_truth": [GOLD]}
    return Judged(trajectory, read, (GOLD,), protocol, QUESTION, {**row, "extra_info": {"index": 7}})


def _saying(segment: Any, said: str, codec: Codec) -> Any:
    text = segment.text.replace(_SILENT, said.ljust(len(_SILENT)))
    return replace(segment, text=text, ids=tuple(codec.encode(text)))


# ----------------------------------------------------------------------------------------------------------- metrics

_ANSWERS = (GOLD, WRONG, "", " ", "Bombay, in India", "no", "x" * 10_000, "\u5317\u4eac", "{\\", "\x00")


def check_metric(metric: Metric) -> None:
    """Check that a metric, `(answer or None, gold answers) -> a number`, keeps the rules of one.

    Raises `AssertionError`: one sentence with the rule that was broken and what was seen.
    """
    __tracebackhide__ = True
    what = f"metric {name_of(metric)}"
    rule(callable(metric), f"{what} must be a function of an answer and its gold answers")
    for answer in (None, *_ANSWERS):
        for golds in ((GOLD,), ("Mumbai", GOLD)):
            seen, again = (_measured(metric, answer, golds, what) for _ in range(2))
            rule(seen == again, f"{what} gives {shown(answer)} {seen}, and {again} the next time")
            turned = _measured(metric, answer, golds[::-1], what)
            rule(seen == turned, f"{what} depends on the order of the gold answers {golds}, for {shown(answer)}")
    right, wrong, none = (_measured(metric, answer, (GOLD,), what) for answer in (GOLD, "nothing of the kind", None))
    rule(right > wrong, f"{what} gives the gold answer itself {right}, and a wrong one {wrong}")
    rule(none <= wrong, f"{what} gives {none} where there is no answer (None), and a wrong one {wrong}")
    both = _measured(metric, GOLD, ("Mumbai", GOLD), what)
    rule(both == right, f"{what} gives {GOLD!r} {right} alone and {both} beside a second gold answer: the best counts")


def _measured(metric: Metric, answer: str | None, golds: tuple[str, ...], what: str) -> float:
    try:
        seen: Any = metric(answer, golds)
    except Exception as error:
        raise AssertionError(f"{what} raised {described(error)} for {shown(answer)}, which ends the run") from error
    return _number(seen, f"{what} for {shown(answer)}")


def _number(seen: Any, what: str) -> float:
    value = seen.item() if hasattr(seen, "item") else seen  # of numpy or torch
    number = float(value) if isinstance(value, Real) else math.nan
    rule(math.isfinite(number), f"{what} must be a finite number, got {type(seen).__name__} {shown(seen)}")
    return number
