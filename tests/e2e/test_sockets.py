"""Other people's parts in verl's own trainer: a tool, a protocol, a reward and an author of `examples/harbour`; MCP.

Two launches of two GRPO steps (about a minute and a half each): everything is named from the recipe. Then `evaluate`
and `chat` take the same parts from a settings file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

pytest.importorskip("verl", reason="needs the extra verl")
pytest.importorskip("vllm", reason="needs the extra cpu")

from rl_launch import launch, rl_command
from trained import Trained

from autocoa_plugin.dump import read_dump
from autocoa_plugin.runs.files import read_json
from autocoa_plugin.trajectory import Origin, Outcome, Role, Segment, Trajectory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
STEPS, PROMPTS, SAMPLES = 2, 4, 4
HARBOUR = "examples/harbour"  # as a user in the checkout names it: every worker finds it from the working directory
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the embedded world's corpus says of each name, as the third party's table."""
    lines = (trained.world.folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    file = tmp_path_factory.mktemp("table") / "facts.json"
    file.write_text(json.dumps({row["title"]: row["text"] for row in rows}), encoding="utf-8")
    return file


def harbour(table: Path) -> dict[str, Any]:
    """The parts of `examples/harbour`, as they stand under `autocoa:`."""
    return {
        "protocol": f"{HARBOUR}/protocol.py:HARBOUR",
        "tools": [{"tide": {"use": f"{HARBOUR}/tool.py:Tide", "arguments": {"table": str(table)}}}],
        "reward": {"parts": {"brevity": {"use": f"{HARBOUR}/reward.py:brevity", "weight": 0.1}}},
        "world_model": {"author": f"{HARBOUR}/author.py:HarbourMaster"},
    }


def mcp_server(table: Path, died: Path) -> dict[str, Any]:
    """The tool of an MCP server that is started as a process."""
    command = [sys.executable, str(Path(__file__).parent / "facts_server.py"), str(table), str(died)]
    return {"tools": [{"facts": {"use": "mcp", "arguments": {"command": command}}}]}


def spelled(value: Any) -> str:
    """A value as hydra reads it on the command line."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{spelled(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    return "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def train(trained: Trained, folder: Path, autocoa: Mapping[str, Any]) -> Path:
    """Two GRPO steps with these keys under `autocoa:`; returns the run's folder."""
    small = (
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.rollout.n={SAMPLES}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8",
        "trainer.val_before_train=false",
        "trainer.save_freq=-1",
        "data.val_max_samples=8",
        *(f"++autocoa.{key}={spelled(value)}" for key, value in autocoa.items()),
    )
    launch(
        rl_command(trained.model, folder / "rl", seed=5, steps=STEPS, extra=small),
        folder / "rl.log",
        AUTOCOA_TINYWORLD=str(trained.world.folder),
        VERL_FILE_LOGGER_PATH=str(folder / "metrics.jsonl"),
    )
    return folder


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows of the training dump, their trajectories rebuilt."""
    return list(read_dump(run / "rl" / "trajectories", "train"))


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a file of samples, their trajectories rebuilt."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [{**row, "trajectory": Trajectory.from_dict(row["trajectory"])} for row in rows]


def observations(rows: Sequence[Mapping[str, Any]]) -> list[Segment]:
    """The observations with their calls, notices left out."""
    segments = [segment for row in rows for segment in row["trajectory"].segments]
    return [each for each in segments if each.call is not None and each.call.origin is not Origin.NOTICE]


# ----------------------------------------------------------------------------------- a third party's parts, in training


@pytest.fixture(scope="module")
def run(trained: Trained, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    phases = [{"environment": "world_model", "steps": 1}, {"environment": "real", "steps": 1}]
    keys = {"search": None, **harbour(table)}
    keys["routing"] = {"policy": "steps", "tools": ["tide"], "phases": phases}
    keys["reward.parts"] = keys.pop("reward")["parts"]
    keys["world_model.author"] = keys.pop("world_model")["author"]
    return train(trained, tmp_path_factory.mktemp("harbour"), keys)


def test_every_rollout_of_both_steps_is_there_in_the_third_partys_protocol(run):
    rows = rows_of(run)
    assert Counter(row["step"] for row in rows) == {1: PROMPTS * SAMPLES, 2: PROMPTS * SAMPLES}
    assert {row["trajectory"].protocol for row in rows} == {"harbour"}


def test_the_third_partys_author_answers_the_first_step_and_its_tool_the_second(run, table):
    facts = read_json(table)
    imagined, real = (observations([row for row in rows_of(run) if row["step"] == step]) for step in (1, 2))
    assert imagined and real  # the policy acts in both
    assert {(each.call.tool, each.call.origin) for each in imagined} == {("tide", Origin.WORLD_MODEL)}
    assert {(each.call.tool, each.call.origin) for each in real} == {("tide", Origin.REAL)}
    assert all("is a city ." in each.text for each in imagined)
    answered = [each for each in real if each.call.outcome is Outcome.OK]
    assert answered and all(any(fact in each.text for fact in facts.values()) for each in answered)


def test_the_third_partys_part_is_in_every_reward_and_in_its_sum(run):
    for row in rows_of(run):
        parts, segments = row["reward_parts"], row["trajectory"].segments
        words = sum(len(each.text.split()) for each in segments if each.role is Role.THOUGHT)
        assert parts["brevity"] == pytest.approx(max(0.0, 1 - words / 40))
        earned = parts["exact_match"] + 0.1 * parts["brevity"]
        assert row["reward"] == pytest.approx(earned - 0.1 * (1 - parts["format"]))


def test_a_run_is_made_with_the_content_of_the_third_partys_files(run):
    made_with = read_json(run / "rl" / "experiment.json")["made_with"]
    sources = {key for key in made_with if key.endswith(".source")}
    assert {"autocoa.tools.tide.source", "autocoa.world_model.author.source"} <= sources
    assert made_with["autocoa.tools.tide.use"] == "tool.py:Tide"


# ------------------------------------------------------------------------------------------ the same parts, in commands


def settings_file(trained: Trained, folder: Path, keys: Mapping[str, Any]) -> Path:
    """The world's own settings file, with these keys in the place of its tool."""
    content = yaml.safe_load(trained.world.settings.read_text(encoding="utf-8"))
    beside = str(trained.world.folder) + "/"
    lab = {name: value.replace("./", beside) for name, value in content["lab"].items() if isinstance(value, str)}
    del content["autocoa"]["search"]
    lab = {name: value for name, value in lab.items() if name != "methods"}
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({"autocoa": {**content["autocoa"], **keys}, "lab": lab}), encoding="utf-8")
    return file


