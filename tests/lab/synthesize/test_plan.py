"""What the teacher is asked next: a pure function of what a question has so far."""

from __future__ import annotations

import gc
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playing import CODEC, question

from autocoa_plugin.answers import METRICS
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.player import Sample
from autocoa_plugin.lab.synthesize.attempt import Attempt, Cut, Kind, Request, Usage
from autocoa_plugin.lab.synthesize.job import Acceptance, Output, Rules
from autocoa_plugin.lab.synthesize.next_attempt import Judge, Plan
from autocoa_plugin.rewards import score
from autocoa_plugin.trajectory import Call, Counts, Origin, Outcome, Role, Segment, Source, StopReason, Trajectory

ASKED = question(7)
COT = "<think>First of all. A fact. Then another one. So it is 7."
COA = (
    "<think>I search. ",
    "<begin_search>seven</end_search>",
    " <search_result> seven </search_result> ",
    "So it is 7.",
)


def segment(role: Role, text: str, logprob: float = -0.5, source: Source = Source.POLICY) -> Segment:
    ids = tuple(CODEC.encode(text))
    call = Call("search", "seven", Outcome.OK, Origin.REAL, 0.0) if role is Role.OBSERVATION else None
    return Segment(role, source, ids, text, (logprob,) * len(ids) if source is Source.POLICY else None, call)


