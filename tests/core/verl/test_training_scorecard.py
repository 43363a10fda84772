"""The scorecard during training, without Ray: a scripted server instead of verl's, the embedded world's tokenizer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

from composed import compose_recipe
from omegaconf import OmegaConf
from verl.workers.rollout.replica import TokenOutput

import autocoa_plugin.verl_adapters.plugin  # noqa: F401  -- registers ${autocoa.file:...}
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.scorecard.in_training import TrainingScorecard
from autocoa_plugin.lab.scorecard.scorecard import read_cards
from autocoa_plugin.tinyworld.base_model import export_base
from autocoa_plugin.tinyworld.tokenizer import load_tokenizer
from autocoa_plugin.verl_adapters.runtime import settings_of

MOOR = "Brerkstad Moor : Brerkstad Moor is a city in Sithland ."
PREFIX = "<think> First I need the country of Brerkstad Moor . <begin_search> Brerkstad Moor country </end_search>"
QUERY = {"question": "In which country is Brerkstad Moor ?", "prefix": PREFIX, "golds": ["Sithland"], "group": "train"}


class Server:
    """verl's server client: answers every query with one text, or raises."""

    def __init__(self, tokenizer, text):
        self.tokenizer, self.text, self.asked = tokenizer, text, []

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_):
        self.asked.append({"request_id": request_id, "prompt_ids": list(prompt_ids), **sampling_params})
        if isinstance(self.text, Exception):
            raise self.text
        ids = self.tokenizer.encode(self.text, add_special_tokens=False)[: sampling_params["max_tokens"]]
        return TokenOutput(token_ids=ids, log_probs=None, stop_reason="completed", extra_fields={"global_steps": 3})


@pytest.fixture
def trainer(tmp_path):
    """What of verl's trainer the scorecard reads."""
    export_base(tmp_path / "model")
    (tmp_path / "corpus.jsonl").write_text(
        '{"id": "1", "title": "Brerkstad Moor", "text": "Brerkstad Moor is a city in Sithland ."}\n'
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({**QUERY, "group": g}) + "\n" for g in ("train", "held"))
    )
    config = compose_recipe(
        "rl_stage2_real",
        ["hardware=cpu", "setting=tinyworld", "data.train_files=a", "data.val_files=b"],
        {
            "actor_rollout_ref.model.path": f"{tmp_path}/model",
            "autocoa.search.corpus": f"{tmp_path}/corpus.jsonl",
            "autocoa.scorecard": {"queries": f"{tmp_path}/queries.jsonl", "every": 5, "limit": 1},
            "trainer.default_local_dir": f"{tmp_path}/out",
        },
    )
    OmegaConf.resolve(config)
    tokenizer = load_tokenizer(tmp_path / "model")
    server = Server(tokenizer, f"{MOOR} </search_result>")
    return SimpleNamespace(
        config=config, tokenizer=tokenizer, server=server, get_llm_client=lambda: server, folder=tmp_path
    )


def test_a_faithful_policy_scores_1_in_every_group(trainer):
    metrics = TrainingScorecard.of(trainer).measure(5)
    for group in ("train", "held"):
        assert metrics[f"scorecard/{group}/exact"] == metrics[f"scorecard/{group}/well_formed"] == 1.0
        assert metrics[f"scorecard/{group}/holds_gold"] == metrics[f"scorecard/{group}/real_holds_gold"] == 1.0
        assert metrics[f"scorecard/{group}/hallucination_rate"] == metrics[f"scorecard/{group}/failed"] == 0.0
        assert f"scorecard/{group}/cross_entropy" not in metrics
    assert all(isinstance(value, float) for value in metrics.values())


def test_an_unfaithful_policy_does_not(trainer):
    trainer.server.text = "Brerkstad Moor : Brerkstad Moor is a city in Ploxia . </search_result>"
    metrics = TrainingScorecard.of(trainer).measure(5)
    assert (metrics["scorecard/train/title_match"], metrics["scorecard/train/well_formed"]) == (1.0, 1.0)
    assert (metrics["scorecard/train/holds_gold"], metrics["scorecard/train/hallucination_rate"]) == (0.0, 1.0)


