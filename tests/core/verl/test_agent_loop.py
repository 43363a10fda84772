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
from autocoa_plugin import rewards
from autocoa_plugin.dump import read_dump
from autocoa_plugin.errors import ConfigError, ReplayError, ToolError
from autocoa_plugin.ledger import FIELDS
from autocoa_plugin.testing import ScriptedEnvironment
from autocoa_plugin.tinyworld.base_model import export_base
from autocoa_plugin.tinyworld.tokenizer import load_tokenizer
from autocoa_plugin.verl_adapters.agent_loop import AutoCoAAgentLoop
from autocoa_plugin.verl_adapters.chain_output import FATAL
from autocoa_plugin.verl_adapters.runtime import shared_runtime

SEARCH = "<think> First I need the country of Brerkstad Moor . <begin_search> Brerkstad Moor country </end_search>"
ANSWER = "So the country of Brerkstad Moor is Sithland . </think> \\boxed{ Sithland } <|im_end|>"
IMAGINED = "Brerkstad Moor : Brerkstad Moor is a city in Sithland . </search_result>"
SIMULATED = ("++autocoa.routing.policy=fixed", "++autocoa.routing.environment=world_model")


class ScriptedServer:
    """verl's server client, playing texts; remembers what it was asked."""

    def __init__(self, tokenizer, turns):
        self.tokenizer, self.turns, self.asked = tokenizer, iter(turns), []

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_):
        self.asked.append({"request_id": request_id, "prompt_ids": list(prompt_ids), **sampling_params})
        ids = self.tokenizer.encode(next(self.turns), add_special_tokens=False)
        extra = {"global_steps": 3, "min_global_steps": 3, "max_global_steps": 3 + len(self.asked) - 1}
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), stop_reason="completed", extra_fields=extra)


def build_world(tmp_path, *overrides):
    """Configuration, tokenizer and one-document corpus."""
    export_base(tmp_path / "model")
    (tmp_path / "corpus.jsonl").write_text(
        '{"id": "1", "title": "Brerkstad Moor", "text": "Brerkstad Moor is a city in Sithland ."}\n'
    )
    config = compose_recipe(
        "rl_stage2_real",
        ["hardware=cpu", "setting=tinyworld", "data.train_files=a", "data.val_files=b", *overrides],
        {
            "actor_rollout_ref.model.path": f"{tmp_path}/model",
            "autocoa.search.corpus": f"{tmp_path}/corpus.jsonl",
            "trainer.default_local_dir": f"{tmp_path}/out",
        },
    )
    OmegaConf.resolve(config)
    return config, load_tokenizer(tmp_path / "model"), tmp_path


@pytest.fixture
def world(tmp_path):
    """Real search."""
    return build_world(tmp_path)


@pytest.fixture
def simulated(tmp_path):
    """The policy imagines every observation."""
    return build_world(tmp_path, *SIMULATED)


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


@pytest.mark.parametrize("truth", [True, [["Sithland"]], {"text": "Sithland"}])
def test_a_gold_answer_that_cannot_be_read_costs_no_other_rollout(world, truth):
    output, _ = run(world, [SEARCH, ANSWER], reward_model={"ground_truth": truth})
    assert output.reward_score == 0.0 and output.extra_fields["reward_extra_info"]["missing_gold"] == 1.0


@pytest.mark.parametrize(("truth", "acc"), [(72, 0.0), ([72.0, "Sithland"], 1.0), ('["Spain", "Sithland"]', 1.0)])
def test_a_number_and_a_list_in_a_text_are_gold_answers(world, truth, acc):
    output, _ = run(world, [SEARCH, ANSWER], reward_model={"ground_truth": truth})
    info = output.extra_fields["reward_extra_info"]
    assert (info["acc"], info["missing_gold"]) == (acc, 0.0)


def test_every_reward_has_the_keys_of_the_table(world, monkeypatch):
    monkeypatch.setattr(rewards, "PARTS", (*rewards.PARTS, "brevity"))
    shared_runtime(world[0], world[1]).environment = ScriptedEnvironment(lambda action: ReplayError("not on the tape"))
    outputs = [
        run(world, [ANSWER])[0],
        run(world, [ANSWER], reward_model={"ground_truth": None})[0],
        run(world, [SEARCH])[0],
    ]
    assert [output.extra_fields["reward_extra_info"]["brevity"] for output in outputs] == [0.0] * 3
    assert outputs[2].extra_fields[FATAL] == "not on the tape"


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