def autocoa(*words: str | Path) -> str:
    """Run a command as it is typed; returns what it prints."""
    line = [sys.executable, "-m", "autocoa_plugin.cli", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_evaluate_and_chat_take_the_same_parts_from_a_settings_file(trained, table, tmp_path):
    settings = settings_file(trained, tmp_path, harbour(table))
    folder = tmp_path / "evaluation"
    autocoa("evaluate", "--model", trained.model, "--settings", settings, "--limit", 8, "-o", folder)
    rows = read_rows(folder / "samples.jsonl")
    assert len(rows) == 8 and {row["trajectory"].protocol for row in rows} == {"harbour"}
    assert {each.call.tool for each in observations(rows)} == {"tide"}
    assert all("brevity" in row["reward_parts"] for row in rows)
    made_with = read_json(folder / "run.json")
    assert "tools.tide.source" in json.dumps(made_with)

    saved = tmp_path / "chat.jsonl"
    question = rows[0]["info"]["question"]
    autocoa("chat", trained.model, "--settings", settings, "--question", question, "--save", saved)
    (asked,) = read_rows(saved)
    assert asked["trajectory"].protocol == "harbour"
    assert {each.call.tool for each in observations([asked])} <= {"tide"}


def test_scorecard_and_synthesize_take_the_same_parts_from_a_settings_file(trained, table, tmp_path):
    settings = settings_file(trained, tmp_path, harbour(table))
    card = tmp_path / "card.json"
    printed = autocoa("scorecard", trained.model, "--settings", settings, "--limit", 2, "-o", card)
    assert "queries compared" in printed
    (judged,) = read_json(card)["cards"]
    assert judged["protocol"] == "harbour" and judged["real"]["tools"]["tools.tide.use"] == "tool.py:Tide"

    folder, questions = tmp_path / "synthesis", trained.world.folder / "train.parquet"
    model = ("--model", trained.model, "--settings", settings)
    autocoa("synthesize", questions, *model, "--limit", 8, "-o", folder)
    made_with = json.dumps(read_json(folder / "run.json"))
    assert "tools.tide.source" in made_with and '"harbour"' in made_with


# ------------------------------------------------------------------------------------------------------- an MCP server


@pytest.fixture(scope="module")
def mcp_run(trained: Trained, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mcp", reason="needs the extra mcp")
    folder = tmp_path_factory.mktemp("mcp")
    return train(trained, folder, {"search": None, **mcp_server(table, folder / "died")})


def test_an_mcp_server_that_is_killed_in_mid_run_costs_no_trajectory_and_is_counted(mcp_run):
    rows = rows_of(mcp_run)
    assert (mcp_run / "died").is_file()  # it was killed, in its sixth call
    assert Counter(row["step"] for row in rows) == {1: PROMPTS * SAMPLES, 2: PROMPTS * SAMPLES}
    asked = [each.call for each in observations(rows)]
    failed = [each for each in asked if each.outcome is Outcome.ERROR]
    assert 1 <= len(failed) < len(asked) and all("ToolUnavailableError" in each.error for each in failed)
    assert sum(row["trajectory"].counts.tool_errors for row in rows) == len(failed)
    last = observations([row for row in rows if row["step"] == STEPS])
    assert any(each.call.outcome is Outcome.OK for each in last)  # it came back


def test_chat_asks_an_mcp_server(trained, table, tmp_path):
    pytest.importorskip("mcp", reason="needs the extra mcp")
    (tmp_path / "died").touch()
    settings = settings_file(trained, tmp_path, {"protocol": "tinyworld", **mcp_server(table, tmp_path / "died")})
    saved = tmp_path / "chat.jsonl"
    rows = pq.read_table(trained.world.folder / "val.parquet", columns=["prompt"]).to_pylist()[:8]
    questions = [word for row in rows for word in ("--question", row["prompt"][-1]["content"])]
    autocoa("chat", trained.model, "--settings", settings, *questions, "--save", saved)
    asked = observations(read_rows(saved))
    assert asked and all(each.call.origin is Origin.REAL for each in asked)
    assert any(each.call.outcome is Outcome.OK for each in asked)
