"""The verl agent loop without Ray: verl's own classes, a scripted server, the tinyworld tokenizer."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

from composed import compose_recipe
from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

import autocoa_plugin.verl_adapters.plugin  # noqa: F401  -- registers ${autocoa.file:...}
from autocoa_plugin.dump import read_dump
from autocoa_plugin.tinyworld.base_model import export_base
from autocoa_plugin.tinyworld.tokenizer import load_tokenizer
from autocoa_plugin.verl_adapters.agent_loop import AutoCoAAgentLoop

SEARCH = "<think> First I need the country of Brerkstad Moor . <begin_search> Brerkstad Moor country </end_search>"
ANSWER = "So the country of Brerkstad Moor is Sithland . </think> \\boxed{ Sithland } <|im_end|>"


class ScriptedServer:
    """verl's server client, playing texts; remembers what it was asked."""

    def __init__(self, tokenizer, turns):
        self.tokenizer, self.turns, self.asked = tokenizer, iter(turns), []

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_):
        self.asked.append({"request_id": request_id, "prompt_ids": list(prompt_ids), **sampling_params})
        ids = self.tokenizer.encode(next(self.turns), add_special_tokens=False)
        extra = {"global_steps": 3, "min_global_steps": 3, "max_global_steps": 3 + len(self.asked) - 1}
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), stop_reason="completed", extra_fields=extra)


@pytest.fixture
def world(tmp_path):
    """Configuration, tokenizer and one-document corpus."""
    export_base(tmp_path / "model")
    (tmp_path / "corpus.jsonl").write_text(
        '{"id": "1", "title": "Brerkstad Moor", "text": "Brerkstad Moor is a city in Sithland ."}\n'
    )
    config = compose_recipe(
        "rl_stage2_real",
        [
            *("hardware=cpu", "setting=tinyworld", f"actor_rollout_ref.model.path={tmp_path}/model"),
            *("data.train_files=a", "data.val_files=b", f"autocoa.search.corpus={tmp_path}/corpus.jsonl"),
            f"trainer.default_local_dir={tmp_path}/out",
        ],
    )
    OmegaConf.resolve(config)
    return config, load_tokenizer(tmp_path / "model"), tmp_path


def run(world, turns, **row):
    config, tokenizer, _ = world
    server = ScriptedServer(tokenizer, turns)
    row = {
        "raw_prompt": [{"role": "user", "content": "In which country is Brerkstad Moor ?"}],
        "reward_model": {"ground_truth": ["Sithland"]},
        "uid": "u1",
        "session_id": 2,
        "global_steps": 3,
        "extra_info": {"split": "train", "question": "q"},
        "data_source": "test",
        **row,
    }

    async def main():
        loop = AutoCoAAgentLoop(
            DictConfigWrap(config),
            server,
            tokenizer,
            None,
            RLHFDataset,
            DictConfigWrap(config.data),
            hf_model_type="llama",
        )
        params = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "logprobs": True}
        return await loop.run(params, **row)

    return asyncio.run(main()), server


def test_ids_mask_and_log_probabilities_go_to_verl_side_by_side(world):
    output, server = run(world, [SEARCH, ANSWER])
    observation = server.asked[1]["prompt_ids"][len(server.asked[0]["prompt_ids"]) :]
    n_search = len(world[1].encode(SEARCH, add_special_tokens=False))
    n_answer = len(world[1].encode(ANSWER, add_special_tokens=False))
    n_observation = len(observation) - n_search
    assert output.prompt_ids + output.response_ids[: n_search + n_observation] == server.asked[1]["prompt_ids"]
    assert output.response_mask == [1] * n_search + [0] * n_observation + [1] * n_answer
    assert output.response_logprobs == [-0.5] * n_search + [0.0] * n_observation + [-0.5] * n_answer


def test_the_reward_is_set_in_the_loop_with_numbers_under_fixed_names(world):
    output, _ = run(world, [SEARCH, ANSWER])
    info = output.extra_fields["reward_extra_info"]
    assert output.reward_score == 1.0 and info["acc"] == 1.0 and info["format"] == 1.0
    assert info["real_calls"] == 1.0 and info["stop/answered"] == 1.0
    assert all(isinstance(value, float) for value in info.values())


def test_weight_versions_run_from_the_first_turn_to_the_last(world):
    output, _ = run(world, [SEARCH, ANSWER])
    assert (output.extra_fields["min_global_steps"], output.extra_fields["max_global_steps"]) == (3, 4)


def test_all_turns_of_a_trajectory_go_to_one_server_and_stop_at_special_tags_too(world):
    _, server = run(world, [SEARCH, ANSWER])
    assert {call["request_id"] for call in server.asked} == {"u1_2"}
    assert server.asked[0]["skip_special_tokens"] is False and "</end_search>" in server.asked[0]["stop"]


def test_very_different_trajectories_have_the_same_fields(world):
    outputs = [
        run(world, [SEARCH, ANSWER])[0],
        run(world, ["<think> </think> <|im_end|>"])[0],
        run(world, [ANSWER], reward_model={"ground_truth": None}, extra_info=None)[0],
        run(world, [], raw_prompt=[{"role": "user", "content": "Where ? " * 300}])[0],
    ]
    keys = [(set(output.extra_fields), set(output.extra_fields["reward_extra_info"])) for output in outputs]
    assert keys.count(keys[0]) == len(keys)
    assert len({frozenset(output.as_dict()) for output in outputs}) == 1


@pytest.mark.parametrize("truth", [None, [], "", ["  "], {"target": []}])
def test_a_row_without_gold_answer_scores_nothing_and_is_counted(world, truth):
    output, _ = run(world, [SEARCH, ANSWER], reward_model={"ground_truth": truth})
    assert output.reward_score == 0.0 and output.extra_fields["reward_extra_info"]["missing_gold"] == 1.0


def test_search_r1s_form_of_gold_answers_is_read(world):
    output, _ = run(world, [SEARCH, ANSWER], reward_model={"ground_truth": {"target": ["Spain", "Sithland"]}})
    assert output.reward_score == 1.0


def test_a_prompt_longer_than_the_context_costs_its_group_nothing(world):
    output, server = run(world, [], raw_prompt=[{"role": "user", "content": "Where ? " * 300}])
    assert server.asked == [] and output.response_mask == [0] and len(output.prompt_ids) == 32
    assert output.extra_fields["reward_extra_info"]["stop/prompt_too_long"] == 1.0


def test_the_trajectory_is_dumped_with_its_step_group_and_provenance(world):
    output, _ = run(world, [SEARCH, ANSWER])
    (row,) = read_dump(world[2] / "out" / "trajectories", "train", 3)
    assert row["uid"] == "u1" and row["info"]["session"] == 2 and row["info"]["golds"] == ["Sithland"]
    assert row["trajectory"].response_ids == output.response_ids
