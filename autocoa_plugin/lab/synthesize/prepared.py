"""A job with everything but its engine: tokenizer, both prompts, the tool, and what its attempts will depend on.

No model is loaded here, so whatever does not fit together is refused within seconds.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...answers import METRIC_VERSION
from ...assembly import build_environment
from ...config import require, to_mapping
from ...data.records import Message
from ...engines.base import Engine
from ...engines.model_folder import load_tokenizer
from ...environments.base import Environment
from ...errors import EngineError
from ...prompts import get_prompt
from ...protocol import get_protocol
from ...runs.folder import read_run
from ...runs.identity import Identity, digest, flatten, model_fingerprint
from ...settings import Settings
from ...tokenization import Codec
from ...tokenization import fingerprint as tokenizer_fingerprint
from ..asking.methods import get_method
from ..asking.model import Kind, ask_served_model, end_ids, engine_kind, job_tokenizer, model_name
from ..asking.prompting import Prompting, shot_messages
from ..asking.question import Question
from ..asking.questions import questions_identity
from ..asking.world import environment_name, world_identity
from .attempt import Attempt, SynthesisFolder
from .job import SynthesisJob
from .next_attempt import Judge, Plan
from .provenance import Prompt, Provenance, public_name
from .rows import RowMaker
from .schedule import paced
from .teacher import Teacher, Way

_REAL = ("real", "cassette")


@dataclass(frozen=True)
class Prepared:
    """A job with everything but its engine; `cot` and `coa` spell a question for the two ways of asking.

    `kind` "own": the engine is the caller's.
    """

    job: SynthesisJob
    questions: Sequence[Question]
    kind: Kind | Literal["own"]
    codec: Codec
    cot: Prompting
    coa: Prompting
    nobody: Environment
    tool: Environment
    fingerprint: Identity

    @property
    def judge(self) -> Judge:
        """What is kept."""
        return Judge(self.job.acceptance, self.job.gates)

    def synthesizer(self, engine: Engine) -> Synthesizer:
        """Who writes the chains, with an engine."""
        job, rate = self.job, self.job.requests_per_minute
        teacher = Teacher(
            engine=paced(engine, None if rate is None else rate / max(1, job.ray_workers)),
            codec=self.codec,
            cot=Way(self.cot.ids, self.nobody, job.cot.limits),
            coa=Way(self.coa.ids, self.tool, job.coa.limits),
            tool=self.codec.protocol.tool(job.coa.tools[0]),
            sampling=job.sampling(),
            reward=job.coa.reward,
            prices=job.prices,
            seed=job.rules.seed,
        )
        return Synthesizer(teacher, self.plan)

    @property
    def plan(self) -> Plan:
        """What the teacher is asked next."""
        return Plan(self.job.rules, self.judge, self.codec)

    @property
    def teacher_name(self) -> str:
        """What the teacher is called in rows and on the screen: the served model's name, or the folder's."""
        served = self.fingerprint.model["content"] if self.kind == "server" else None
        return str(served or model_name(self.job.model))

    @property
    def prompts(self) -> dict[str, Prompt]:
        """The system prompts: of the two ways of asking, and ("training") the one that the recipes put before rows."""
        cot, coa = (_prompt(each.system_prompt) for each in (self.job.cot, self.job.coa))
        return {"cot": cot, "coa": coa, "training": coa}

    def rows(self) -> RowMaker:
        """Makes rows of attempts for the job's student; raises `ConfigError` or `TokenizerError` for its tokenizer."""
        student = self.codec
        if self.job.student is not None:
            student = Codec(load_tokenizer(Path(self.job.student)), self.codec.protocol)
        prompting = Prompting(student.tokenizer, self.job.coa.system_prompt)

        def training_prompt(question: Question) -> tuple[Sequence[Message], Sequence[int]]:
            messages = [Message(each["role"], each["content"]) for each in question.conversation()]
            return messages, prompting.ids(question)

        provenance = Provenance(public_name(self.teacher_name), self.prompts["cot"], self.prompts["coa"])
        return RowMaker(self.codec, student, training_prompt, provenance, self.job.output.span)

    def about(self) -> dict[str, Any]:
        """What run.json says beside the fingerprint, JSON-ready."""
        job = self.job
        return {
            "model": job.model,
            "tokenizer": job.model,
            "server": job.server,
            "engine": self.kind,
            "questions": job.questions,
            "methods": {"cot": get_method(job.cot_method).name, "coa": get_method(job.coa_method).name},
            "settings": {"cot": to_mapping(job.cot), "coa": to_mapping(job.coa)},
            "command": sys.argv,
        }


