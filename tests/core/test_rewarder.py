"""Metrics and parts that others wrote: found, asked, checked, and counted in every row alike."""

from __future__ import annotations

import asyncio
import math
from fractions import Fraction

import numpy as np
import pytest
from judge_server import JudgeServer

from autocoa_plugin import AUTOCOA, Codec, Limits, RewardConfig, rollout
from autocoa_plugin.config import from_mapping
from autocoa_plugin.errors import ConfigError, RewardError
from autocoa_plugin.lookup import Plug
from autocoa_plugin.rewarder import Part, Rewarder
from autocoa_plugin.rewards import PARTS, PartConfig
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment

CODEC = Codec(CharTokenizer(), AUTOCOA)
OWN = '''
import asyncio


def near(answer, golds):
    """1 for the right first letter."""
    return answer is not None and any(answer[:1] == gold[:1] for gold in golds)


def brevity(judged, per=100):
    """1 for an empty response, 0 for one of `per` tokens."""
    return 1 - len(judged.trajectory.response_ids) / per


brevity.needs_golds = False


def seen(judged):
    """1 where everything is there."""
    metadata = dict(judged.metadata)
    return (judged.answer, judged.golds, judged.question, metadata) == ("Paris", ("Paris",), "Where?", {"uid": "u"})


async def slowly(judged):
    await asyncio.sleep(0)
    return 0.5


class Tone:
    needs_golds = False

    def __init__(self, word, worth=1.0):
        self.word, self.worth = word, worth

    def __call__(self, judged):
        return self.worth * (self.word in judged.trajectory.segments[0].text)


finished = Tone("so")


class Odd:
    needs_golds = "no"

    def __call__(self, judged):
        return 0.0


def raises(judged):
    raise KeyError("rubric")


def never(judged):
    return asyncio.get_running_loop().create_future()


def hidden(judged):
    return slowly(judged) if judged.answer else slowly
'''


@pytest.fixture
def own(tmp_path):
    """The path of a file with metrics and parts."""
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def trajectory(text="so</think> \\boxed{Paris}<eos>"):
    engine = ScriptedEngine([text], encode=CODEC.encode, decode=CODEC.decode)
    limits = Limits(max_response_tokens=400, answer_reserve_tokens=100)
    return asyncio.run(
        rollout(
            CODEC.encode("q<think>"), engine=engine, environment=ScriptedEnvironment({}), codec=CODEC, limits=limits
        )
    )


RIGHT, WRONG, NONE = trajectory(), trajectory("so</think> \\boxed{Pisa}<eos>"), trajectory("so</think> hm<eos>")


def rewarder(**reward):
    return Rewarder(from_mapping(RewardConfig, reward, where="autocoa.reward"))


def scored(subject=RIGHT, golds=("Paris",), *, question="Where?", **reward):
    judged = rewarder(**reward).score(subject, golds, AUTOCOA, question=question, metadata={"uid": "u"})
    return asyncio.run(judged)


# --- a metric and parts of one's own


def test_a_metric_of_ones_own_is_the_reward_and_exact_match_stays_beside_it(own):
    found = scored(WRONG, metric=f"{own}:near")
    assert (found.total, found.parts["metric"], found.parts["exact_match"]) == (1.0, 1.0, 0.0)
    assert [*found.parts] == [*PARTS, "metric"]


def test_parts_are_added_with_their_weights(own):
    # 2 x 1 for the metric, 0.3 x 1 for f1, -0.5 x (1 - 26/52) for the penalty, 4 x 0.5 for the slow one
    n = len(RIGHT.response_ids)
    parts = {
        "f1": 0.3,
        "brevity": {"use": f"{own}:brevity", "weight": -0.5, "arguments": {"per": 2 * n}},
        "slow": {"use": f"{own}:slowly", "weight": 4},
    }
    found = scored(answer_weight=2, parts=parts)
    assert found.total == pytest.approx(2 + 0.3 - 0.5 * 0.5 + 4 * 0.5)
    assert (found.parts["brevity"], found.parts["slow"]) == (0.5, 0.5)


def test_a_part_of_weight_zero_is_measured_only(own):
    found = scored(parts={"slow": {"use": f"{own}:slowly", "weight": 0}})
    assert (found.total, found.parts["slow"]) == (1.0, 0.5)


def test_a_part_sees_the_answer_the_golds_the_question_and_the_row(own):
    assert scored(parts={"seen": {"use": f"{own}:seen", "weight": 1}}).parts["seen"] == 1.0


def test_a_class_is_built_with_its_arguments_and_an_object_stands_for_itself(own):
    built = {"use": f"{own}:Tone", "weight": 1, "arguments": {"word": "so", "worth": 3}}
    found = scored(parts={"built": built, "finished": {"use": f"{own}:finished", "weight": 1}})
    assert (found.parts["built"], found.parts["finished"]) == (3.0, 1.0)


