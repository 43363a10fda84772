"""Attempts played by the real loop, for the tests of the gates."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from autocoa_plugin import AUTOCOA, Codec, Limits, rollout, score
from autocoa_plugin.environments.scripted import Answer
from autocoa_plugin.lab.asking.player import Sample
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.synthesize.attempt import Attempt, Kind, Request, Usage
from autocoa_plugin.lab.synthesize.gate import GateSettings
from autocoa_plugin.lab.synthesize.gates import failed_gates
from autocoa_plugin.protocol import Protocol
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment

TOKENIZER = CharTokenizer()
ROOMY = Limits(max_response_tokens=20_000, answer_reserve_tokens=200, max_observation_tokens=4_000)


def search(query: str) -> str:
    return f"<begin_search>{query}</end_search>"


def boxed(answer: str) -> str:
    return f"</think> \\boxed{{{answer}}}<eos>"


def attempt(
    turns: Sequence[str],
    answers: Mapping[str, Answer] | None = None,
    *,
    question: str = "What is the capital of France?",
    golds: Sequence[str] = ("Paris",),
    kind: Kind = Kind.COA,
    error: str | None = None,
    limits: Limits = ROOMY,
    protocol: Protocol = AUTOCOA,
) -> Attempt:
    """Let a script answer a question; `answers` are the tool's by query."""
    codec = Codec(TOKENIZER, protocol)
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    world = ScriptedEnvironment(answers or {})
    prompt = TOKENIZER.encode("q<think>" if protocol.thought else "q")
    trajectory = asyncio.run(rollout(prompt, engine=engine, environment=world, codec=codec, limits=limits))
    reward = score(trajectory, golds, protocol)
    sample = Sample(Question("q1", question, tuple(golds)), 0, trajectory, reward, 0.1, error=error)
    return Attempt(Request(kind, 0), sample, Usage())


def found(subject: Attempt, settings: GateSettings | None = None, *, is_right: bool = True) -> tuple[str, ...]:
    """The gates that find something."""
    return failed_gates(subject, settings or GateSettings(), is_right=is_right)