def test_real_observations_are_marked_in_a_mask_of_their_own(world):
    output, _ = run(world, [SEARCH, ANSWER])
    assert output.observation_mask == [1 - bit for bit in output.response_mask]
    assert 0 < sum(output.observation_mask) == output.extra_fields["reward_extra_info"]["real_observation_tokens"]


def test_an_imagined_observation_is_sampled_and_neither_trained_on_nor_taken_for_a_real_one(simulated):
    output, server = run(simulated, [SEARCH, IMAGINED, ANSWER])
    first, second, third = (call["prompt_ids"] for call in server.asked)
    n_search = len(second) - len(first) - 1  # the world model is shown the opening tag as well, one token
    n_observation = len(third) - len(first) - n_search
    n_imagined = len(simulated[1].encode(IMAGINED, add_special_tokens=False))
    assert output.prompt_ids + output.response_ids[: n_search + n_observation] == third
    assert output.response_ids[n_search + 1 :][:n_imagined] == simulated[1].encode(IMAGINED, add_special_tokens=False)
    assert output.response_mask[n_search:][:n_observation] == [0] * n_observation
    assert sum(output.response_mask) == len(output.response_ids) - n_observation
    assert output.observation_mask == [0] * len(output.response_ids)
    # sampled by the policy, so they have log-probabilities; the tags around them have none
    assert output.response_logprobs[n_search:][:n_observation].count(-0.5) == n_imagined


def test_a_simulated_trajectory_is_counted_as_one(simulated):
    info = run(simulated, [SEARCH, IMAGINED, ANSWER])[0].extra_fields["reward_extra_info"]
    assert (info["simulated_calls"], info["real_calls"], info["cached_calls"]) == (1.0, 0.0, 0.0)
    n_imagined = len(simulated[1].encode(IMAGINED, add_special_tokens=False))
    assert info["sampled_observation_tokens"] == n_imagined and info["real_observation_tokens"] == 0.0
    assert info["sampled_tokens"] == sum(info[f"{role}_tokens"] for role in ("thought", "action", "answer"))


def test_real_and_simulated_trajectories_have_the_same_fields(world, tmp_path):
    outputs = [
        run(world, [SEARCH, ANSWER])[0],
        run(build_world(tmp_path / "simulated", *SIMULATED), [SEARCH, IMAGINED, ANSWER])[0],
    ]
    keys = [(set(output.extra_fields), set(output.extra_fields["reward_extra_info"])) for output in outputs]
    assert keys[0] == keys[1] and set(outputs[0].as_dict()) == set(outputs[1].as_dict())


def test_every_field_of_the_ledger_is_a_number_of_the_trajectory(world):
    info = run(world, [SEARCH, ANSWER])[0].extra_fields["reward_extra_info"]
    assert {*FIELDS} - info.keys() == {"trajectories"}


def test_validation_is_real_while_training_is_simulated(simulated):
    output, server = run(simulated, [SEARCH, ANSWER], extra_info={"split": "val"})
    assert len(server.asked) == 2 and output.extra_fields["reward_extra_info"]["real_calls"] == 1.0


def test_a_replay_without_an_answer_becomes_a_row_that_teaches_nothing_and_says_why(world):
    normal, _ = run(world, [SEARCH, ANSWER])
    environment = ScriptedEnvironment(lambda action: ReplayError(f"{action.parameters!r} is not on the tape"))
    shared_runtime(world[0], world[1]).environment = environment
    output, _ = run(world, [SEARCH])
    assert output.extra_fields[FATAL] == "'Brerkstad Moor country' is not on the tape"
    assert output.extra_fields["reward_extra_info"]["fatal"] == 1.0
    assert normal.extra_fields[FATAL] == "" and normal.extra_fields["reward_extra_info"]["fatal"] == 0.0
    assert output.response_mask == output.observation_mask == [0] and output.reward_score == 0.0
    assert output.as_dict().keys() == normal.as_dict().keys()
    assert output.extra_fields.keys() == normal.extra_fields.keys()
    assert output.extra_fields["reward_extra_info"].keys() == normal.extra_fields["reward_extra_info"].keys()
    assert all(isinstance(value, float) for value in output.extra_fields["reward_extra_info"].values())
    assert (output.extra_fields["min_global_steps"], output.extra_fields["max_global_steps"]) == (3, 3)