@pytest.mark.parametrize(
    ("use", "arguments", "message"),
    [
        ("brevitee", {}, r"own.py has no 'brevitee' \(did you mean 'brevity'\?\)"),
        ("brevity", {"par": 9}, r"takes no argument 'par' \(did you mean 'per'\?\)"),
        ("Tone", {}, "missing a required argument: 'word'"),
        ("OWN", {}, "has no 'OWN'"),
        ("Odd", {}, r":Odd\.needs_golds must be True or False, got 'no'"),
    ],
)
def test_a_part_that_cannot_be_built_is_refused_when_the_reward_is_made(own, use, arguments, message):
    with pytest.raises(ConfigError, match=r"^autocoa\.reward\.parts\.mine.*" + message):
        rewarder(parts={"mine": {"use": f"{own}:{use}", "weight": 1, "arguments": arguments}})


def test_a_metric_that_cannot_be_found_is_refused_when_the_reward_is_made(own):
    with pytest.raises(ConfigError, match=r"^autocoa\.reward\.metric: .*own.py has no 'naer' \(did you mean 'near'"):
        rewarder(metric=f"{own}:naer")


# --- what a part may give


def given(value):
    """The reward where the one part gives a value."""
    gives = Part("custom_reward_function", "here:gives", lambda judged: value)
    return asyncio.run(Rewarder(custom=gives).score(RIGHT, ["Paris"], AUTOCOA))


@pytest.mark.parametrize(
    "value", [0.5, Fraction(1, 2), np.float32(0.5), np.float64(0.5), np.array(0.5), np.array([0.5])], ids=repr
)
def test_any_finite_number_is_one(value):
    assert given(value).total == 0.5


@pytest.mark.parametrize(("value", "number"), [(True, 1.0), (np.bool_(False), 0.0), (3, 3.0), (np.int64(-2), -2.0)])
def test_true_is_one_and_a_whole_number_itself(value, number):
    assert given(value).total == number


class Unspeakable:
    def __repr__(self):
        raise OSError("no")


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (math.nan, "float nan"),
        (math.inf, "float inf"),
        (np.float32("nan"), r"float32 .*nan.*"),
        (10**400, "int 1000"),
        ("0.5", "str '0.5'"),
        (None, "NoneType None"),
        ([0.5], r"list \[0.5\]"),
        ({"score": 1}, "dict {'score': 1}"),
        (np.array([1.0, 2.0]), r"ndarray array\(\[1., 2.\]\)"),
        (1j, "complex 1j"),
        (Unspeakable(), "Unspeakable"),
        (lambda: 1.0, "function <function"),
    ],
    ids=[
        "nan",
        "inf",
        "numpy nan",
        "huge",
        "text",
        "none",
        "list",
        "mapping",
        "array",
        "complex",
        "no repr",
        "function",
    ],
)
def test_what_is_no_finite_number_ends_the_run_in_one_sentence(value, seen):
    with pytest.raises(RewardError, match=r"^part 'custom_reward_function' of the reward \(here:gives\) must") as found:
        given(value)
    found.match(f"must give a finite number, got {seen}")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("raises", r"^part 'mine' of the reward \(.*own.py:raises\) raised KeyError: 'rubric'$"),
        ("never", r"^part 'mine' of the reward \(.*own.py:never\) did not answer within its timeout_s=0.05$"),
    ],
)
def test_a_part_that_raises_or_never_answers_ends_the_run_in_one_sentence(own, use, message):
    with pytest.raises(RewardError, match=message):
        scored(parts={"mine": {"use": f"{own}:{use}", "weight": 1, "timeout_s": 0.05}})


def test_a_plain_function_may_hand_back_an_awaitable_but_not_a_function(own):
    parts = {"mine": {"use": f"{own}:hidden", "weight": 1}}
    assert scored(parts=parts).parts["mine"] == 0.5
    with pytest.raises(RewardError, match="got function <function slowly"):
        scored(NONE, parts=parts)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("slowly", r"^reward.metric \(.*:slowly\) raised TypeError: .*slowly\(\) takes 1 positional argument"),
        ("later", r"^reward.metric \(.*:later\) must give a finite number, got coroutine"),
    ],
)
def test_a_metric_is_a_plain_function_of_answer_and_golds(own, metric, message):
    own.write_text(f"{OWN}\n\nasync def later(answer, golds):\n    return 1.0\n")
    with pytest.raises(RewardError, match=message):
        scored(metric=f"{own}:{metric}")


def test_a_time_out_inside_a_part_is_its_own_error(own):
    async def late(judged):
        raise TimeoutError("the database")

    with pytest.raises(RewardError, match="raised TimeoutError: the database"):
        asyncio.run(Rewarder(custom=Part("c", "here:late", late)).score(RIGHT, ["Paris"], AUTOCOA))


