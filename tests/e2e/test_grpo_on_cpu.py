"""verl's own trainers, Ray and a vLLM CPU server on the embedded world: three short SFT stages, then two GRPO steps.

One run (about three minutes), many properties. `witness.py` writes down what vLLM was fed and what the actor trained
on, so that the rollout's own records are checked against something that is not ours.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="needs the extra verl")
pytest.importorskip("vllm", reason="needs the extra cpu")

from omegaconf import DictConfig, ListConfig, OmegaConf
from rl_launch import launch, rl_command
from trained import SHORT_STEPS, STAGES, Trained

from autocoa_plugin.answers import exact_match
from autocoa_plugin.dump import read_dump
from autocoa_plugin.runs.identity import model_fingerprint
from autocoa_plugin.runs.process import read_steps
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD
from autocoa_plugin.trajectory import Role

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
STEPS, PROMPTS, SAMPLES = 2, 4, 4

PREFIX = "contrastive/"
MEASURES = {"loss", "chosen_logp", "rejected_logp", "margin", "pair_accuracy", "replay_loss", "displacement"}


@pytest.fixture(scope="module")
def run(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run: world/, stages/, rl/trajectories/, metrics.jsonl, witness/."""
    folder = tmp_path_factory.mktemp("grpo")
    (folder / "world").symlink_to(trained.world.folder)
    (folder / "stages").symlink_to(trained.stages)
    (folder / "witness").mkdir()
    small = (
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.rollout.n={SAMPLES}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8",
        "data.val_max_samples=16",
    )
    launch(
        rl_command(trained.model, folder / "rl", seed=5, steps=STEPS, extra=small),
        folder / "rl.log",
        AUTOCOA_TINYWORLD=str(trained.world.folder),
        AUTOCOA_WITNESS=str(folder / "witness"),
        VERL_USE_EXTERNAL_MODULES="witness",
        PYTHONPATH=os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
        VERL_FILE_LOGGER_PATH=str(folder / "metrics.jsonl"),
    )
    return folder