def test_the_server_is_asked_greedily_after_the_opening_tag_one_request_id_per_query(trainer):
    TrainingScorecard.of(trainer).measure(5)
    asked = trainer.server.asked
    assert {call["temperature"] for call in asked} == {0.0}
    assert sorted(call["request_id"] for call in asked) == ["scorecard_5_0", "scorecard_5_1"]
    text = f"<|user|> {QUERY['question']} <|assistant|> {PREFIX} <search_result>"
    assert asked[0]["prompt_ids"] == trainer.tokenizer.encode(text, add_special_tokens=False)


def test_the_world_models_own_temperature_is_used(trainer):
    sampled = {"temperature": 0.7, "top_p": 0.9}
    OmegaConf.update(trainer.config, "autocoa.world_model", sampled, force_add=True)
    TrainingScorecard.of(trainer).measure(5)
    assert {(call["temperature"], call["top_p"]) for call in trainer.server.asked} == {(0.7, 0.9)}


def test_a_card_is_written_per_step_and_names_model_corpus_and_step(trainer):
    scorecard = TrainingScorecard.of(trainer)
    for step in (0, 5):
        scorecard.measure(step)
    folder = trainer.folder / "out" / "scorecards"
    assert sorted(path.name for path in folder.iterdir()) == [
        "scorecard_step_000000.json",
        "scorecard_step_000005.json",
    ]
    (card,) = read_cards(folder / "scorecard_step_000005.json")
    assert (card.step, card.scored_by, card.real["passages"]) == (5, None, 1)
    assert card.model == f"{trainer.folder}/model" and card.sampling["author"] == "self"


def test_only_the_first_card_makes_real_calls_and_they_are_told(trainer):
    scorecard = TrainingScorecard.of(trainer)
    # two queries with the same words: one call, the other one waits for it
    assert scorecard.measure(0)["scorecard/real_calls"] == 1.0 and scorecard.spent.cached_calls == 1
    assert scorecard.measure(5)["scorecard/real_calls"] == 0.0 and scorecard.spent.cached_calls == 2


def test_a_card_is_due_before_training_and_every_n_steps(trainer):
    scorecard = TrainingScorecard.of(trainer)
    assert [step for step in range(12) if scorecard.is_due(step)] == [0, 5, 10]


def test_a_server_that_fails_is_counted_and_does_not_end_the_training(trainer):
    trainer.server.text = RuntimeError("asleep")
    metrics = TrainingScorecard.of(trainer).measure(5)
    assert metrics["scorecard/train/failed"] == 1.0 and "scorecard/train/exact" not in metrics
    (card,) = read_cards(trainer.folder / "out" / "scorecards" / "scorecard_step_000005.json")
    assert "asleep" in (card.first_error or "")


def test_the_callers_event_loop_is_left_as_it_was(trainer):
    scorecard = TrainingScorecard.of(trainer)

    async def inside() -> float:
        return scorecard.measure(5)["scorecard/train/exact"]

    assert asyncio.run(inside()) == 1.0  # verl may call from a thread whose loop runs


def test_queries_that_are_missing_or_empty_are_refused_before_training(trainer):
    trainer.config.autocoa.scorecard.queries = f"{trainer.folder}/querys.jsonl"
    with pytest.raises(DataError, match=r"did you mean 'queries.jsonl'"):
        TrainingScorecard.of(trainer)
    trainer.config.autocoa.scorecard = None
    with pytest.raises(ConfigError, match=r"set autocoa\.scorecard\.queries"):
        TrainingScorecard.of(trainer)


def test_a_scorecard_without_a_real_tool_is_refused(trainer):
    settings = replace(settings_of(trainer.config), search=None, tools=())
    with pytest.raises(ConfigError, match="needs the real search tool"):
        TrainingScorecard(
            settings, tokenizer=trainer.tokenizer, client=None, folder=".", model="m", max_context_tokens=128
        )
