"""Which environment answers, and that what is thrown away is counted. Ids are code points, so they can be read."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin import AUTOCOA, Codec, Limits, StopReason, rollout
from autocoa_plugin.answering import Annealing, Phase, RoutingSettings, Uncertainty
from autocoa_plugin.engines.base import FinishReason, Generation
from autocoa_plugin.environments.base import Asking, Context, Observation, answer_safely
from autocoa_plugin.environments.router import (
    ByProbability,
    ByStep,
    ByUncertainty,
    Fixed,
    LocalBudget,
    Router,
    WithBudget,
    build_policy,
    real_share,
)
from autocoa_plugin.errors import ConfigError, ReplayError, ToolTimeoutError, ToolUnavailableError
from autocoa_plugin.protocol import Action
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.trajectory import Counts, Origin, Outcome

TOKENIZER = CharTokenizer()
CODEC = Codec(TOKENIZER, AUTOCOA)
QUERY = Action("search", "q", 0, 1)
PAPER = (Phase("world_model", 80), Phase("real", 16))
NO_ENGINE = ScriptedEngine([])
REAL_ANSWER = Observation("real", Origin.REAL)


def context(step=1, *, split="train", logprobs=None, call_index=0, **metadata):
    return Context(
        [1, 2],
        CODEC,
        NO_ENGINE,
        sampling=None,
        max_tokens=100,
        metadata={"global_step": step, "split": split, "uid": "u", **metadata},
        action_logprobs=logprobs,
        call_index=call_index,
        asking=Asking(),
    )


def imagined(text="imagined", logprob=-0.1, **changes):
    """A closed observation of the world model: its characters, then the 16 of the closing tag."""
    ids = tuple(TOKENIZER.encode(text + "</search_result>"))
    generation = Generation(ids, (logprob,) * len(ids), FinishReason.STOP)
    whole = Observation(TOKENIZER.decode(ids), Origin.WORLD_MODEL, generation=generation, is_closed=True)
    return replace(whole, **changes)


def environments(real=REAL_ANSWER, world_model=None):
    return {
        "real": ScriptedEnvironment({"q": real}),
        "world_model": ScriptedEnvironment({"q": imagined() if world_model is None else world_model}),
    }


def asked(both):
    return {name: len(environment.asked) for name, environment in both.items()}


def choose(policy, asking):
    return asyncio.run(policy.choose(QUERY, asking))


def route(policy, both, asking=None, *, validation="real", timeout_s=None):
    router = Router(both, policy, validation=validation)
    return asyncio.run(answer_safely(router, QUERY, asking or context(), timeout_s=timeout_s))


# --- the policies


@pytest.mark.parametrize(("step", "name"), [(1, "world_model"), (80, "world_model"), (81, "real"), (96, "real")])
def test_the_papers_schedule_imagines_80_steps_and_then_asks_for_real_in_16(step, name):
    assert choose(ByStep(PAPER), context(step)) == name


@pytest.mark.parametrize(("step", "name"), [(1, "world_model"), (3, "world_model"), (4, "real")])
def test_a_curriculum_of_three_and_one_asks_for_real_in_the_last_step_only(step, name):
    assert choose(ByStep((Phase("world_model", 3), Phase("real", 1))), context(step)) == name


def test_a_validation_before_training_belongs_to_the_first_phase():
    assert choose(ByStep(PAPER), context(0, split="val")) == "world_model"


@pytest.mark.parametrize(
    ("annealing", "step", "share"),
    [
        (Annealing(0.0, 1.0, steps=4, base=1.0), 0, 0.0),
        (Annealing(0.0, 1.0, steps=4, base=1.0), 1, 0.25),
        (Annealing(0.2, 0.6, steps=4, base=1.0), 2, 0.4),
        (Annealing(0.8, 0.2, steps=4, base=1.0), 4, 0.2),
        (Annealing(0.0, 1.0, steps=2, base=4.0), 1, 1 / 3),  # (4^0.5 - 1) / (4 - 1)
        (Annealing(0.0, 1.0, steps=2, base=4.0), 2, 1.0),
        (Annealing(0.0, 1.0, steps=2, base=4.0), 50, 1.0),  # stays at the end
    ],
)
def test_the_share_of_real_calls_follows_the_curve(annealing, step, share):
    assert real_share(annealing, step) == pytest.approx(share)


@given(
    st.floats(0, 1), st.floats(0, 1), st.integers(1, 200), st.floats(1, 1e6), st.integers(0, 300), st.integers(0, 300)
)
def test_the_share_lies_between_start_and_end_and_never_turns_back(start, end, steps, base, first, second):
    annealing = Annealing(start, end, steps, base)
    low, high = (real_share(annealing, step) for step in sorted((first, second)))
    assert min(start, end) - 1e-6 <= low <= max(start, end) + 1e-6
    assert (high - low) * (end - start) >= -1e-6


def draws(policy, actions=10_000, **metadata):
    return [
        choose(policy, context(5, call_index=n % 4, uid=f"u{n // 40}", session_id=n // 4 % 10, **metadata))
        for n in range(actions)
    ]


def test_two_thousand_draws_have_the_configured_share():
    real = draws(ByProbability(Annealing(0.3, 0.3), seed=1), 2000).count("real")
    assert abs(real - 600) < 5 * (2000 * 0.3 * 0.7) ** 0.5  # five standard deviations of the binomial


def test_draws_repeat_with_the_seed_and_differ_with_another_one():
    policy = ByProbability(Annealing(0.5, 0.5), seed=1)
    assert draws(policy, 400) == draws(policy, 400)
    assert draws(policy, 400) != draws(replace(policy, seed=2), 400)


def test_a_share_of_zero_is_never_and_of_one_is_always_real():
    assert set(draws(ByProbability(Annealing(0.0, 0.0)), 400)) == {"world_model"}
    assert set(draws(ByProbability(Annealing(1.0, 1.0)), 400)) == {"real"}


def places(**change):
    """Draws of 64 seeds at one place of the run, which one change moves."""
    here = {"step": 5, "uid": "u", "session_id": 0, "call_index": 0, "extra_info": {"index": 3}, **change}
    return [choose(ByProbability(Annealing(0.5, 0.5), seed=seed), context(**here)) for seed in range(64)]


@pytest.mark.parametrize("change", [{"step": 6}, {"session_id": 1}, {"call_index": 1}, {"extra_info": {"index": 4}}])
def test_every_row_session_step_and_call_is_drawn_on_its_own(change):
    assert places(**change) != places()


def test_draws_repeat_although_verl_gives_every_row_a_new_random_uid_in_every_run():
    assert places(uid="another") == places()


def test_without_index_the_uid_and_without_uid_the_ids_tell_rows_apart():
    assert places(extra_info=None, uid="a") != places(extra_info=None, uid="b")
    policies = [ByProbability(Annealing(0.5, 0.5), seed=seed) for seed in range(64)]
    here, there = context(uid=None), replace(context(uid=None), ids=[1, 3])
    assert [choose(each, here) for each in policies] != [choose(each, there) for each in policies]


@pytest.mark.parametrize(
    ("logprobs", "name"),
    [
        ((-0.5, -0.5), "world_model"),  # the threshold itself is sure enough
        ((-0.1, -1.1), "real"),  # mean -0.6
        ((-0.1, -0.7), "world_model"),  # mean -0.4: the mean counts, not the worst
        ((float("-inf"),), "real"),
        ((float("nan"),), "real"),
    ],
)
def test_an_unsure_query_is_asked_for_real(logprobs, name):
    assert choose(ByUncertainty("query", -0.5), context(logprobs=logprobs)) == name


def test_a_judged_query_is_not_judged_again():
    both = environments(world_model=imagined(logprob=-9.0))
    assert route(ByUncertainty("query", -0.5), both, context(logprobs=(-0.1,))).origin is Origin.WORLD_MODEL
    assert asked(both) == {"real": 0, "world_model": 1}


# --- the router


def test_the_chosen_environment_answers_and_the_other_one_is_not_asked():
    both = environments()
    assert route(Fixed("real"), both).text == "real"
    assert asked(both) == {"real": 1, "world_model": 0}


@pytest.mark.parametrize(
    ("validation", "origin"),
    [("real", Origin.REAL), ("world_model", Origin.WORLD_MODEL), ("same", Origin.WORLD_MODEL)],
)
def test_outside_the_training_split_validation_decides(validation, origin):
    answer = route(ByStep(PAPER), environments(), context(5, split="val"), validation=validation)
    assert answer.origin is origin


def test_validation_with_a_fixed_environment_keeps_even_an_unsure_observation():
    both = environments(world_model=imagined(logprob=-9.0))
    policy = ByUncertainty("observation", -0.5)
    assert route(policy, both, context(split="val"), validation="world_model").origin is Origin.WORLD_MODEL
    assert route(policy, both, context(split="val"), validation="same").origin is Origin.REAL


@pytest.mark.parametrize("stops", [True, False])
def test_the_router_stops_at_an_invented_observation_when_an_environment_does(stops):
    both = {"real": ScriptedEnvironment({}, stops_at_observation=stops)}
    both["world_model"] = ScriptedEnvironment({}, stops_at_observation=False)
    assert Router(both, Fixed("real"), validation="real").stops_at_observation is stops


# --- review: asked twice, counted once each


def test_a_sure_observation_is_kept_and_counted_as_it_is():
    both = environments()
    answer = route(ByUncertainty("observation", -0.5), both)
    assert (answer.origin, answer.counts) == (Origin.WORLD_MODEL, Counts())
    assert asked(both) == {"real": 0, "world_model": 1}


def test_an_unsure_observation_is_thrown_away_counted_and_asked_for_real():
    both = environments(replace(REAL_ANSWER, cost=0.25, counts=Counts()), imagined(logprob=-0.6, cost=0.5))
    answer = route(ByUncertainty("observation", -0.5), both)
    assert (answer.text, answer.origin, answer.cost) == ("real", Origin.REAL, 0.75)
    # "imagined</search_result>": 8 + 16 characters
    assert answer.counts == Counts(simulated_calls=1, discarded_observation_tokens=24)


@pytest.mark.parametrize("repair", ["unclosed_observations", "tagged_observations"])
def test_a_repaired_observation_is_asked_for_real_however_sure_and_its_repair_is_counted(repair):
    first = imagined(logprob=-0.01, counts=Counts(**{repair: 1, "discarded_observation_tokens": 7}))
    answer = route(ByUncertainty("observation", -0.5), environments(world_model=first))
    assert answer.origin is Origin.REAL
    assert answer.counts == Counts(**{"simulated_calls": 1, repair: 1, "discarded_observation_tokens": 24 + 7})


def test_an_empty_observation_is_asked_for_real():
    first = Observation("none", Origin.WORLD_MODEL, Outcome.EMPTY, counts=Counts(empty_observations=1))
    answer = route(ByUncertainty("observation", -0.5), environments(world_model=first))
    assert answer.text == "real"
    assert answer.counts == Counts(simulated_calls=1, empty_observations=1)


@pytest.mark.parametrize(
    ("error", "count"), [(ToolUnavailableError("down"), "tool_errors"), (ToolTimeoutError("slow"), "tool_timeouts")]
)
def test_a_world_model_that_fails_is_counted_and_asked_for_real(error, count):
    answer = route(ByUncertainty("observation", -0.5), environments(world_model=error))
    assert (answer.text, answer.error) == ("real", None)
    assert answer.counts == Counts(**{"simulated_calls": 1, count: 1})


def test_a_world_model_that_fails_and_is_not_reviewed_is_a_failed_imagined_call():
    answer = route(Fixed("world_model"), environments(world_model=ToolUnavailableError("down")))
    assert (answer.origin, answer.outcome) == (Origin.WORLD_MODEL, Outcome.ERROR)
    assert answer.error == "ToolUnavailableError: down" and answer.counts == Counts()


class Working:
    """Says that it did some work, and then fails."""

    stops_at_observation = True

    async def answer(self, action, context):
        context.asking.counts.discarded_observation_tokens = 3
        raise ToolUnavailableError("down")


@pytest.mark.parametrize("policy", [Fixed("world_model"), ByUncertainty("observation", -0.5)])
def test_work_done_before_a_failure_is_counted_once(policy):
    both = {**environments(), "world_model": Working()}
    assert route(policy, both).counts.discarded_observation_tokens == 3


def test_when_the_real_call_fails_as_well_what_was_thrown_away_still_counts_once():
    both = environments(ToolUnavailableError("refused"), imagined(logprob=-0.6))
    answer = route(ByUncertainty("observation", -0.5), both)
    assert (answer.origin, answer.outcome, answer.error) == (
        Origin.REAL,
        Outcome.ERROR,
        "ToolUnavailableError: refused",
    )
    assert answer.counts == Counts(simulated_calls=1, discarded_observation_tokens=24)


class Endless:
    """Never answers."""

    stops_at_observation = True

    async def answer(self, action, context):
        await asyncio.Event().wait()


def test_when_the_real_call_takes_too_long_it_is_a_real_time_out_and_the_rest_counts():
    both = {**environments(world_model=imagined(logprob=-0.6)), "real": Endless()}
    answer = route(ByUncertainty("observation", -0.5), both, timeout_s=0.05)
    assert (answer.origin, answer.outcome) == (Origin.REAL, Outcome.TIMEOUT)
    assert answer.counts == Counts(simulated_calls=1, discarded_observation_tokens=24)


def test_a_replay_error_passes_the_router():
    with pytest.raises(ReplayError):
        route(Fixed("real"), environments(ReplayError("not on the tape")))


class BrokenBudget(LocalBudget):
    async def take(self, step):
        raise ConnectionError("the budget is gone")


def test_when_the_policy_itself_fails_no_call_is_counted_as_made():
    both = environments()
    answer = route(WithBudget(Fixed("real"), BrokenBudget(1)), both)
    assert (answer.origin, answer.error) == (Origin.NOTICE, "ConnectionError: the budget is gone")
    assert asked(both) == {"real": 0, "world_model": 0}


def test_when_the_policy_fails_in_review_the_thrown_away_answer_is_counted():
    both = environments(world_model=imagined(logprob=-0.6))
    answer = route(WithBudget(ByUncertainty("observation", -0.5), BrokenBudget(1)), both)
    assert answer.origin is Origin.NOTICE
    assert answer.counts == Counts(simulated_calls=1, discarded_observation_tokens=24)


def test_a_failed_answer_of_any_origin_is_asked_for_real():
    both = environments(world_model=imagined(logprob=-0.6))
    answers = [
        route(ByUncertainty("observation", -0.5), {**both, "world_model": ScriptedEnvironment({"q": first})})
        for first in (
            imagined(logprob=-0.6),
            ToolUnavailableError("down"),
            ToolTimeoutError("slow"),
            *(Observation("x", origin, Outcome.MISS) for origin in Origin),
        )
    ]
    assert all(answer.text == "real" for answer in answers)


# --- the budget


def test_a_hundred_takers_at_once_get_exactly_ten_calls():
    async def race():
        budget = LocalBudget(10)
        return await asyncio.gather(*(budget.take(3) for _ in range(100)))

    assert sum(asyncio.run(race())) == 10


def test_each_step_has_its_own_calls_and_a_call_given_back_can_be_taken_again():
    async def calls():
        budget = LocalBudget(1)
        first, second, next_step = await budget.take(1), await budget.take(1), await budget.take(2)
        await budget.give_back(1)
        return first, second, next_step, await budget.take(1), await budget.take(1)

    assert asyncio.run(calls()) == (True, False, True, True, False)


def test_old_steps_are_forgotten_and_have_no_call_left():
    async def calls():
        budget = LocalBudget(1)
        for step in range(1, 202):
            assert await budget.take(step)
        await budget.give_back(1)  # long forgotten
        return budget.taken, await budget.take(101), await budget.take(1)

    taken, just_forgotten, first = asyncio.run(calls())
    assert (min(taken), max(taken), len(taken)) == (102, 201, 100)
    assert not just_forgotten and not first


def test_the_late_give_back_of_a_step_that_is_not_known_makes_no_call_more():
    async def calls():
        budget = LocalBudget(1)
        await budget.give_back(1)
        return await budget.take(1), await budget.take(1)

    assert asyncio.run(calls()) == (True, False)


def budgeted(calls, both, asking, *, policy=None, times=4, validation="same"):
    """Answers of `times` actions asked at the same time, and what is left of the budget."""
    budget = LocalBudget(calls)
    router = Router(both, WithBudget(policy or Fixed("real"), budget), validation=validation)

    async def ask():
        return await asyncio.gather(
            *(answer_safely(router, QUERY, replace(asking, asking=Asking()), timeout_s=0.2) for _ in range(times))
        )

    answers = asyncio.run(ask())
    return Counter(str(each.origin) for each in answers), calls - budget.taken.get(asking.step, 0)


def test_when_the_budget_of_the_step_is_spent_the_rest_is_imagined():
    assert budgeted(3, environments(), context(7)) == ({"real": 3, "world_model": 1}, 0)


@pytest.mark.parametrize("origin", [Origin.CACHE, Origin.REPLAY])
def test_an_answer_from_a_cache_or_a_tape_costs_no_call(origin):
    both = environments(Observation("known", origin))
    assert budgeted(2, both, context(), times=2) == ({str(origin): 2}, 2)


def test_a_real_call_that_failed_was_made():
    both = environments(ToolUnavailableError("down"))
    assert budgeted(2, both, context(), times=1) == ({"real": 1}, 1)


def test_a_real_call_that_took_too_long_was_made():
    both = {**environments(), "real": Endless()}
    assert budgeted(2, both, context(), times=3) == ({"real": 2, "world_model": 1}, 0)


def test_an_imagined_answer_gives_nothing_back():
    assert budgeted(2, environments(), context(), policy=Fixed("world_model")) == ({"world_model": 4}, 2)


def test_a_review_takes_from_the_budget_and_keeps_the_imagined_answer_when_it_is_spent():
    both = environments(world_model=imagined(logprob=-0.6))
    answers = budgeted(1, both, context(), policy=ByUncertainty("observation", -0.5), times=3)
    assert answers == ({"real": 1, "world_model": 2}, 0)


def test_a_review_that_finds_the_answer_in_the_cache_gives_the_call_back():
    both = environments(Observation("known", Origin.CACHE), imagined(logprob=-0.6))
    answers = budgeted(3, both, context(), policy=ByUncertainty("observation", -0.5), times=3)
    assert answers == ({"cache": 3}, 3)


def test_the_budget_is_for_training_only():
    assert budgeted(1, environments(), context(split="val")) == ({"real": 4}, 1)


WITHOUT_LOGPROBS = imagined()
WITHOUT_LOGPROBS = replace(WITHOUT_LOGPROBS, generation=replace(WITHOUT_LOGPROBS.generation, logprobs=None))
IMAGINING = {"world_model": ScriptedEnvironment({})}
UNSURE = r"uncertainty.of={} .* set actor_rollout_ref.rollout.calculate_log_probs"


@pytest.mark.parametrize(
    ("asking", "message"),
    [
        (
            lambda: route(ByStep(PAPER), environments(), context(0)),
            "count training steps from 1, but a training rollout came at step 0",
        ),
        (lambda: route(ByStep(PAPER), environments(), context(-1)), "routing.policy=steps needs the training step"),
        (
            lambda: route(ByStep(PAPER), environments(), context(97)),
            r"cover 96 steps \(80 world_model \+ 16 real\), but this is step 97: lengthen a phase",
        ),
        (
            lambda: choose(ByProbability(Annealing()), context(-1)),
            r"routing\.policy=probability needs the training step",
        ),
        (
            lambda: route(WithBudget(Fixed("real"), LocalBudget(1)), environments(), context(-1)),
            r"routing\.real_calls_per_step needs the training step",
        ),
        *(
            (
                lambda of=of: route(ByUncertainty(of, -0.5), environments(world_model=WITHOUT_LOGPROBS)),
                UNSURE.format(of),
            )
            for of in ("query", "observation")
        ),
        (
            lambda: route(
                ByUncertainty("observation", -0.5), environments(world_model=Observation("t", Origin.WORLD_MODEL))
            ),
            r"is text \(world_model.author=model\)",
        ),
        (
            lambda: route(Fixed("real"), IMAGINING, validation="world_model"),
            r"chose the environment 'real', configured are \['world_model'\]",
        ),
        # known at once, not when it is chosen
        (lambda: Router(IMAGINING, Fixed("world_model"), validation="real"), "'real'"),
    ],
)
def test_a_routing_that_cannot_be_ends_the_run_in_one_line(asking, message):
    with pytest.raises(ConfigError, match=message) as caught:
        asking()
    assert "\n" not in str(caught.value)


# --- from settings


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        (RoutingSettings(), Fixed("real")),
        (RoutingSettings(environment="world_model"), Fixed("world_model")),
        (RoutingSettings("steps", phases=PAPER), ByStep(PAPER)),
        (RoutingSettings("probability", seed=3), ByProbability(Annealing(), 3)),
        (RoutingSettings("uncertainty", uncertainty=Uncertainty("query", -1.0)), ByUncertainty("query", -1.0)),
    ],
)
def test_settings_build_their_policy(settings, policy):
    assert build_policy(settings, None) == policy


def test_a_limit_of_real_calls_wraps_the_policy_and_uses_the_budget_it_is_given():
    settings, shared = RoutingSettings(real_calls_per_step=2), LocalBudget(2)
    assert build_policy(settings, shared) == WithBudget(Fixed("real"), shared)
    local = build_policy(settings, None).budget
    assert local.calls_per_step == 2


# --- in the real loop


SEARCH = "<begin_search>q</end_search>"
ANSWER = "</think> \\boxed{Paris}<eos>"


class Imagining:
    """The policy as world model: samples the observation with the engine of the rollout."""

    stops_at_observation = True

    async def answer(self, action, context):
        context.asking.begin(Origin.WORLD_MODEL)
        head, _ = context.codec.observation_frame(AUTOCOA.tool("search"))
        generation = await context.engine.generate(
            [*context.ids, *head.ids], max_tokens=50, stop=("</search_result>",), sampling=context.sampling
        )
        text = context.codec.decode(generation.ids)
        return Observation(text, Origin.WORLD_MODEL, generation=generation, is_closed=True)


def rolled_out(policy, real, logprob, turns=(SEARCH, " Rome </search_result>", ANSWER)):
    engine = ScriptedEngine(turns, encode=CODEC.encode, decode=CODEC.decode, logprob=logprob)
    both = {"real": ScriptedEnvironment({"q": real}), "world_model": Imagining()}
    trajectory = asyncio.run(
        rollout(
            TOKENIZER.encode("x<think>"),
            engine=engine,
            environment=Router(both, policy, validation="real"),
            codec=CODEC,
            limits=Limits(max_response_tokens=4000, answer_reserve_tokens=100),
            metadata={"global_step": 1},
        )
    )
    return trajectory, engine


def test_an_unsure_rollout_holds_only_the_real_observation_and_counts_both():
    trajectory, engine = rolled_out(ByUncertainty("observation", -0.5), "Paris", logprob=-0.6)
    assert trajectory.text() == SEARCH + "\n\n<search_result> Paris </search_result>\n\n" + ANSWER
    assert engine.prompts[-1] == (*trajectory.prompt_ids, *trajectory.response_ids[: -len(CODEC.encode(ANSWER))])
    counts = trajectory.counts
    assert (counts.actions, counts.real_calls, counts.simulated_calls) == (1, 1, 1)
    # " Rome </search_result>" is 6 + 16 characters
    assert (counts.sampled_observation_tokens, counts.discarded_observation_tokens) == (0, 22)
    assert sum(trajectory.observation_mask) == len("\n\n<search_result> Paris </search_result>\n\n")


def test_a_sure_rollout_holds_only_the_imagined_observation_and_makes_no_real_call():
    trajectory, _ = rolled_out(ByUncertainty("observation", -0.5), "Paris", logprob=-0.4)
    assert " Rome " in trajectory.text() and " Paris " not in trajectory.text()
    counts = trajectory.counts
    assert (counts.real_calls, counts.simulated_calls, counts.discarded_observation_tokens) == (0, 1, 0)
    assert sum(trajectory.observation_mask) == 0


def test_an_unsure_rollout_with_the_retriever_down_goes_on_and_counts_both():
    trajectory, _ = rolled_out(ByUncertainty("observation", -0.5), ToolUnavailableError("down"), logprob=-0.6)
    counts = trajectory.counts
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert (counts.real_calls, counts.tool_errors, counts.simulated_calls) == (1, 1, 1)
    assert counts.discarded_observation_tokens == 22
    assert sum(trajectory.observation_mask) == 0


def test_an_unsure_query_is_read_from_the_log_probabilities_of_the_action():
    trajectory, _ = rolled_out(ByUncertainty("query", -0.5), "Paris", logprob=-0.6, turns=(SEARCH, ANSWER))
    assert (trajectory.counts.real_calls, trajectory.counts.simulated_calls) == (1, 0)


def test_a_wrong_schedule_ends_the_rollout():
    with pytest.raises(ConfigError, match="this is step 1"):
        rolled_out(ByStep(()), "Paris", logprob=-0.5)
