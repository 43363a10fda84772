"""Attempts with literal texts, played by the real loop, and what makes data sets of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from made_samples import made_fingerprint
from playing import CODEC

from autocoa_plugin import Codec, Limits, rollout, score
from autocoa_plugin.answering import SearchSettings
from autocoa_plugin.data.records import Message
from autocoa_plugin.lab.asking.model import Model
from autocoa_plugin.lab.asking.player import Sample
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.asking.questions import QuestionSource
from autocoa_plugin.lab.asking.world import World
from autocoa_plugin.lab.synthesize.attempt import Attempt, Cut, Kind, Request, Usage
from autocoa_plugin.lab.synthesize.data_card import Run
from autocoa_plugin.lab.synthesize.data_set import Assembled, assemble
from autocoa_plugin.lab.synthesize.job import Output, SynthesisJob
from autocoa_plugin.lab.synthesize.provenance import Prompt, Provenance
from autocoa_plugin.lab.synthesize.training_rows import RowMaker
from autocoa_plugin.settings import Settings
from autocoa_plugin.testing import ScriptedEngine, ScriptedEnvironment

HEAD = "<think>Which city is it? I am not sure. "
SEARCH = "<begin_search>capital of France</end_search>"
FOUND = "Paris is the capital of France."
THOUGHT = "I recall that it is "
COT, COA = Prompt("autocoa_no_tool", "Answer without a tool."), Prompt("autocoa_search", "Search where needed.")


def question(id: str = "q1", text: str | None = None, group: str = "HotpotQA") -> Question:
    """A question whose answer is Paris."""
    return Question(id, text or f"What is the capital of France, asked as {id}?", ("Paris",), group=group)


def played(turns: Sequence[str], *, codec: Codec = CODEC, found: str = FOUND, prompt: str = "<user>ask<assistant>"):
    """Let a script answer under the teacher's own prompt; the tool finds `found`."""
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    world = ScriptedEnvironment(lambda _: found)
    limits = Limits(max_response_tokens=20_000, answer_reserve_tokens=200, max_observation_tokens=10_000)
    return asyncio.run(rollout(codec.encode(prompt), engine=engine, environment=world, codec=codec, limits=limits))


def attempt(
    asked: Question, kind: Kind, turns: Sequence[str], number: int = 0, *, cut: Cut | None = None, **how: Any
) -> Attempt:
    """One attempt; it took 2 requests, 30 tokens were shown and 40 sampled, it cost 0.01 and 0.5 seconds."""
    chain = played(turns, **how)
    codec = how.get("codec", CODEC)
    sample = Sample(asked, number, chain, score(chain, asked.golds, codec.protocol), 0.5, seed=7)
    return Attempt(Request(kind, number, cut), sample, Usage(2, 30, 40, 0.01))


def ends(answer: str) -> str:
    return f"</think>\\boxed{{{answer}}}<eos>"


def recalled(asked: Question, answer: str = "Paris", number: int = 0, kind: Kind = Kind.COT, **how: Any) -> Attempt:
    """A chain that recalls its answer and does not act."""
    return attempt(asked, kind, [f"{HEAD}{THOUGHT}{answer}.{ends(answer)}"], number, **how)


def searched(asked: Question, answer: str = "Paris", number: int = 0, kind: Kind = Kind.COA, **how: Any) -> Attempt:
    """A chain that searches once."""
    return attempt(asked, kind, [HEAD + SEARCH, f" So it is {answer}.{ends(answer)}"], number, **how)


def cut_at(text: str = HEAD, *, parent: int = 0, strategy: Any = "step", codec: Codec = CODEC) -> Cut:
    """A cut after `text`."""
    return Cut(parent, len(codec.encode(text)), strategy)


def act(asked: Question, number: int = 0, answer: str = "Paris", **how: Any) -> Attempt:
    """The wrong recollection, changed: it searches."""
    return searched(asked, answer, number, Kind.ACT, cut=cut_at(), **how)


def think(asked: Question, number: int = 0, answer: str = "Paris", **how: Any) -> Attempt:
    """The wrong search, changed: it recalls."""
    return recalled(asked, answer, number, Kind.THINK, cut=cut_at(strategy="uncertainty"), **how)


def act_pair(asked: Question) -> list[Attempt]:
    """A wrong recollection and the search that comes out right."""
    return [recalled(asked, "Rome"), act(asked)]


def think_pair(asked: Question) -> list[Attempt]:
    """A wrong search and the recollection that comes out right."""
    return [searched(asked, "Rome", found="Rome is a city."), think(asked)]


def run_of(folder: Path, *, ended: Any = "complete", **output: Any) -> Run:
    """A run whose job writes into `folder`; near-duplicates are kept unless `output` says otherwise."""
    job = SynthesisJob(
        QuestionSource("hotpotqa"),
        Model("/home/someone/models/teacher-32b"),
        folder,
        cot=World(Settings(tools=()), "model_only"),
        coa=World(Settings(search=SearchSettings(corpus="wiki.jsonl"))),
        output=Output(**{"near_duplicate": None, **output}),
    )
    return Run(
        job=job,
        fingerprint=made_fingerprint(questions={"source": "hotpotqa", "count": 3}),
        cot=COT,
        coa=COA,
        training=COA,
        ended=ended,
        created="2026-01-01T00:00:00+00:00",
        command=["autocoa", "synthesize", "hotpotqa", "-o", "data"],
    )


def row_maker(student: Codec = CODEC, *, teacher: Codec = CODEC, **changed: Any) -> RowMaker:
    """Rows for a student whose prompt is another one than the teacher's."""

    def prompt(asked: Question) -> tuple[list[Message], list[int]]:
        return [Message("user", asked.question)], student.encode(f"<user>{asked.question}<assistant>")

    provenance = Provenance("teacher-32b", COT, COA)
    return RowMaker(**{"teacher": teacher, "student": student, "prompt": prompt, "provenance": provenance, **changed})


def assembled(
    folder: Path,
    attempts: Sequence[Attempt],
    *,
    rows: RowMaker | None = None,
    order: Callable[[list[Attempt]], list[Attempt]] = list,
    run: Run | None = None,
    **output: Any,
) -> Assembled:
    """Assemble attempts into `folder`; `order` is that in which those of a question come."""
    questions = {each.sample.question.id: each.sample.question for each in attempts}
    of = {id: order([each for each in attempts if each.sample.question.id == id]) for id in questions}
    run = run or run_of(folder, **output)
    rows = rows or row_maker(span=run.job.output.span)
    return assemble(run, questions.values(), lambda asked: of[asked.id], rows)