# --- the same parts in every row, with and without gold answers


def test_every_row_has_the_same_parts(own):
    parts = {
        "tone": {"use": f"{own}:Tone", "weight": 1, "arguments": {"word": "so"}},
        "slow": {"use": f"{own}:slowly", "weight": 1},
        "judge": {"use": "llm_judge", "weight": 1, "arguments": {"url": "http://127.0.0.1:9/v1"}},
    }
    made = rewarder(metric=f"{own}:near", parts=parts)
    rows = [asyncio.run(made.score(NONE, golds, AUTOCOA, question="q")) for golds in (("Paris",), ())]
    expected = [*PARTS, "metric", "tone", "slow", "judge", "judge_fallback"]
    assert [[*row.parts] for row in (*rows, made.nothing())] == [expected] * 3


def test_without_a_gold_answer_a_row_scores_nothing_and_is_counted():
    found = scored(NONE, golds=())
    assert (found.total, found.missing_gold, found.parts["format"]) == (0.0, True, 0.0)
    assert not scored().missing_gold


def test_without_a_gold_answer_what_needs_none_is_still_asked(own):
    parts = {
        "tone": {"use": f"{own}:Tone", "weight": 0.25, "arguments": {"word": "so"}},
        "slow": {"use": f"{own}:slowly", "weight": 1},
    }
    found = scored(golds=(), parts=parts)
    assert (found.parts["tone"], found.parts["slow"], found.total, found.missing_gold) == (1.0, 0.0, 0.25, True)


def test_where_nothing_rewarded_needs_a_gold_answer_none_is_missing(own):
    parts = {
        "tone": {"use": f"{own}:Tone", "weight": 0.25, "arguments": {"word": "so"}},
        "brevity": {"use": f"{own}:brevity", "weight": 1, "arguments": {"per": len(RIGHT.response_ids)}},
        "slow": {"use": f"{own}:slowly", "weight": 0},  # measured only
    }
    found = scored(golds=(), answer_weight=0, parts=parts)
    assert (found.total, found.missing_gold, found.parts["brevity"]) == (0.25, False, 0.0)


@pytest.mark.parametrize(
    ("reward", "needs"),
    [
        ({}, True),
        ({"answer_weight": 0}, True),  # nothing else is rewarded: as it was
        ({"answer_weight": 0, "parts": {"f1": 1}}, True),
        ({"answer_weight": 0, "parts": {"free": ("Tone", 1)}}, False),
        ({"answer_weight": 0, "parts": {"free": ("Tone", 1), "f1": 0}}, False),
        ({"answer_weight": 0, "parts": {"free": ("Tone", 1), "bound": ("seen", 1)}}, True),
        ({"answer_weight": 1, "parts": {"free": ("Tone", 1)}}, True),
    ],
)
def test_gold_answers_are_needed_where_something_rewarded_needs_them(own, reward, needs):
    parts = {
        name: part
        if not isinstance(part, tuple)
        else {
            "use": f"{own}:{part[0]}",
            "weight": part[1],
            "arguments": {"word": "so"} if part[0] == "Tone" else {},
        }
        for name, part in reward.get("parts", {}).items()
    }
    assert rewarder(**{**reward, "parts": parts}).needs_golds is needs


def test_a_part_may_be_bound_to_arguments_and_still_need_no_gold_answer(own):
    parts = {"brevity": PartConfig(f"{own}:brevity", 1.0, {"per": 9})}
    assert not Rewarder(RewardConfig(answer_weight=0, parts=parts)).needs_golds


def test_a_metric_may_be_built_with_arguments(tmp_path):
    (tmp_path / "m.py").write_text("def prefix(answer, golds, n):\n    return answer[:n] == golds[0][:n]\n")
    config = RewardConfig(metric=Plug(f"{tmp_path}/m.py:prefix", {"n": 2}))
    assert asyncio.run(Rewarder(config).score(WRONG, ["Piraeus"], AUTOCOA)).total == 1.0


# --- an LLM judge as a part


def judged(server, subjects=(RIGHT,), *, question="Where?", loops=1, metric="exact_match", **arguments):
    """Rewards of trajectories that are judged at once; with two `loops` the first was judged on another one before."""

    async def play():
        async with server.serving() as url:
            made = rewarder(
                answer_weight=0,
                metric=metric,
                parts={
                    "judge": {
                        "use": "llm_judge",
                        "weight": 1,
                        "arguments": {"url": url, "max_attempts": 1, **arguments},
                    }
                },
            )
            if loops == 2:
                await asyncio.to_thread(asyncio.run, made.score(subjects[0], ("Paris",), AUTOCOA, question=question))
            each = [made.score(subject, ("Paris",), AUTOCOA, question=question) for subject in subjects]
            return await asyncio.gather(*each)

    return asyncio.run(play())


