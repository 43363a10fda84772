"""Folders that the version before has begun go on: what run.json says, and what its fingerprint names, as literals."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from assembled_chains import question, recalled
from made_samples import made_sample
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from autocoa_plugin import AUTOCOA, Codec
from autocoa_plugin.cli import main
from autocoa_plugin.dump import json_line

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
SERVER = "http://127.0.0.1:9/v1"  # where nobody listens
QUESTIONS = {
    "source": "q.jsonl",
    "count": 1,
    "sha256": "7e27823d500d00d4c9922a7dfa59ac262681c4ece739710cb11269c3b4177597",
}
LIMITS = {
    "max_actions": 10,
    "max_turn_tokens": 2048,
    "max_action_tokens": 128,
    "max_observation_tokens": 1024,
    "max_response_tokens": 8192,
    "answer_reserve_tokens": 64,
    "trajectory_timeout_s": None,
    "call_timeout_s": 30.0,
}
WORLD = {
    "environment": "real",
    **{f"limits.{name}": value for name, value in LIMITS.items()},
    "tools": ["search"],
    "backend": "search_r1",
    "top_k": 3,
    "corpus": "http://127.0.0.1:9/retrieve",
}
PROTOCOL = {"name": "autocoa", "digest": "9589808c7b2f0f47"}
MODEL = {"content": "scripted", "tokenizer": "864b15f5bae05049", "engine": "server"}
EVALUATED = {
    "questions": QUESTIONS,
    "metric": {
        "version": "1",
        "judge": None,
        "reward.metric": "exact_match",
        "reward.answer_weight": 1.0,
        "reward.format_penalty": 0.1,
        "reward.action_cost": 0.0,
    },
    "world": WORLD,
    "protocol": PROTOCOL,
    "prompt": {
        "system_prompt": "autocoa_search",
        "system_text": "c00279170ae58366",
        "shots": None,
        "chat_template": "80f72e49eebb3825",
    },
    "sampling": {"temperature": 0.5, "top_p": 0.9, "samples": 2, "seed": 3},
    "model": MODEL,
}
SYNTHESIZED = {
    "questions": QUESTIONS,
    "metric": {
        "version": "1",
        "accept": "exact_match",
        "gates.off": [],
        "gates.leaked_answer_characters": 3,
        "gates.repeated_run_words": 50,
        "gates.repeated_times": 4,
        "gates.repeated_words": 12,
        "gates.compression_window_characters": 1000,
        "gates.compression_ratio": 3.0,
        "gates.foreign_letter_share": 0.01,
    },
    "world": {**WORLD, **{f"cot.limits.{name}": value for name, value in LIMITS.items()}, "cot.limits.max_actions": 0},
    "protocol": PROTOCOL,
    "prompt": {
        "cot.system_prompt": "autocoa_no_tool",
        "cot.system_text": "89d29fbfdd85680e",
        "cot.shots": None,
        "cot.chat_template": "80f72e49eebb3825",
        "coa.system_prompt": "autocoa_search",
        "coa.system_text": "c00279170ae58366",
        "coa.shots": None,
        "coa.chat_template": "80f72e49eebb3825",
    },
    "sampling": {
        "temperature": 0.6,
        "top_p": 0.95,
        "rules.asked": "cot",
        "rules.cot_share": 0.5,
        "rules.attempts": 2,
        "rules.changed": 1,
        "rules.cuts": 3,
        "rules.strategies": ["step", "uncertainty"],
        "rules.seed": 0,
    },
    "model": MODEL,
}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """One id per byte."""
    marks = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<eos>"]
    tokenizer = Tokenizer(models.BPE(vocab={mark: id for id, mark in enumerate(marks)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path / "tok"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", chat_template=CHAT).save_pretrained(folder)
    return folder


def begun(folder: Path, about: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """What a session has left that was killed after its last rollout was kept."""
    folder.mkdir()
    run = {"schema_version": 1, **about, "started": time.time(), "seconds_before": 5.0, "fingerprint": fingerprint}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")


def again(command: str, folder: Path, tokenizer: Path, *more: object) -> dict[str, Any]:
    """Give the command that began the folder; returns the new run.json."""
    asked = question("q1")
    row = {"id": asked.id, "question": asked.question, "answer": asked.golds[0]}
    source = folder.parent / "q.jsonl"
    source.write_text(json.dumps(row) + "\n", encoding="utf-8")
    who = ["--model", tokenizer, "--server", SERVER, "--served-model", "scripted"]
    arguments = [command, source, "-o", folder, *who, "--search-url", "http://127.0.0.1:9/retrieve", *more]
    assert main([str(each) for each in arguments]) == 0
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def test_an_evaluation_goes_on(tmp_path: Path, tokenizer: Path) -> None:
    folder = tmp_path / "run"
    about = {
        "method": "tok",
        "configuration": "autocoa",
        "engine": "server",
        "server": "http://127.0.0.1:9/v1",
        "samples": 2,
        "training": {},
    }
    begun(folder, about, EVALUATED)
    rows = [made_sample("q1", "Paris", sample=number).to_row() for number in range(2)]
    (folder / "partial.jsonl").write_text("".join(map(json_line, rows)), encoding="utf-8")
    sampling = ("--samples", 2, "--temperature", 0.5, "--top-p", 0.9, "--seed", 3)
    run = again("evaluate", folder, tokenizer, *sampling)
    assert about.items() <= run.items() and run["fingerprint"] == EVALUATED
    assert run["model"] == run["tokenizer"] == str(tokenizer) and run["settings"]["limits"] == LIMITS
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["samples_per_question"] == 2


def test_a_synthesis_goes_on(tmp_path: Path, tokenizer: Path) -> None:
    folder = tmp_path / "data"
    about = {"server": "http://127.0.0.1:9/v1", "engine": "server", "methods": {"cot": "model_only", "coa": "autocoa"}}
    begun(folder, about, SYNTHESIZED)
    codec = Codec(AutoTokenizer.from_pretrained(str(tokenizer)), AUTOCOA)
    row = recalled(question("q1"), codec=codec).to_row()
    (folder / "attempts.jsonl").write_text(json_line(row), encoding="utf-8")
    run = again("synthesize", folder, tokenizer, "--ask", "cot", "--attempts", 2)
    assert about.items() <= run.items() and run["fingerprint"] == SYNTHESIZED
    assert (run["model"], run["tokenizer"], run["settings"]["coa"]["limits"]) == (
        str(tokenizer),
        str(tokenizer),
        LIMITS,
    )
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["ended"] == "complete"
