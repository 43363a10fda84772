"""Judging a checkpoint: decisions, perplexity and fidelity against counts done by hand, then the whole command.

The hand-made world has two popular entities, Ada Roe and Cal Poe, and two of the tail, Dun Hill and Bix Mills. Of the
popular ones Ada Roe is one that no training question asks about: crc32 of the name is divisible by 3.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import autocoa_plugin.recipes
import pytest
import yaml
from bigram_model import SURE, bigram_model, chain_model
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.dump import read_dump
from autocoa_plugin.engines.transformers_local import TransformersEngine
from autocoa_plugin.errors import ConfigError, DataError, TokenizerError
from autocoa_plugin.limits import Limits
from autocoa_plugin.loop import rollout
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tinyworld import held_out
from autocoa_plugin.tinyworld.base_model import SHIPPED, BuildConfig, build_model, export_base
from autocoa_plugin.tinyworld.cli import add_parser
from autocoa_plugin.tinyworld.held_out import (
    GREEDY,
    LIMITS,
    TOP_K,
    GroupScore,
    evaluate,
    play_questions,
    train_sample,
)
from autocoa_plugin.tinyworld.measures import (
    MAX_TOKENS,
    Decision,
    DecisionRates,
    Decisions,
    body_positions,
    draw_facts_to_imagine,
    forced_decisions,
    gold_trajectories,
    measure_fidelity,
    observation_loss,
    response_log_probs,
    written_decisions,
)
from autocoa_plugin.tinyworld.pairs import PairSet
from autocoa_plugin.tinyworld.questions import validation_questions
from autocoa_plugin.tinyworld.stage_config import StageConfig, TrajectorySet, clean
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, prompt_text
from autocoa_plugin.tinyworld.world import Entity, World
from autocoa_plugin.tinyworld.world_files import Files, build
from autocoa_plugin.tokenization import Codec

CHARS = Codec(CharTokenizer(), TINYWORLD)
END = "</think> \\boxed{ x } <eos>"


@pytest.fixture(scope="module")
def hand_made(world):
    groups = {"Ada Roe": "known", "Cal Poe": "known", "Dun Hill": "held", "Bix Mills": "held"}
    return World(0, world.pools, {name: Entity(name, "person", group, {}, "") for name, group in groups.items()})


def write(*turns: str, answers: Any = None, limits: Limits | None = None):
    """A trajectory whose policy wrote these turns; every id is a character."""
    return asyncio.run(
        rollout(
            CHARS.encode("q"),
            engine=ScriptedEngine(turns, encode=CHARS.encode, decode=CHARS.decode),
            environment=ScriptedEnvironment(answers or {}),
            codec=CHARS,
            limits=limits or Limits(),
        )
    )


# ------------------------------------------------------------------------------------------- decisions the policy wrote


def test_an_announcement_and_the_word_after_it_are_one_decision(hand_made):
    trajectory = write(
        "<think> First I need the star of Dun Hill . <begin_search> Dun Hill star </end_search>",
        "So the star of Dun Hill is Ada Roe . Next I need the employer of Ada Roe . I recall the employer of Ada Roe "
        "is Bix Mills . Next I need the founder of Bix Mills . I recall the founder of Bix Mills is Cal Poe . Next I "
        "need the mayor of Cal Poe . <begin_search> Cal Poe mayor </end_search>",
        END,
    )
    decisions = written_decisions(trajectory, hand_made)
    assert [(each.subject, each.searched) for each in decisions.made] == [
        ("Dun Hill", True),
        ("Ada Roe", False),
        ("Bix Mills", False),
        ("Cal Poe", True),
    ]
    assert (decisions.undecided, decisions.unknown_subjects) == (0, 0)
    # popular: Ada Roe recalled, Cal Poe searched; tail: Dun Hill searched, Bix Mills recalled
    assert decisions.rates == DecisionRates(2, 2, 0.5, 0.5, 0.5)
    # of the popular ones only Ada Roe is unseen
    assert decisions.unseen_rates == DecisionRates(1, 2, 0.0, 0.5, 0.75)


def test_nobody_decides_inside_an_observation(hand_made):
    quoted = "I need the star of Ada Roe . I recall it . First I need the star of Dun Hill . <begin_search>"
    trajectory = write(
        "<think> First I need the star of Dun Hill . <begin_search> a </end_search>", END, answers={"a": quoted}
    )
    assert "star of Ada Roe" in trajectory.text()
    assert [each.subject for each in written_decisions(trajectory, hand_made).made] == ["Dun Hill"]


def test_an_announcement_that_goes_on_otherwise_is_undecided_and_a_stranger_is_counted_apart(hand_made):
    trajectory = write(
        "<think> First I need the star of Dun Hill . So it is . Next I need the star of Nobody Here . I recall it . "
        "Next I need the star of Ada Roe . <begin_search> </end_search>",
        "Next I need the star of Cal Poe . ",
    )
    decisions = written_decisions(trajectory, hand_made)
    assert [(each.subject, each.searched) for each in decisions.made] == [("Ada Roe", True)]
    assert (decisions.undecided, decisions.unknown_subjects) == (2, 1)  # Dun Hill, Cal Poe; Nobody Here


def test_the_forced_answer_after_an_announcement_is_not_its_decision(hand_made):
    words = "<think> First I need the star of Ada Roe ."
    trajectory = write(words, " I recall }", limits=Limits(max_turn_tokens=len(words)))
    assert trajectory.forced_answer
    decisions = written_decisions(trajectory, hand_made)
    assert (decisions.made, decisions.undecided) == ((), 1)


def decision(*, popular: bool, searched: bool, probe: bool = False) -> Decision:
    return Decision("x", popular, probe, searched)


def test_accuracy_is_balanced_over_popular_and_tail_subjects():
    # 1 of 4 popular searched, 3 of 10 tail recalled: ((1 - 1/4) + (1 - 3/10)) / 2 = 0.725
    popular = [decision(popular=True, searched=n < 1) for n in range(4)]
    tail = [decision(popular=False, searched=n >= 3) for n in range(10)]
    rates = DecisionRates.of([*popular, *tail])
    assert (rates.popular, rates.tail) == (4, 10)
    assert (rates.unneeded_search, rates.missed_search, rates.accuracy) == pytest.approx((0.25, 0.3, 0.725))


def test_a_rate_without_a_decision_of_its_kind_is_none():
    assert DecisionRates.of([]) == DecisionRates(0, 0, None, None, None)
    assert DecisionRates.of([decision(popular=True, searched=True)]) == DecisionRates(1, 0, 1.0, None, None)
    assert DecisionRates.of([decision(popular=False, searched=True)]) == DecisionRates(0, 1, None, 0.0, None)


made = st.lists(st.builds(Decision, st.just("x"), st.booleans(), st.just(False), st.booleans()), max_size=30)


@given(made)
def test_doing_the_opposite_everywhere_turns_every_rate_round(decisions):
    rates = DecisionRates.of(decisions)
    opposite = DecisionRates.of(Decision(each.subject, each.is_popular, False, not each.searched) for each in decisions)
    for name in ("unneeded_search", "missed_search", "accuracy"):
        one, other = getattr(rates, name), getattr(opposite, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert 0 <= one <= 1 and one + other == pytest.approx(1)


@given(st.lists(made, max_size=4))
def test_joined_decisions_are_counted_as_one(many):
    joined = Decisions.joined(Decisions(tuple(each), 1, 2) for each in many)
    assert joined.rates == DecisionRates.of(each for some in many for each in some)
    assert (joined.undecided, joined.unknown_subjects) == (len(many), 2 * len(many))


# ------------------------------------------------------------------------------------------- decisions at gold prefixes


@pytest.fixture(scope="module")
def questions(world):
    """Ten of each validation set."""
    return [each for asked in validation_questions(world).values() for each in asked[:10]]


@pytest.fixture(scope="module")
def golds(questions, codec, environment):
    return gold_trajectories(questions, codec, environment)


def after_full_stop(tokenizer: Any, **logits: float) -> Any:
    """A model that has these logits after every full stop, whatever came before."""
    stop, search, recall = tokenizer.convert_tokens_to_ids([".", "<begin_search>", "I"])
    return bigram_model(len(tokenizer), {stop: {search: logits["search"], recall: logits["recall"]}})


@pytest.mark.parametrize(("search", "recall"), [(1.0, 0.9), (-5.0, -5.1), (0.0, 0.1)])
def test_the_likelier_word_after_the_announcement_is_the_decision(
    world, tokenizer, codec, questions, golds, search, recall
):
    model = after_full_stop(tokenizer, search=search, recall=recall)
    decisions = Decisions.joined(forced_decisions(model, codec, world, questions, golds))
    hops = [hop for question in questions for hop in question.hops]
    assert [each.subject for each in decisions.made] == [hop.subject for hop in hops]
    assert [each.is_popular for each in decisions.made] == [not hop.needs_search for hop in hops]
    # a model that always searches is wrong about all popular subjects, one that always recalls about all tail ones
    expected = (1.0, 0.0, 0.5) if search > recall else (0.0, 1.0, 0.5)
    rates = decisions.rates
    assert (rates.unneeded_search, rates.missed_search, rates.accuracy) == expected


def test_trajectories_of_other_questions_are_refused(world, tokenizer, codec, questions, golds):
    model = after_full_stop(tokenizer, search=0.0, recall=0.0)
    with pytest.raises(DataError, match=r"has 1 hops, but 3 decisions"):
        forced_decisions(model, codec, world, questions[:1], golds[20:21])  # a one-hop and a three-hop question


def test_row_t_is_the_distribution_of_response_token_t_and_company_does_not_change_it(tokenizer, golds):
    import torch

    model = build_model(len(tokenizer), 1, 0, seed=3)
    some = golds[::10]  # of one, two, three hops: three lengths
    together = list(response_log_probs(model, some))
    for trajectory, rows in zip(some, together, strict=True):
        ids = [*trajectory.prompt_ids, *trajectory.response_ids]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        assert len(rows) == len(trajectory.response_ids)
        # the first response token is predicted at the prompt's last position, the last one at the last but one
        torch.testing.assert_close(rows, logits[len(trajectory.prompt_ids) - 1 : -1].log_softmax(-1))


# ----------------------------------------------------------------------------------------------------------- perplexity


def observed(codec: Codec, body: str):
    """A trajectory with one observation, in words of the tiny vocabulary."""
    turns = ["<think> First <begin_search> Where </end_search>", "</think> \\boxed{ Where } <|im_end|>"]
    engine = ScriptedEngine(turns, encode=codec.encode)
    environment = ScriptedEnvironment({"Where": body})
    return asyncio.run(rollout(codec.encode("<|user|>"), engine=engine, environment=environment, codec=codec))


def test_only_what_stands_between_the_tags_of_an_observation_is_counted(codec):
    trajectory = observed(codec, "is a city")
    # <think> First <begin_search> Where </end_search> <search_result> is a city </search_result> ...
    assert body_positions(trajectory, codec) == [6, 7, 8]
    assert codec.decode([trajectory.response_ids[t] for t in (6, 7, 8)]) == "is a city"


def test_a_uniform_model_has_the_size_of_the_vocabulary_as_perplexity(tokenizer, codec):
    loss = observation_loss(bigram_model(len(tokenizer), {}), codec, [observed(codec, "is a city")])
    assert loss.tokens == 3
    assert loss.nats_per_token == pytest.approx(math.log(len(tokenizer)), rel=1e-5)
    assert loss.perplexity == pytest.approx(len(tokenizer), rel=1e-4)


def test_the_mean_is_over_all_tokens_of_all_trajectories_and_each_is_predicted_from_the_one_before(tokenizer, codec):
    opened, is_, a, city = tokenizer.convert_tokens_to_ids(["<search_result>", "is", "a", "city"])
    # logits of log 0.5 + 30 and log 0.25 + 30 twice: those three share all of the probability
    halves = {is_: math.log(0.5) + SURE, a: math.log(0.25) + SURE, city: math.log(0.25) + SURE}
    model = bigram_model(len(tokenizer), {opened: halves, is_: {a: SURE}, a: halves})
    loss = observation_loss(model, codec, [observed(codec, "is a city"), observed(codec, "a")])
    # first: 0.5, then sure, then 0.25; second: 0.25. So (log 2 + 0 + log 4 + log 4) / 4 = 5 log 2 / 4
    assert loss.tokens == 4
    assert loss.nats_per_token == pytest.approx(5 * math.log(2) / 4, rel=1e-4)
    assert loss.perplexity == pytest.approx(2**1.25, rel=1e-4)


def test_there_is_no_perplexity_without_an_observation(tokenizer, codec):
    loss = observation_loss(bigram_model(len(tokenizer), {}), codec, [])
    assert (loss.perplexity, loss.nats_per_token, loss.tokens) == (None, None, 0)


# ------------------------------------------------------------------------------------------------- world-model fidelity


def test_imagined_observations_are_compared_with_the_articles(world, codec):
    facts = draw_facts_to_imagine(world, "train", 4)
    names = [each.hops[0].subject for each in facts]
    articles = [world.entities[name].text for name in names]
    gold = facts[2].hops[0].object
    written = [
        f"{names[0]} : {articles[0]} </search_result>",  # all right
        f"Where {names[1]} : {articles[1]} </search_result>",  # title and so document wrong, the fact is in it
        f"{names[2]} : {gold} " + "is " * MAX_TOKENS,  # title and fact, never closed
        "none : no result . </search_result>",  # closed, and nothing else
    ]
    engine = ScriptedEngine(written, encode=codec.encode, decode=codec.decode)
    fidelity = asyncio.run(measure_fidelity(engine, codec, world, facts))
    assert (fidelity.facts, fidelity.well_formed, fidelity.title) == (4, 0.75, 0.5)
    assert (fidelity.exact, fidelity.gold) == (0.25, 0.75)


def test_the_engine_is_shown_question_search_and_the_observations_opening(world, codec):
    (fact,) = draw_facts_to_imagine(world, "held", 1)
    engine = ScriptedEngine(["</search_result>"], encode=codec.encode)
    asyncio.run(measure_fidelity(engine, codec, world, [fact]))
    hop = fact.hops[0]
    assert codec.decode(engine.prompts[0]) == (
        f"<|user|> {fact.text} <|assistant|> <think> First I need the {hop.relation} of {hop.subject} . "
        f"<begin_search> {hop.subject} {hop.relation} </end_search> <search_result>"
    )
    assert engine.requests[0]["stop"] == ("</search_result>",)
    assert (engine.requests[0]["max_tokens"], engine.requests[0]["sampling"].temperature) == (40, 0.0)


def test_no_article_is_longer_than_what_may_be_imagined(world, codec):
    longest = max(len(codec.encode(f"{each.name} : {each.text} </search_result>")) for each in world.entities.values())
    assert longest < MAX_TOKENS


# --------------------------------------------------------------------------------------------------- held-out questions


def test_limits_and_retrieval_are_those_of_the_recipe():
    recipe = Path(autocoa_plugin.recipes.__path__[0]) / "setting" / "tinyworld.yaml"
    setting = yaml.safe_load(recipe.read_text())
    limits = Limits(**setting["autocoa"]["limits"], max_response_tokens=setting["data"]["max_response_length"])
    assert limits == LIMITS
    assert setting["autocoa"]["search"]["top_k"] == TOP_K


def play(questions, turns, codec, environment):
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    # one at a time, so that the script's turns come in order
    return asyncio.run(play_questions(questions, engine=engine, environment=environment, codec=codec, concurrency=1))


@pytest.fixture(scope="module")
def played(questions, codec, environment):
    """A right answer after one search, and a wrong one out of nothing."""
    first, second = questions[:2]
    hop = first.hops[0]
    turns = [
        f"<think> First I need the {hop.relation} of {hop.subject} . <begin_search> {hop.subject} {hop.relation} "
        "</end_search>",
        f"So the {hop.relation} of {hop.subject} is {first.answer} . </think> \\boxed{{ {first.answer} }} <|im_end|>",
        "\\boxed{ Where } <|im_end|>",
    ]
    return play([first, second], turns, codec, environment)


def test_a_group_is_scored_per_question(played):
    score = GroupScore.of("1hop", played)
    assert (score.group, score.questions) == ("1hop", 2)
    # the second has no thought, so it is not well-formed
    assert (score.exact_match, score.f1, score.well_formed, score.searches) == (0.5, 0.5, 0.5, 0.5)
    assert (score.actions, score.forced_answers, score.stop_reasons) == (0.5, 0.0, {"answered": 2})


def test_train_questions_for_the_perplexity_are_about_the_tail_with_validations_numbers_of_hops(world):
    sample = train_sample(world)
    assert [sum(len(each.hops) == hops for each in sample) for hops in (1, 2, 3)] == [200, 200, 100]
    assert {each.group for each in sample} == {"train"}
    assert len(train_sample(world, limit=3)) == 9


# ------------------------------------------------------------------------------------------------------------ the whole


def test_the_base_model_knows_no_protocol_and_is_judged_all_the_same(corpus):
    told: list[tuple[str, int, int]] = []
    evaluation = evaluate(SHIPPED, corpus, limit=4, progress=lambda *each: told.append(each))
    assert [(each.group, each.questions, each.exact_match) for each in evaluation.groups] == [
        ("1hop", 4, 0.0),
        ("2hop", 4, 0.0),
        ("3hop", 4, 0.0),
        ("known", 4, 0.0),
    ]
    assert evaluation.on_policy.all == DecisionRates(0, 0, None, None, None)
    forced = evaluation.teacher_forced.all
    assert forced.popular > 0 and forced.tail > 0 and forced.accuracy is not None
    assert all(2 < (evaluation.observations[group].perplexity or 0) < 50 for group in ("train", "held"))
    assert {group: each.facts for group, each in evaluation.world_model.items()} == {"train": 4, "held": 4}
    assert ("questions", 16, 16) in told
    assert json.loads(json.dumps(evaluation.to_dict()))["groups"][0]["exact_match"] == 0.0


def save(model: Any, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_of_another_vocabulary_is_refused_by_the_first_word_that_differs(tokenizer, corpus, tmp_path):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    other = json.loads(tokenizer.backend_tokenizer.to_str())
    words = other["model"]["vocab"]
    words["recall"], words["star"] = words["star"], words["recall"]
    swapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(other)), eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    folder = save(chain_model(len(tokenizer), {}), swapped, tmp_path)
    with pytest.raises(TokenizerError, match=r"'recall' is token \d+ of this model's tokenizer, expected \d+"):
        evaluate(folder, corpus)
    with pytest.raises(ConfigError, match="limit must be >= 1, got 0"):
        evaluate(SHIPPED, corpus, limit=0)


def test_a_greedy_rollout_through_the_local_engine_takes_the_likeliest_token(world, codec, environment, tokenizer):
    """The engine keeps keys and values and pads; one plain pass over the finished text does neither."""
    import torch

    # this untrained model babbles on, so the loops run into both limits and the forced answer
    limits = replace(LIMITS, max_turn_tokens=24, max_response_tokens=64)
    engine = TransformersEngine(build_model(len(tokenizer), 1, 0, seed=5), tokenizer)
    prompts = [codec.encode(prompt_text(asked[0].text)) for asked in validation_questions(world).values()]

    async def play_all():
        shared = {"engine": engine, "environment": environment, "codec": codec, "limits": limits, "sampling": GREEDY}
        return await asyncio.gather(*(rollout(ids, **shared) for ids in prompts))

    for trajectory in asyncio.run(play_all()):
        ids = [*trajectory.prompt_ids, *trajectory.response_ids]
        with torch.no_grad():
            likeliest = engine.model(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
        mask = [0] * len(trajectory.prompt_ids) + trajectory.response_mask
        places = [n for n, sampled in enumerate(mask) if sampled]
        assert trajectory.forced_answer and len(places) > 24
        assert [likeliest[n - 1] for n in places] == [ids[n] for n in places]


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["tinyworld", "evaluate", *words])
    return arguments.run(arguments)


def test_the_command_prints_tables_and_writes_json_and_trajectories(corpus, tmp_path, capsys):
    base, out, dumps = export_base(tmp_path / "base"), tmp_path / "deep" / "out.json", tmp_path / "dumps"
    words = [str(base), "--world", str(corpus.folder), "--limit", "2"]
    assert run(*words, "--out", str(out), "--trajectories", str(dumps)) == 0
    assert "gold prefixes" in capsys.readouterr().out
    assert json.loads(out.read_text())["teacher_forced"]["all"]["accuracy"] is not None
    sources = Counter(row["info"]["data_source"] for row in read_dump(dumps, "val", step=0))
    assert sorted(sources.values()) == [2, 2, 2, 2]
    # a second model's trajectories would be read as the first one's
    assert run(*words, "--trajectories", str(dumps)) == 1
    assert "already holds step_000000." in capsys.readouterr().err


def test_the_worlds_files_are_built_when_they_are_missing(tmp_path, monkeypatch):
    # the stage data are another test's: here a few rows of each set will do
    few = {name: TrajectorySet(1, clean(1.0, 0.0, 0.0)) for name in ("cot", "coa", "coa_stage3")}
    small = BuildConfig(stages=StageConfig(**few, pairs=PairSet(count=0), replay=1))
    monkeypatch.setattr(held_out, "build", lambda folder, *, report: build(folder, small, report=report))
    evaluation = evaluate(SHIPPED, Files(tmp_path / "new"), limit=1)
    assert [each.questions for each in evaluation.groups] == [1, 1, 1, 1]


def test_a_wrong_folder_is_one_line_and_exit_status_one(tmp_path, capsys):
    (tmp_path / "checkpoint" / "huggingface").mkdir(parents=True)
    shutil.copy(SHIPPED / "config.json", tmp_path / "checkpoint" / "huggingface")
    assert run(str(tmp_path / "checkpoint")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoint has no config.json, expected the folder of a Hugging Face model (did you mean" in line
    assert line.endswith("huggingface'?)")
    assert run(str(tmp_path / "nowhere")) == 1
    assert "nowhere is no folder" in capsys.readouterr().err
