"""Every example runs as its first lines say, and prints what it promises."""

from __future__ import annotations

import ast
import asyncio
import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from autocoa_plugin import Codec, Trajectory, rollout
from autocoa_plugin.assembly import build_environment, protocol_of
from autocoa_plugin.settings import Settings, load_settings
from autocoa_plugin.testing import (
    CharTokenizer,
    ScriptedEngine,
    check_author,
    check_protocol,
    check_reward,
    check_tool,
)
from autocoa_plugin.tinyworld import generate
from autocoa_plugin.tinyworld.tokenizer import build_tokenizer
from autocoa_plugin.trajectory import Origin, Outcome

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCHMARKS = EXAMPLES.parent / "benchmarks"
PRINTS = {
    "01_masked_rollout.py": [
        "observation  environment     0     97",
        "158 of 255 response tokens carry loss; stopped because: answered",
        "answer 'Bombay', exact match 1, reward 1.0",
    ],
    "02_two_tools.py": ["<calculate_result> 38.0917260177614 </calculate_result>", "3 real calls, 1 failed"],
    "03_own_environment.py": ["KeyError: 'Atlantis'", "3 actions, 1 tool error, 1 time-out", "answered"],
    "06_own_training_data.py": [
        "masked: 110 of 176 tokens carry loss",
        "trained: 174 of 176 tokens carry loss",
        "pair, 25 shared response tokens, the acting side is chosen",
        "a broken row: row 'row 2': ",
    ],
    "07_imagined_then_real.py": [
        "step 80, imagined: answer 'Lahore', reward 0.0",
        "calls: 0 real, 0 replayed, 1 imagined",
        "step 81, real: answer 'Bombay', reward 1.0",
        "calls: 0 real, 1 replayed, 0 imagined",
    ],
    "09_synthesize_hotpotqa.py": ["cot.parquet", "coa.parquet", "coa.card.md", "pairs.parquet", "pairs.card.md"],
    "08_evaluate_and_look.py": ["KeyError: 'Iliad'", "66.7", "explorer.html: 3 trajectories"],
    "12_own_reward.py": ["right     1.419", "nearly    0.443", "nothing   0.073"],
    "11_mcp_tools.py": ["no such port: Atlantis", "4 real calls, 2 tool errors; the rollout: answered"],
    "04_search_tinyworld.py": ["2 actions, 2 real calls, 0 cached", "2 actions, 0 real calls, 2 cached"],
}


@cache
def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("example", PRINTS)
def test_example_prints_what_it_promises(example: str) -> None:
    if "mcp" in example:
        pytest.importorskip("mcp", reason="needs the extra mcp")
    ended = run(example)
    assert ended.returncode == 0, ended.stderr
    assert [line for line in PRINTS[example] if line not in ended.stdout] == []


def test_the_perfect_policy_of_the_search_example_is_always_right() -> None:
    lines = [line for line in run("04_search_tinyworld.py").stdout.splitlines() if line.startswith("exact match")]
    assert len(lines) == 4 and all(line.split()[2] == "1" for line in lines)


def test_the_server_example_says_how_to_start_a_server() -> None:
    ended = run("05_any_openai_server.py", "--help")
    assert ended.returncode == 0 and "vllm serve" in ended.stdout


def test_the_second_generation_needs_a_first_one_and_says_so(tmp_path: Path) -> None:
    ended = run("10_second_generation.py", str(tmp_path / "demo"), str(tmp_path / "second"))
    assert ended.returncode == 2 and "$ autocoa synthesize -o " in ended.stdout
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("autocoa: ")]
    assert str(tmp_path / "demo" / "world") in line


def test_every_example_is_tried() -> None:
    tried = {*PRINTS, "05_any_openai_server.py", "10_second_generation.py"}
    assert {path.name for path in EXAMPLES.glob("[0-9]*.py")} == tried