def seen(run: Path, kind: str) -> list[dict]:
    files = sorted((run / "witness").glob(f"{kind}.*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def dumped(run: Path, split: str) -> list[dict]:
    return list(read_dump(run / "rl" / "trajectories", split))


def metrics(run: Path, step: int) -> dict[str, float]:
    rows = read_steps(run / "metrics.jsonl")
    return {key: value for row in rows if row["step"] == step for key, value in row["data"].items()}


def stage_folders(run: Path) -> list[Path]:
    return [run / "stages" / "-".join(STAGES[: index + 1]) for index in range(len(STAGES))]


def composed(folder: Path) -> DictConfig | ListConfig:
    """The configuration as hydra wrote it down when the program started."""
    return OmegaConf.load(folder / "hydra" / ".hydra" / "config.yaml")


def test_each_stage_started_from_the_hugging_face_checkpoint_of_the_one_before(run):
    start = run / "world" / "base"
    for folder in stage_folders(run):
        written = (folder / "model").resolve()
        assert Path(composed(folder).model.path).resolve() == start.resolve()
        assert written.name == "huggingface" and (written / "model.safetensors").is_file()
        assert model_fingerprint(written) != model_fingerprint(start)
        start = written
    assert Path(composed(run).actor_rollout_ref.model.path).resolve() == start


def test_contrastive_measures_of_every_step_are_plain_numbers_in_the_metrics_of_stage_1(run):
    steps = read_steps(stage_folders(run)[0] / "launches" / "000" / "metrics.jsonl")
    assert [row["step"] for row in steps] == list(range(1, SHORT_STEPS + 1))
    for row in steps:
        measures = {name.removeprefix(PREFIX): value for name, value in row["data"].items() if name.startswith(PREFIX)}
        assert measures.keys() >= MEASURES and {type(value) for value in measures.values()} == {float}
        assert measures["margin"] == pytest.approx(measures["chosen_logp"] - measures["rejected_logp"], abs=1e-5)
        assert 0 <= measures["pair_accuracy"] <= 1


def test_every_group_was_rolled_out_trained_on_and_dumped(run):
    rows = dumped(run, "train")
    assert len(rows) == STEPS * PROMPTS * SAMPLES == len(seen(run, "trained"))
    assert set(Counter((row["step"], row["uid"]) for row in rows).values()) == {SAMPLES}


def test_the_ids_trained_on_are_the_ids_of_the_trajectories(run):
    trained = Counter(tuple(row["input_ids"]) for row in seen(run, "trained"))
    recorded = Counter((*t.prompt_ids, *t.response_ids) for t in (row["trajectory"] for row in dumped(run, "train")))
    assert trained == recorded


def test_every_call_of_vllm_was_fed_a_prefix_of_a_trajectory_and_continued_it(run):
    trajectories = [row["trajectory"] for split in ("train", "val") for row in dumped(run, split)]
    whole = {(*each.prompt_ids, *each.response_ids) for each in trajectories}
    prefixes = {ids[:end] for ids in whole for end in range(len(ids) + 1)}
    fed = seen(run, "fed")
    assert all((*row["prompt"], *row["sampled"]) in prefixes for row in fed)
    assert len(fed) == sum(each.counts.turns for each in trajectories)


def test_every_observation_token_has_mask_zero_and_every_other_sampled_token_one(run):
    masks = {tuple(row["input_ids"]): row["response_mask"] for row in seen(run, "trained")}
    observations = 0
    for trajectory in (row["trajectory"] for row in dumped(run, "train")):
        mask = iter(masks[(*trajectory.prompt_ids, *trajectory.response_ids)])
        for segment in trajectory.segments:
            expected = int(segment.role is not Role.OBSERVATION and segment.source == "policy")
            assert [next(mask) for _ in segment.ids] == [expected] * len(segment.ids)
            observations += segment.role is Role.OBSERVATION
    assert observations > 0  # otherwise the test has shown nothing


def test_rollout_and_actor_agree_on_the_log_probabilities(run):
    gaps = []
    for row in seen(run, "trained"):
        pairs = zip(row["response_mask"], row["rollout_log_probs"], row["old_log_probs"], strict=True)
        gaps += [abs(rollout - actor) for bit, rollout, actor in pairs if bit]
    gap = sum(gaps) / len(gaps)
    print(f"mean |log p_rollout - log p_actor| = {gap:.2e} over {len(gaps)} tokens")
    assert len(gaps) > 100 and gap < 0.02


def test_the_reward_was_earned_by_policy_text_only(run):
    for row in dumped(run, "train"):
        trajectory = row["trajectory"]
        own = "".join(
            segment.text if segment.role in (Role.THOUGHT, Role.ANSWER) else "\0" for segment in trajectory.segments
        )
        answer = TINYWORLD.extract_answer(own.rpartition("\0")[2])
        assert row["reward_parts"]["exact_match"] == float(exact_match(answer, row["info"]["golds"]))


def test_our_counters_are_in_verls_training_metrics_and_agree_with_the_dump(run):
    for step in range(1, STEPS + 1):
        rows, logged = [row for row in dumped(run, "train") if row["step"] == step], metrics(run, step)
        assert logged["autocoa/trajectories"] == len(rows)
        assert logged["autocoa/real_calls/sum"] == sum(row["trajectory"].counts.real_calls for row in rows)
        assert logged["autocoa/exact_match"] == pytest.approx(
            sum(row["reward_parts"]["exact_match"] for row in rows) / len(rows)
        )
        shares = [value for key, value in logged.items() if key.startswith("autocoa/stop/")]
        assert sum(shares) == pytest.approx(1.0)


def test_validation_reports_exact_match_by_number_of_hops(run):
    logged = metrics(run, STEPS)
    assert "val-core/tinyworld_1hop/acc/mean@1" in logged