def test_a_tool_that_fails_is_no_reason_to_end_the_run(world):
    shared_runtime(world[0], world[1]).environment = ScriptedEnvironment(lambda action: ToolError("down"))
    output, _ = run(world, [SEARCH, ANSWER])
    info = output.extra_fields["reward_extra_info"]
    assert output.extra_fields[FATAL] == "" and (info["tool_errors"], info["real_observation_tokens"]) == (1.0, 0.0)


def test_a_schedule_that_has_ended_ends_the_run(tmp_path):
    phases = "++autocoa.routing={policy:steps,phases:[{environment:world_model,steps:2}]}"
    output, _ = run(build_world(tmp_path, phases), [SEARCH])  # step 3
    assert "routing.phases cover 2 steps" in output.extra_fields[FATAL] and "step 3" in output.extra_fields[FATAL]


def test_a_configuration_that_cannot_be_built_in_the_worker_ends_the_run_too(tmp_path):
    world = build_world(tmp_path, "autocoa.limits.answer_reserve_tokens=1")
    output, server = run(world, [])
    assert "answer_reserve_tokens" in output.extra_fields[FATAL] and server.asked == []


def test_a_bug_is_not_hidden_as_a_fatal_row(world):
    with pytest.raises(TypeError, match="not iterable"):
        run(world, [SEARCH, ANSWER], raw_prompt=None)


# --- what is rewarded


PARTS_FILE = """
def brevity(judged):
    return 0.5


brevity.needs_golds = False


def broken(judged):
    return float("nan")


def sees(judged):
    row = judged.metadata
    seen = judged.question, row["ground_truth"], row["data_source"], row["split"], row["uid"], row["global_step"]
    return seen == ("q", ["Sithland"], "test", "train", "u1", 3)


async def asked(judged):
    return float(judged.question == "In which country is Brerkstad Moor ?")
"""


def rewarding(tmp_path, *overrides):
    """A world whose recipe names parts of a file."""
    (tmp_path / "own.py").write_text(PARTS_FILE)
    return build_world(tmp_path, *overrides)


def part(tmp_path, name, weight=1):
    return f"++autocoa.reward.parts.{name}={{use: '{tmp_path}/own.py:{name}', weight: {weight}}}"


def info_of(output):
    return output.extra_fields["reward_extra_info"]


def test_a_part_of_ones_own_is_rewarded_and_counted_in_every_row(tmp_path):
    world = rewarding(tmp_path, part(tmp_path, "brevity", 0.2), "++autocoa.reward.parts.f1=0.3")
    outputs = [
        run(world, [SEARCH, ANSWER])[0],
        run(world, [ANSWER], reward_model={"ground_truth": None})[0],
        run(world, [], raw_prompt=[{"role": "user", "content": "Where ? " * 300}])[0],
    ]
    shared_runtime(world[0], world[1]).environment = ScriptedEnvironment(lambda action: ReplayError("not on the tape"))
    outputs.append(run(world, [SEARCH])[0])
    assert outputs[0].reward_score == pytest.approx(1.0 + 0.3 + 0.2 * 0.5) and outputs[3].extra_fields[FATAL]
    assert [info_of(output)["brevity"] for output in outputs] == [0.5, 0.5, 0.5, 0.0]
    assert {frozenset(info_of(output)) for output in outputs} == {frozenset(info_of(outputs[0]))}


def test_a_part_sees_the_question_and_the_row(tmp_path):
    world = rewarding(tmp_path, part(tmp_path, "sees"), part(tmp_path, "asked"))
    assert info_of(run(world, [SEARCH, ANSWER])[0])["sees"] == 1.0
    assert info_of(run(world, [SEARCH, ANSWER], extra_info={"split": "val"})[0])["asked"] == 1.0


def test_a_part_that_gives_no_number_ends_the_run_with_its_sentence(tmp_path):
    world = rewarding(tmp_path, part(tmp_path, "broken"))
    output, _ = run(world, [SEARCH, ANSWER])
    message = output.extra_fields[FATAL]
    assert message.startswith("part 'broken' of the reward (") and message.endswith("got float nan")
    assert output.response_mask == [0] and info_of(output)["fatal"] == 1.0 and info_of(output)["broken"] == 0.0


def test_a_part_that_cannot_be_imported_ends_the_run_in_the_worker_too(tmp_path):
    world = rewarding(tmp_path, part(tmp_path, "brevity"), "++autocoa.reward.parts.gone={use: 'gone.py:x', weight: 1}")
    output, server = run(world, [])
    assert output.extra_fields[FATAL].startswith("autocoa.reward.parts.gone: there is no file") and server.asked == []
    assert (info_of(output)["gone"], info_of(output)["brevity"]) == (0.0, 0.0)


