"""Every example runs as its first lines say, and prints what it promises."""

from __future__ import annotations

import ast
import asyncio
import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from autocoa_plugin import Codec, Limits, rollout
from autocoa_plugin.environments.router import Fixed, Router
from autocoa_plugin.environments.tools import Toolbox
from autocoa_plugin.environments.world_model import WorldModel
from autocoa_plugin.lookup import Plug, Socket
from autocoa_plugin.settings import WorldModelSettings
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
    "04_search_tinyworld.py": ["2 actions, 2 real calls, 0 cached", "2 actions, 0 real calls, 2 cached"],
}


@cache
def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("example", PRINTS)
def test_example_prints_what_it_promises(example: str) -> None:
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


def harbour(file: str, name: str, **arguments: object):
    """What a configuration would build of `examples/harbour/FILE:NAME`."""
    socket = Socket("autocoa.harbour", "an object", takes="function" if name == "brevity" else "object")
    return socket.build(Plug(f"{EXAMPLES / 'harbour' / file}:{name}", arguments), where=name)


HARBOUR = harbour("protocol.py", "HARBOUR")


def test_the_four_files_of_the_harbour_keep_the_rules():
    check_tool(harbour("tool.py", "Tide", table=TABLE), ["Dover", "Port Talbot"], protocol=HARBOUR)
    check_protocol(HARBOUR)
    check_protocol(HARBOUR, build_tokenizer(generate()), query="0 + 1", answer="1")
    check_reward(harbour("reward.py", "brevity", words=10), protocol=HARBOUR)
    check_author(harbour("author.py", "HarbourMaster", sentence="is a city ."), protocol=HARBOUR)


def sail(turns, *, authored: bool = False):
    """Play turns of a policy with the harbour's protocol and tool, or its world model in the tool's place."""
    codec = Codec(CharTokenizer(), HARBOUR)
    tide = harbour("tool.py", "Tide", table=TABLE)
    imagined = WorldModel(harbour("author.py", "HarbourMaster", sentence="is a port ."), WorldModelSettings())
    router = Router(
        {"real": tide, "world_model": imagined}, Fixed("world_model" if authored else "real"), validation="same"
    )
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    prompt_ids = codec.encode("When is high water?")
    rolling = rollout(prompt_ids, engine=engine, environment=Toolbox({"tide": router}), codec=codec, limits=Limits())
    return asyncio.run(rolling)


ASK = " <begin_search> {} </end_search>"
ANSWER = " </think> \\boxed{ 4 }<eos>"


def test_the_harbour_tells_a_trajectory_everything_once_and_the_next_one_again():
    turns = ["<think>" + ASK.format("Dover"), ASK.format("Dover tide"), ASK.format("Atlantis"), ANSWER]
    for _ in range(2):
        trajectory = sail(turns)
        first, second, third = trajectory.calls()
        assert [first.outcome, second.outcome, third.outcome] == [Outcome.OK, Outcome.EMPTY, Outcome.ERROR]
        assert third.error == "LookupError: no name of the table in 'Atlantis'"
        assert " <search_result> Dover : high water at 4 . </search_result> " in trajectory.text()
        assert HARBOUR.extract_answer(trajectory.final_run()) == "4"


def test_the_harbour_master_imagines_what_the_tide_table_would_say():
    trajectory = sail(["<think>" + ASK.format("Dover"), ANSWER], authored=True)
    (call,) = trajectory.calls()
    assert call.origin is Origin.WORLD_MODEL and call.tool == "tide"
    assert " <search_result> Dover : Dover is a port . </search_result> " in trajectory.text()
