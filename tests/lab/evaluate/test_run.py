"""Asking questions: once each, so many at a time, in order; seeds; what stops it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_samples import made_summary
from playing import CODEC, ScriptedPolicy, knows, player, question

from autocoa_plugin.engines.base import Sampling
from autocoa_plugin.environments.base import Context, Observation
from autocoa_plugin.errors import ConfigError, EngineAnswerError, EngineError
from autocoa_plugin.lab.asking.player import Sample, ask_all, sample_seed
from autocoa_plugin.protocol import Action
from autocoa_plugin.runs.workers import Refusals
from autocoa_plugin.testing import ScriptedEnvironment
from autocoa_plugin.trajectory import Origin, StopReason


def ask(engine, questions, *, samples=1, concurrency=4, **changed) -> list[Sample]:
    kept: list[Sample] = []
    asked = [(each, sample) for each in questions for sample in range(samples)]
    assert asyncio.run(ask_all(asked, player(engine, **changed), kept.append, concurrency=concurrency))
    return kept


def test_every_question_is_rolled_out_judged_and_kept():
    kept = ask(ScriptedPolicy(CODEC, knows), [question(7), question(8, golds=("nine",))], concurrency=1)
    assert [(each.key, each.metrics["exact_match"]) for each in kept] == [(("q7", 0), 1.0), (("q8", 0), 0.0)]
    assert [each.reward.answer for each in kept] == ["7", "8"]
    assert kept[0].trajectory.counts.real_calls == 1 and kept[0].seconds > 0


def test_one_at_a_time_asks_in_the_given_order():
    engine = ScriptedPolicy(CODEC, knows)
    ask(engine, [question(number) for number in (3, 1, 2)], samples=2, concurrency=1)
    assert [knows(text)[1][-7:-6] for text in engine.prompts] == ["3", "3", "1", "1", "2", "2"]


@settings(max_examples=30)
@given(questions=st.integers(0, 12), samples=st.integers(1, 3), concurrency=st.integers(1, 40))
def test_each_sample_is_asked_once_and_never_more_than_allowed_at_a_time(questions, samples, concurrency):
    engine = ScriptedPolicy(CODEC, knows, seconds=0.0)
    kept = ask(engine, [question(n) for n in range(questions)], samples=samples, concurrency=concurrency)
    wanted = [(f"q{n}", sample) for n in range(questions) for sample in range(samples)]
    assert sorted(each.key for each in kept) == sorted(wanted)
    assert len(engine.prompts) == len(wanted) and engine.most_open <= concurrency


def test_the_engine_is_kept_full():
    engine = ScriptedPolicy(CODEC, knows, seconds=0.01)
    ask(engine, [question(number) for number in range(20)], concurrency=8)
    assert engine.most_open == 8


class Curious:
    """An environment that keeps what it was told."""

    stops_at_observation = True

    def __init__(self) -> None:
        self.seen: list[dict] = []

    async def answer(self, action: Action, context: Context) -> Observation:
        self.seen.append(dict(context.metadata))
        return Observation("found", Origin.REAL)


def test_the_environment_is_told_the_id_and_the_split_and_no_gold_answer():
    environment = Curious()
    ask(ScriptedPolicy(CODEC, knows), [question(7, meta={"secret": "7"})], environment=environment)
    assert environment.seen == [{"split": "eval", "uid": "q7", "global_step": 0}]


# ------------------------------------------------------------------------------------------------------------- seeds


def test_greedy_sampling_has_no_seed():
    engine = ScriptedPolicy(CODEC, knows)
    (kept,) = ask(engine, [question(1)])
    assert kept.seed is None and engine.samplings == [Sampling(0.0), Sampling(0.0)]


def test_each_sample_and_each_of_its_turns_has_a_seed_of_its_own_that_company_does_not_change():
    def seeds(concurrency):
        engine = ScriptedPolicy(CODEC, knows)
        sampling = Sampling(1.0, {"top_p": 0.9})
        kept = ask(engine, [question(1), question(2)], samples=2, concurrency=concurrency, sampling=sampling, seed=5)
        assert all(each.options["top_p"] == 0.9 for each in engine.samplings)
        return {each.key: each.seed for each in kept}, sorted(each.options["seed"] for each in engine.samplings)

    of_samples, of_turns = seeds(1)
    assert of_samples["q1", 0] == sample_seed(5, "q1", 0)
    assert len(set(of_samples.values())) == 4 and len(set(of_turns)) == 8  # four samples of two turns
    assert seeds(4) == (of_samples, of_turns)


def test_a_seed_is_the_same_in_every_process():
    # printf '0\nq1\n0' | sha256sum: the first eight digits as a number, halved
    assert sample_seed(0, "q1", 0) == 1150141127
    assert len({sample_seed(seed, uid, n) for seed in (0, 1) for uid in ("q1", "q11") for n in (0, 1)}) == 8


# -------------------------------------------------------------------------------------------------- what stops a run


def test_an_engine_that_dies_ends_the_run_names_the_question_and_loses_nothing():
    engine, kept = ScriptedPolicy(CODEC, knows, dies_at=6), []
    asked = [(question(number), 0) for number in range(9)]
    with pytest.raises(EngineError, match=r"^question 'q2': the server is gone$"):
        asyncio.run(ask_all(asked, player(engine), kept.append, concurrency=1))
    assert [each.key[0] for each in kept] == ["q0", "q1"]  # two calls each, and the sixth is the second of q2


def test_a_wish_to_stop_keeps_what_is_finished_and_asks_nothing_more():
    engine, kept = ScriptedPolicy(CODEC, knows, seconds=0.001), []

    async def run() -> bool:
        stop = asyncio.Event()

        def keep(sample: Sample) -> None:
            kept.append(sample)
            if len(kept) == 3:
                stop.set()

        asked = [(question(number), 0) for number in range(50)]
        return await ask_all(asked, player(engine), keep, concurrency=2, stop=stop)

    assert asyncio.run(run()) is False
    assert 3 <= len(kept) <= 4 and len(engine.prompts) <= 6


def test_a_wrong_configuration_is_no_engine_that_died():
    environment = ScriptedEnvironment(lambda action: ConfigError("routing chose nobody"))
    with pytest.raises(ConfigError, match=r"^routing chose nobody$"):
        ask(ScriptedPolicy(CODEC, knows), [question(1), question(2)], environment=environment)


def test_a_tool_that_fails_is_an_observation_and_no_end():
    environment = ScriptedEnvironment(lambda action: RuntimeError("no index"))
    (kept,) = ask(ScriptedPolicy(CODEC, knows), [question(1)], environment=environment)
    assert kept.trajectory.counts.tool_errors == 1 and kept.metrics["exact_match"] == 1.0


def test_a_question_that_the_engine_refuses_is_a_counted_sample_and_costs_no_other():
    engine = ScriptedPolicy(CODEC, knows, refuses=("number is 2?",))
    kept = {each.question.id: each for each in ask(engine, [question(n) for n in (1, 2, 3)])}
    assert [kept[f"q{n}"].metrics["exact_match"] for n in (1, 2, 3)] == [1.0, 0.0, 1.0]
    refused = kept["q2"]
    assert (refused.trajectory.stop_reason, refused.trajectory.segments) == (StopReason.ABORTED, ())
    assert refused.error == "EngineRefusedError: HTTP 400: I do not like it"
    assert Sample.from_row(refused.to_row()) == refused
    summary = made_summary([kept[f"q{n}"] for n in (1, 2, 3)])
    assert summary.groups["all"].failures == {refused.error: 1}
    assert summary.groups["all"].endings["truncated"].samples == 1


def test_an_engine_that_refuses_everything_ends_the_run_and_nothing_is_kept():
    kept: list[Sample] = []
    refusals, engine = Refusals(kept.append), ScriptedPolicy(CODEC, knows, refuses=("number",))
    asked = [(question(number), 0) for number in range(20)]
    with pytest.raises(EngineError, match=r"refused all 8 rollouts so far: .*HTTP 400"):
        asyncio.run(ask_all(asked, player(engine), refusals.take, concurrency=1))
    assert not kept


def test_refusals_are_kept_once_another_question_is_answered():
    kept: list[Sample] = []
    refusals, engine = Refusals(kept.append), ScriptedPolicy(CODEC, knows, refuses=("is 0?", "is 1?", "is 3?"))
    asked = [(question(number), 0) for number in range(4)]
    asyncio.run(ask_all(asked, player(engine), refusals.take, concurrency=1))
    refusals.finish()
    assert [(each.question.id, each.error is None) for each in kept] == [
        *(("q0", False), ("q1", False), ("q2", True), ("q3", False)),
    ]


def test_a_few_questions_that_are_all_refused_are_an_error_at_the_end():
    kept: list[Sample] = []
    refusals = Refusals(kept.append)
    asyncio.run(
        ask_all(
            [(question(1), 0)], player(ScriptedPolicy(CODEC, knows, refuses=("is 1?",))), refusals.take, concurrency=1
        )
    )
    with pytest.raises(EngineError, match="refused all 1 rollouts"):
        refusals.finish()
    assert not kept


class Rubbish(ScriptedPolicy):
    """Its answers to the first `n_rubbish` calls make no sense."""

    def __init__(self, n_rubbish: int) -> None:
        super().__init__(CODEC, knows)
        self._left = n_rubbish

    async def generate(self, *args, **options):
        if self._left:
            self._left -= 1
            raise EngineAnswerError("http://a/v1 answered with something else than JSON: <html>")
        return await super().generate(*args, **options)


def test_an_answer_that_makes_no_sense_is_a_counted_sample_and_costs_no_other():
    first, second = ask(Rubbish(1), [question(1), question(2)], concurrency=1)
    assert first.error == "EngineAnswerError: http://a/v1 answered with something else than JSON: <html>"
    assert (first.trajectory.stop_reason, first.trajectory.segments) == (StopReason.ABORTED, ())
    assert second.error is None and second.metrics["exact_match"] == 1.0


def test_an_engine_that_answers_nothing_but_rubbish_ends_the_run_with_the_first_of_it():
    kept: list[Sample] = []
    refusals, asked = Refusals(kept.append), [(question(number), 0) for number in range(20)]
    with pytest.raises(EngineError, match=r"^the engine refused all 8 .*: EngineAnswerError: .*than JSON: <html>$"):
        asyncio.run(ask_all(asked, player(Rubbish(99)), refusals.take, concurrency=1))
    assert not kept