def test_where_nothing_rewarded_needs_a_gold_answer_none_is_missing(tmp_path):
    world = rewarding(tmp_path, part(tmp_path, "brevity"), "++autocoa.reward.answer_weight=0")
    output, _ = run(world, [SEARCH, ANSWER], reward_model={"ground_truth": {"rubric": "be kind"}})
    assert (output.reward_score, info_of(output)["missing_gold"]) == (0.5, 0.0)


def test_no_name_of_a_row_can_be_the_name_of_a_part(world):
    info = info_of(run(world, [SEARCH, ANSWER])[0])
    for name in info:
        with pytest.raises(ConfigError, match="a part must have a name of its own"):
            rewards.RewardConfig(parts={name: rewards.PartConfig("own.py:x", 1.0)})


# --- verl's own reward function: reward.custom_reward_function


CUSTOM_FILE = """
SEEN = []


def compute_score(data_source, solution_str, ground_truth, extra_info, scale=1.0):
    SEEN.append({"data_source": data_source, "text": solution_str, "truth": ground_truth, "extra": extra_info})
    return {"score": 0.25 * scale, "other": 7.0, "pred": "x"}


async def later(data_source, solution_str, ground_truth, extra_info):
    return 0.75


def no_score(**_):
    return {"acc": 1.0}


def narrow(text):
    return 1.0
"""


def customized(tmp_path, name="compute_score", *overrides):
    (tmp_path / "custom.py").write_text(CUSTOM_FILE)
    knob = f"reward.custom_reward_function.path={tmp_path}/custom.py"
    return build_world(tmp_path, knob, f"reward.custom_reward_function.name={name}", *overrides)


def test_verls_reward_function_stands_in_place_of_the_metric_and_parts_are_added(tmp_path):
    scale = "+reward.custom_reward_function.reward_kwargs.scale=2"
    world = customized(tmp_path, "compute_score", scale, "++autocoa.reward.parts.f1=0.5")
    output, _ = run(world, [SEARCH, ANSWER])
    assert output.reward_score == 0.5 + 0.5 and info_of(output)["custom_reward_function"] == 0.5
    assert info_of(output)["acc"] == 1.0 and not {"other", "pred", "score"} & info_of(output).keys()


def test_verls_reward_function_is_given_what_verl_gives_it(tmp_path):
    world = customized(tmp_path)
    output, _ = run(world, [SEARCH, ANSWER], reward_model={"ground_truth": {"any": ["thing"]}})
    rewarder = shared_runtime(world[0], world[1]).rewarder
    (seen,) = rewarder._custom.function._function.args[0].__globals__["SEEN"]
    assert seen["text"] == world[1].decode(output.response_ids, skip_special_tokens=True)
    assert "Brerkstad Moor is a city" in seen["text"]  # the observation, as verl hands it
    assert (seen["data_source"], seen["truth"]) == ("test", {"any": ["thing"]})
    assert seen["extra"]["question"] == "q" and seen["extra"]["num_turns"] == output.num_turns == 3
    assert (seen["extra"]["autocoa_answer"], seen["extra"]["autocoa_stop_reason"]) == ("Sithland", "answered")
    assert output.reward_score == 0.25 and info_of(output)["missing_gold"] == 0.0


def test_an_asynchronous_reward_function_is_awaited(tmp_path):
    assert run(customized(tmp_path, "later"), [SEARCH, ANSWER])[0].reward_score == 0.75


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_score", "raised ValueError: a mapping needs the key 'score', got ['acc']"),
        ("narrow", "raised TypeError: narrow() got an unexpected keyword argument 'data_source'"),
    ],
)
def test_a_reward_function_that_gives_no_score_ends_the_run_with_its_sentence(tmp_path, name, message):
    output, _ = run(customized(tmp_path, name), [SEARCH, ANSWER])
    place = f"part 'custom_reward_function' of the reward (reward.custom_reward_function.path={tmp_path}/custom.py) "
    assert output.extra_fields[FATAL] == place + message
    assert info_of(output)["custom_reward_function"] == 0.0


def test_our_own_reward_function_for_other_loops_is_not_asked_by_ours(tmp_path):
    ours = "reward.custom_reward_function.path=pkg://autocoa_plugin.verl_adapters.reward"
    output, _ = run(build_world(tmp_path, ours), [SEARCH, ANSWER])
    assert output.reward_score == 1.0 and "custom_reward_function" not in info_of(output)
