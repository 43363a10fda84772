"""Several real processes on one tape: nothing is lost or torn, and all show the policy the same text."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recordings import read

PROGRAM = str(Path(__file__).with_name("recordings.py"))
SHARED, OWN = 60, 40


def record_in_processes(folder, names):
    """Start processes, let them begin at the same moment, return what each showed its policy."""
    go, tape = folder / "go", folder / "tape"
    started = {
        name: subprocess.Popen(
            [sys.executable, PROGRAM, str(tape), name, str(SHARED), str(OWN), str(folder / name), str(go)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    }
    deadline = time.monotonic() + 50
    while not all((folder / f"{name}.ready").exists() for name in names):
        assert time.monotonic() < deadline, "the processes did not start"
        time.sleep(0.01)
    go.touch()
    seen = {}
    for name, process in started.items():
        output, errors = process.communicate(timeout=50)
        assert process.returncode == 0, errors
        rows = [ast.literal_eval(line) for line in output.splitlines()]
        assert all(error is None for _, _, error in rows)
        seen[name] = {query: text for query, text, _ in rows}
    return tape, seen


@pytest.mark.parametrize("names", [("anna", "berta"), ("a", "b", "c", "d")])
def test_processes_that_create_and_record_at_once_lose_nothing_and_agree(tmp_path, names):
    tape, seen = record_in_processes(tmp_path, names)
    entries = read(tape)
    assert len(entries) == SHARED + OWN * len(names)
    kept = {each.query: each.text for each in entries}
    for name in names:
        # what a policy read is what a replay will show it
        assert seen[name] == {query: kept[query] for query in seen[name]}
        assert [kept[f"{name} {i}"] for i in range(OWN)] == [f"{name} alone {i}" for i in range(OWN)]
    for i in range(SHARED):
        assert kept[f"shared {i}"] in [f"{name} says {i} " + "x" * i for name in names]
    assert len({(each.host, each.pid) for each in entries}) == len(names)