@pytest.mark.parametrize("file", sorted([*EXAMPLES.glob("*.py"), *BENCHMARKS.glob("*.py")]), ids=lambda file: file.name)
def test_every_name_of_ours_that_a_program_imports_exists(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "autocoa_plugin":
            module = importlib.import_module(str(node.module))
            assert [each.name for each in node.names if not hasattr(module, each.name)] == []


# ------------------------------------------------------------------------------------- a package of somebody else's

TABLE = {"Dover": "high water at 4 .", "Port Talbot": "high water at 6 ."}


def harbour(**changes: object) -> Settings:
    """A recipe's settings with the four files, each named by its path."""
    folder = EXAMPLES / "harbour"
    recipe = {
        "protocol": f"{folder}/protocol.py:HARBOUR",
        "tools": {"tide": {"use": f"{folder}/tool.py:Tide", "arguments": {"table": TABLE}}},
        "world_model": {
            "author": {"use": f"{folder}/author.py:HarbourMaster", "arguments": {"sentence": "is a port ."}}
        },
        **changes,
    }
    return load_settings(recipe, max_response_tokens=2000)


def sail(settings: Settings, turns: list[str]) -> Trajectory:
    """Play the turns of a policy in the world of a recipe, built as every process of a run builds it."""
    environment = build_environment(settings)
    codec = Codec(CharTokenizer(), protocol_of(settings, environment))
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    prompt_ids = codec.encode("When is high water?")
    return asyncio.run(rollout(prompt_ids, engine=engine, environment=environment, codec=codec, limits=settings.limits))


ASK = " <begin_search> {} </end_search>"
ANSWER = " </think> \\boxed{ 4 }<eos>"


def test_the_four_files_of_the_harbour_keep_the_rules():
    files = {name: importlib.import_module(f"harbour.{name}") for name in ("tool", "protocol", "reward", "author")}
    protocol = files["protocol"].HARBOUR
    check_tool(files["tool"].Tide(TABLE), ["Dover", "Port Talbot"], protocol=protocol)
    check_protocol(protocol)
    check_protocol(protocol, build_tokenizer(generate()), query="0 + 1", answer="1")
    check_reward(files["reward"].brevity, protocol=protocol)
    check_author(files["author"].HarbourMaster(), protocol=protocol)


def test_the_harbour_tells_a_trajectory_everything_once_and_the_next_one_again():
    turns = ["<think>" + ASK.format("Dover"), ASK.format("Dover tide"), ASK.format("Atlantis"), ANSWER]
    for _ in range(2):
        trajectory = sail(harbour(), turns)
        first, second, third = trajectory.calls()
        assert [first.outcome, second.outcome, third.outcome] == [Outcome.OK, Outcome.EMPTY, Outcome.ERROR]
        assert third.error == "LookupError: no name of the table in 'Atlantis'"
        assert " <search_result> Dover : high water at 4 . </search_result> " in trajectory.text()


def test_the_harbour_master_imagines_what_the_tide_table_would_say():
    settings = harbour(routing={"tools": ["tide"], "environment": "world_model"})
    trajectory = sail(settings, ["<think>" + ASK.format("Dover"), ANSWER])
    (call,) = trajectory.calls()
    assert call.origin is Origin.WORLD_MODEL and call.tool == "tide"
    assert " <search_result> Dover : Dover is a port . </search_result> " in trajectory.text()


def test_the_harbours_reward_prefers_who_thinks_in_few_words():
    brevity = importlib.import_module("harbour.reward").brevity
    short, long = (sail(harbour(), [f"<think> {'hm ' * n}{ANSWER.strip()}"]) for n in (3, 30))
    judged = [SimpleNamespace(trajectory=trajectory) for trajectory in (short, long)]
    # "<think>", 3 times "hm" and "</think>" are 5 words; with 30 they are 32
    assert [brevity(each, words=40) for each in judged] == [1 - 5 / 40, 1 - 32 / 40]