def test_a_judges_verdict_is_a_part():
    assert [found.total for found in judged(JudgeServer("yes"))] == [1.0]
    (found,) = judged(JudgeServer("no"))
    assert (found.total, found.parts["judge"], found.parts["judge_fallback"]) == (0.0, 0.0, 0.0)


def test_the_same_answer_is_asked_about_once_also_while_it_is_under_way():
    server = JudgeServer("yes", seconds=0.05)
    found = judged(server, [RIGHT, RIGHT, WRONG, RIGHT])
    assert [each.total for each in found] == [1.0] * 4 and len(server.bodies) == 2


def test_what_was_judged_on_one_event_loop_is_known_on_the_next():
    server = JudgeServer("yes")
    assert [each.total for each in judged(server, loops=2)] == [1.0] and len(server.bodies) == 1


def test_one_greedy_vote_is_asked_unless_more_are_wanted():
    server = JudgeServer("yes")
    judged(server)
    assert [body["temperature"] for body in server.bodies] == [0.0]
    judged(server := JudgeServer("yes", "no", "yes"), votes=3)
    assert len(server.bodies) == 3


def test_no_answer_is_wrong_and_nobody_is_asked():
    server = JudgeServer("yes")
    assert [each.total for each in judged(server, [NONE])] == [-0.1] and server.bodies == []


def test_no_more_verdicts_than_allowed_are_under_way_at_once():
    server = JudgeServer("yes", seconds=0.02)
    subjects = [trajectory(f"so</think> \\boxed{{{number}}}<eos>") for number in range(6)]
    judged(server, subjects, max_concurrency=2)
    assert (len(server.bodies), server.most_open) == (6, 2)


NO_VERDICT = {
    "down": (500, {}, "HTTP 500"),
    "refused": (400, {}, "refused the request"),
    "no chat completion": ({"choices": []}, {}, "gave no chat completion"),
    "unreadable": ("banana", {}, "gave no majority of readable votes"),
    "late": ("yes", {"timeout_s": 0.05}, "gave no verdict in 0.05 s|did not answer in time"),
    "spent": ("yes", {"max_calls": 2, "votes": 3}, r"the 2 calls of the judge at .* are spent \(max_calls\)"),
}


@pytest.mark.parametrize("case", NO_VERDICT)
@pytest.mark.parametrize("on_failure", ["error", "metric", "zero"])
def test_without_a_verdict_the_run_ends_or_the_fallback_is_counted(case, on_failure):
    reply, arguments, message = NO_VERDICT[case]
    server = JudgeServer(reply, seconds=1.0 if case == "late" else 0.0)
    if on_failure == "error":
        with pytest.raises(RewardError, match=rf"^part 'judge' .*\(llm_judge\) has no verdict: .*({message})"):
            judged(server, **arguments)
        return
    (found,) = judged(server, on_failure=on_failure, metric="f1", **arguments)
    assert (found.parts["judge"], found.parts["judge_fallback"]) == (1.0 if on_failure == "metric" else 0.0, 1.0)


def test_the_default_is_to_end_the_run():
    with pytest.raises(RewardError, match="has no verdict"):
        judged(JudgeServer(500))


def test_a_failure_is_not_remembered_and_a_spent_budget_is():
    server = JudgeServer(500, "yes")

    async def play():
        async with server.serving() as url:
            arguments = {"url": url, "model": "judge-7b", "max_attempts": 1, "max_calls": 2, "on_failure": "zero"}
            made = rewarder(answer_weight=0, parts={"judge": {"use": "llm_judge", "weight": 1, "arguments": arguments}})
            subjects = (RIGHT, RIGHT, WRONG, RIGHT)
            return [await made.score(each, ("Paris",), AUTOCOA, question="q") for each in subjects]

    # the first fails, the second is asked again, the third is beyond the budget, the fourth is known
    assert [each.parts["judge_fallback"] for each in asyncio.run(play())] == [1.0, 0.0, 1.0, 0.0]


def test_a_judge_needs_a_question():
    with pytest.raises(RewardError, match="is asked about a question, and the row has none: it needs extra_info"):
        judged(JudgeServer("yes"), question=None)


def test_a_rollout_that_is_cancelled_takes_the_verdict_from_nobody():
    server = JudgeServer("yes", seconds=0.1)

    async def play():
        async with server.serving() as url:
            arguments = {"url": url}
            made = rewarder(answer_weight=0, parts={"judge": {"use": "llm_judge", "weight": 1, "arguments": arguments}})
            first, second = (
                asyncio.create_task(made.score(RIGHT, ("Paris",), AUTOCOA, question="q")) for _ in range(2)
            )
            await asyncio.sleep(0.02)
            first.cancel()
            return (await second).total

    assert asyncio.run(play()) == 1.0 and len(server.bodies) == 1
