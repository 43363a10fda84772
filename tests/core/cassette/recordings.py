"""What the tests of the cassette share: a header, entries, an environment to ask, and processes that record."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from hypothesis import strategies as st

from autocoa_plugin import AUTOCOA, Codec
from autocoa_plugin.cassette.header import Header
from autocoa_plugin.cassette.tape import Entry, Tape
from autocoa_plugin.engines.base import Sampling
from autocoa_plugin.environments.base import Asking, Context, Observation, answer_safely
from autocoa_plugin.environments.cassette import CassetteEnvironment
from autocoa_plugin.protocol import Action
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.trajectory import Origin

# any code point, lone surrogates included
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
HEADER = Header("autocoa", "search_r1", 3, "http://localhost/retrieve")
CODEC = Codec(CharTokenizer(), AUTOCOA)
TRICKY = {
    "ascii": "Paris",
    "ünïcödé 日本 😀": "Größe 日本 😀 e\u0301",
    "newlines": "a\nb\r\nc\rd\u2028e\u0085f",
    "controls": "\t\x01\x07\x1b[31m\x7f\ufeff",
    "nul": "a\x00b",
    "half a surrogate \ud800": "before \udfff after",
    "two that JSON would join": "\ud83d\ude00",
    "nothing": "",
    "": "an empty query",
    " spaces ": " kept ",
    "it's; DROP TABLE answers--": "'\"%s?",
    "long": "x" * 300_000,
}


def entry(query="q", text="t", **changes):
    values = {
        "tool": "search",
        "outcome": "ok",
        "backend": "search_r1",
        "top_k": 3,
        "created": "2026-11-21T10:00:00.000000+00:00",
        "seconds": 0.25,
        "cost": 0.002,
        "host": "node",
        "pid": 7,
    }
    return Entry(query=query, text=text, **{**values, **changes})


def write(path, *entries, header=HEADER):
    with Tape.record(path, header) as tape, tape.transaction():
        for each in entries:
            tape.keep(each)
    return path


def read(path):
    with Tape.play(path) as tape:
        return list(tape.entries())


def context():
    return Context([1], CODEC, ScriptedEngine([]), Sampling(), 100, asking=Asking())


def ask(environment, *queries, tool="search", asking=None):
    async def all_of_them():
        return [
            await answer_safely(environment, Action(tool, each, 0, 1), asking or context(), timeout_s=None)
            for each in queries
        ]

    return asyncio.run(all_of_them())


def record(path, answers, *queries, mode="record", **options):
    """Record in an environment of its own; returns the observations and the scripted tool."""
    tool = ScriptedEnvironment(answers)
    environment = CassetteEnvironment(Tape.record(path, HEADER, **options), mode=mode, tool=tool)
    try:
        return ask(environment, *queries), tool
    finally:
        environment.close()


def replay(path, *queries, on_miss="observation"):
    environment = CassetteEnvironment(Tape.play(path), mode="replay", on_miss=on_miss)
    try:
        return ask(environment, *queries)
    finally:
        environment.close()


def record_as_a_process(path: Path, name: str, shared: int, own: int) -> None:
    """Record `shared` queries that every process asks, then `own` ones, all answered with this process's name."""
    answers = {f"shared {i}": f"{name} says {i} " + "x" * i for i in range(shared)}
    answers |= {f"{name} {i}": f"{name} alone {i}" for i in range(own)}
    tool = ScriptedEnvironment(lambda action: Observation(answers[action.parameters], Origin.REAL))
    environment = CassetteEnvironment(Tape.record(path, HEADER), mode="record", tool=tool)
    seen = ask(environment, *answers)
    environment.close()
    # what the policy saw, one line per query
    for query, observation in zip(answers, seen, strict=True):
        print(repr((query, observation.text, observation.error)))


if __name__ == "__main__":
    ready, go = Path(sys.argv[5] + ".ready"), Path(sys.argv[6])
    ready.touch()
    while not go.exists():
        time.sleep(0.001)
    record_as_a_process(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