def chain(kind: Kind, answer: str) -> Trajectory:
    """A chain of thought of four steps, or a chain of action with one search."""
    segments = [segment(Role.THOUGHT, COT)]
    if kind in (Kind.COA, Kind.ACT):
        roles = (Role.THOUGHT, Role.ACTION, Role.OBSERVATION, Role.THOUGHT)
        sources = (Source.POLICY, Source.POLICY, Source.ENVIRONMENT, Source.POLICY)
        segments = [segment(role, text, source=source) for role, text, source in zip(roles, COA, sources, strict=True)]
    last = [segment(Role.THOUGHT, "</think>"), segment(Role.ANSWER, f"\\boxed{{{answer}}}<eos>")]
    counts = Counts(actions=len(segments) // 4, real_calls=len(segments) // 4)
    prompt = tuple(CODEC.encode("<user>Which number is 7?<assistant>"))
    return Trajectory(prompt, (*segments, *last), StopReason.ANSWERED, "autocoa", counts)


def attempt(request: Request, answer: str = "7") -> Attempt:
    trajectory = chain(request.kind, answer)
    reward = score(trajectory, ASKED.golds, CODEC.protocol)
    return Attempt(request, Sample(ASKED, request.number, trajectory, reward, 0.1, seed=1), Usage(1, 10, 10, 0.0))


def plan(**rules: object) -> Plan:
    return Plan(Rules(**{"asked": "both", **rules}), Judge(), CODEC)


def asked(plan: Plan, *answers: str) -> list[Request]:
    """What is asked for, one after another, when the teacher answers so; then once more."""
    done: list[Attempt] = []
    requests = []
    for answer in (*answers, None):
        request = plan.next(ASKED, done)
        requests.append(request)
        if answer is not None:
            done.append(attempt(request, answer))
    return requests


def named(requests: list[Request | None]) -> list[tuple[str, int] | None]:
    return [None if each is None else (str(each.kind), each.number) for each in requests]


def test_a_kind_is_asked_for_until_one_chain_is_kept():
    assert named(asked(plan(asked="cot", cuts=0), "8", "9", "7")) == [("cot", 0), ("cot", 1), ("cot", 2), None]


def test_no_kind_is_asked_for_more_often_than_allowed():
    assert named(asked(plan(asked="coa", attempts=2, cuts=0), "8", "9")) == [("coa", 0), ("coa", 1), None]


def test_a_question_that_gives_its_answer_away_is_asked_once():
    leaked = replace(ASKED, question="Which number is called seven?", golds=("seven",))
    request = plan(asked="coa").next(leaked, [])
    sample = replace(attempt(request, "8").sample, question=leaked)
    assert plan(asked="coa").next(leaked, [Attempt(request, sample, Usage())]) is None


def test_chains_of_thought_come_before_chains_of_action():
    assert named(asked(plan(), "7", "7")) == [("cot", 0), ("coa", 0), None]


def test_a_wrong_chain_of_thought_is_changed_once_its_attempts_are_over():
    found = asked(plan(asked="cot", attempts=1, strategies=("step",)), "8", "8", "7")
    assert named(found) == [("cot", 0), ("act", 0), ("act", 1), None]


def test_a_wrong_chain_of_action_is_changed_at_its_only_action_once():
    found = asked(plan(asked="coa", attempts=1), "8", "8")
    assert named(found) == [("coa", 0), ("think", 0), None]
    assert (found[1].cut.parent, found[1].cut.n_shared) == (0, len(CODEC.encode(COA[0])))


def test_a_wrong_chain_is_changed_even_when_a_later_one_was_right():
    found = asked(plan(asked="cot", attempts=2, cuts=1), "8", "7", "7")
    assert named(found) == [("cot", 0), ("cot", 1), ("act", 0), None]
    assert found[2].cut.parent == 0


def test_the_strategies_take_turns_and_no_place_is_tried_twice():
    found = asked(plan(asked="cot", attempts=1, cuts=9), "8", "8", "8", "8")
    cuts = [each.cut for each in found[1:-1]]
    # the chain has four steps, of which it keeps the first: after each full stop but the last
    kept = ("<think>First of all. ", "<think>First of all. A fact. ", COT[:-11])
    assert sorted(each.n_shared for each in cuts) == [len(text) for text in kept]
    assert [each.strategy for each in cuts] in (["step", "uncertainty", "step"], ["uncertainty", "step", "uncertainty"])
    assert found[-1] is None


def test_each_strategy_is_the_first_one_for_half_of_the_wrong_chains():
    first = []
    for number in range(200):
        wrong = attempt(Request(Kind.COT, 0), "8")
        asked_of = replace(ASKED, id=f"q{number}")
        wrong = Attempt(wrong.request, replace(wrong.sample, question=asked_of), wrong.usage)
        first.append(plan(asked="cot", attempts=1).next(asked_of, [wrong]).cut.strategy)
    assert 80 <= first.count("step") <= 120 and set(first) == {"step", "uncertainty"}


def test_without_cuts_there_are_no_changes():
    assert named(asked(plan(asked="cot", attempts=1, cuts=0), "8")) == [("cot", 0), None]


def test_half_of_the_questions_get_a_chain_of_thought_and_the_seed_says_which():
    kinds = [plan(asked="split").kinds(question(number)) for number in range(1000)]
    others = [plan(asked="split", seed=1).kinds(question(number)) for number in range(1000)]
    assert kinds == [plan(asked="split").kinds(question(number)) for number in range(1000)] != others
    assert 450 <= kinds.count((Kind.COT,)) <= 550 and set(kinds) == {(Kind.COT,), (Kind.COA,)}


@pytest.mark.parametrize(("share", "kind"), [(0.0, Kind.COA), (1.0, Kind.COT)])
def test_a_share_of_none_or_all_is_exact(share: float, kind: Kind):
    assert {plan(asked="split", cot_share=share).kinds(question(number)) for number in range(50)} == {(kind,)}


@given(answers=st.lists(st.sampled_from(["7", "8"]), max_size=30), kept=st.integers(0, 30), seed=st.integers(0, 99))
def test_what_is_next_does_not_depend_on_where_the_run_was_interrupted(answers: list[str], kept: int, seed: int):
    whole = plan(seed=seed, attempts=2, changed=2)
    done: list[Attempt] = []
    for answer in answers:
        request = whole.next(ASKED, done)
        if request is None:
            break
        done.append(attempt(request, answer))
    stored = [Attempt.from_row(each.to_row()) for each in done[:kept]]
    again = plan(seed=seed, attempts=2, changed=2)
    expected = done[kept].request if kept < len(done) else whole.next(ASKED, done)
    assert again.next(ASKED, stored) == expected


def test_an_attempt_survives_being_stored():
    changed = attempt(Request(Kind.ACT, 2, Cut(1, 20, "uncertainty")))
    assert Attempt.from_row(changed.to_row()) == changed
    assert changed.key == ("q7", "act", 2)


def test_each_attempt_is_judged_once_and_forgotten_with_it():
    judge, made = Judge(), attempt(Request(Kind.COT, 0), "8")
    verdict = judge.verdict(made)
    assert judge.verdict(made) is verdict and not verdict.is_right
    # equal, but another attempt: nothing is taken over from the one before
    again = replace(made, usage=Usage())
    assert judge.verdict(again) is not verdict and judge.verdict(again) == verdict
    del made, again
    gc.collect()
    right = attempt(Request(Kind.COT, 0), "7")
    assert judge.verdict(right).is_kept


def test_a_parent_is_the_chain_that_a_change_names():
    done = [attempt(Request(Kind.COT, number), "8") for number in range(2)]
    request = Request(Kind.ACT, 0, Cut(1, 7, "step"))
    assert plan().parent(request, done) is done[1]
    assert plan().parent(Request(Kind.COT, 2), done) is None


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"attempts": 0}, "attempts must be >= 1, got 0"),
        ({"cuts": -1}, "cuts must be >= 0, got -1"),
        ({"cot_share": 1.5}, "cot_share must be between 0 and 1, got 1.5"),
        ({"asked": "all"}, "asked must be one of"),
        ({"strategies": ("steps",)}, "did you mean 'step'"),
        ({"strategies": ()}, "strategies must name at least one of step, uncertainty"),
    ],
)
def test_rules_that_cannot_be_are_refused(rules: dict[str, object], said: str):
    with pytest.raises(ConfigError, match=said.replace("(", "\\(")):
        Rules(**rules)


def test_what_is_right_is_read_from_a_metric_and_a_threshold():
    assert Acceptance.parse("f1:0.8") == Acceptance("f1", 0.8)
    assert str(Acceptance.parse("f1:0.8")) == "f1 >= 0.8" and str(Acceptance()) == "exact_match"
    assert set(METRICS) >= {"exact_match", "f1"}
    wrong = ("f1_", "did you mean 'f1'"), ("f1:2", "at most 1, got 2.0"), ("f1:much", "such as f1:0.8, got 'f1:much'")
    for text, said in wrong:
        with pytest.raises(ConfigError, match=said):
            Acceptance.parse(text)


@pytest.mark.parametrize(
    "output", [{"act_chosen_share": 1.0}, {"near_duplicate": 0.0}, {"shard_rows": 0}, {"span": "turn"}]
)
def test_data_sets_that_cannot_be_are_refused(output: dict[str, object]):
    with pytest.raises(ConfigError, match=next(iter(output))):
        Output(**output)


def test_the_cuts_of_a_question_do_not_depend_on_other_questions():
    state = random.getstate()
    found = asked(plan(asked="cot", attempts=1), "8", "8")
    random.seed(99)
    assert asked(plan(asked="cot", attempts=1), "8", "8") == found
    random.setstate(state)