def prepare(
    job: SynthesisJob,
    questions: Sequence[Question],
    folder: SynthesisFolder,
    *,
    engine: Engine | None = None,
    tokenizer: Any = None,
    served_model: str | None = None,
) -> Prepared:
    """Load the tokenizer, build the tool and name what the attempts depend on; no model is loaded.

    `engine` and its `tokenizer` come from the caller, or from the job; `served_model` is known to one who need not ask
    the server. Raises `ConfigError` for what does not fit
    together, `EngineError` when the job's server cannot be reached.
    """
    _check_world(job.coa)
    kind = "own" if engine is not None else engine_kind(job)
    tokenizer = job_tokenizer(job) if tokenizer is None else tokenizer
    codec = Codec(tokenizer, get_protocol(job.coa.protocol), end_ids=end_ids(job))
    for settings in (job.cot, job.coa):
        settings.limits.check(codec)
    cot, coa = (
        Prompting(tokenizer, settings.system_prompt, shot_messages(get_method(method).shots))
        for settings, method in ((job.cot, job.cot_method), (job.coa, job.coa_method))
    )
    name = job.model if kind == "own" else served_model
    if kind == "server" and name is None:
        name = _served_model(job, folder)
    nobody, tool = build_environment(job.cot), build_environment(job.coa)
    fingerprint = fingerprint_of(job, questions, cot, coa, engine=kind, served_model=name)
    return Prepared(job, questions, kind, codec, cot, coa, nobody, tool, fingerprint)


def _prompt(name: str | None) -> Prompt:
    return Prompt(name, get_prompt(name) if name else "")


def _check_world(settings: Settings) -> None:
    found = environment_name(settings)
    require(
        found in _REAL,
        f"observations of training data must come from a tool, but {found!r} answers: give a corpus or a search server",
    )


def _served_model(job: SynthesisJob, folder: SynthesisFolder) -> str:
    """Ask the server, so that one that is not there is found at once and not after all patience is spent."""
    try:
        return asyncio.run(ask_served_model(job))
    except EngineError:
        run = read_run(folder)
        if run is None:
            raise
        # perhaps nothing is left to ask; where something is, the server is missed then
        return job.served_model or run["fingerprint"]["model"]["content"]


# What the attempts of a job depend on: a folder goes on with these only, and attempts of other jobs stay out of it.
#
# How data sets are made of attempts (`rules.Output`) is not among it: the same command with another span or balance
# makes them anew and asks nobody.


def fingerprint_of(
    job: SynthesisJob,
    questions: Sequence[Question],
    cot: Prompting,
    coa: Prompting,
    *,
    engine: str,
    served_model: str | None = None,
) -> Identity:
    """Name everything that the job's attempts depend on; `engine` is an `engine_source.Kind`, or "own".

    As `evaluation.identity.fingerprint_of`; `cot` and `coa` are the two ways of asking. Raises `OSError` when the
    model's folder cannot be read.
    """
    return Identity(
        questions=questions_identity(job.questions, questions),
        metric={
            "version": METRIC_VERSION,
            "accept": str(job.acceptance),
            **flatten(to_mapping(job.gates), "gates."),
        },
        world={**world_identity(job.coa), **flatten(to_mapping(job.cot.limits), "cot.limits.")},
        protocol={"name": job.coa.protocol, "digest": digest(asdict(get_protocol(job.coa.protocol)))},
        prompt={**_named("cot", cot), **_named("coa", coa)},
        sampling={
            "temperature": job.temperature,
            "top_p": job.sampling().options.get("top_p", 1.0),
            **flatten(to_mapping(job.rules), "rules."),
        },
        model={
            "content": served_model or model_fingerprint(job.model),
            "tokenizer": tokenizer_fingerprint(coa.tokenizer),
            "engine": engine,
        },
    )


def _named(way: str, prompting: Prompting) -> dict[str, Any]:
    return {f"{way}.{name}": value for name, value in prompting.identity().items()}


# All chains of one question, one after another: what is next is the plan's business, writing it the teacher's.


@dataclass(frozen=True)
class Synthesizer:
    """A teacher that follows a plan."""

    teacher: Teacher
    plan: Plan

    async def attempts(self, question: Question, done: Sequence[Attempt]) -> AsyncIterator[Attempt]:
        """Yield what is missing of a question, each chain begun only when it is asked for.

        Raises `EngineError` when the engine fails.
        """
        every = list(done)
        while (request := self.plan.next(question, every)) is not None:
            every.append(await self.teacher.write(question, request, self.plan.parent(request, every)))
            yield every[-1]
