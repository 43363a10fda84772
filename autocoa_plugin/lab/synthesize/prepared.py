"""Prepare a synthesis: the two ways of asking a teacher, and who writes chains with them; no model is loaded here.

codec ──> Ways(cot, coa) ──┬── synthesizer(engine, plan, ...)     writes what is missing of a question
                           └── rows(...)                          makes rows of what is kept
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import to_mapping
from ...data.records import Message
from ...engines.base import Engine
from ...engines.model_folder import load_tokenizer
from ...lookup import Plug
from ...prompts import get_prompt, prompt_name
from ...runs.identity import flatten
from ...tokenization import Codec
from ..asking.player import TurnSampling
from ..asking.prompting import Prompting
from ..asking.question import Question
from ..asking.world import PreparedWorld
from .attempt import Attempt
from .job import Pace, Prices, Span
from .next_attempt import Plan
from .provenance import Prompt, Provenance, public_name
from .schedule import paced
from .teacher import Teacher, Way
from .training_rows import RowMaker


@dataclass(frozen=True)
class Ways:
    """Two ways of asking as one teacher sees them, without and with the tool; both have the codec of `coa`."""

    cot: PreparedWorld
    coa: PreparedWorld

    @property
    def codec(self) -> Codec:
        """Codec of the teacher."""
        return self.coa.codec

    @property
    def prompts(self) -> dict[str, Prompt]:
        """System prompts by name: of the two ways of asking, and ("training") the one that recipes put before rows."""
        cot, coa = (_prompt(each.prompting.system_prompt) for each in (self.cot, self.coa))
        return {"cot": cot, "coa": coa, "training": coa}

    def synthesizer(
        self, engine: Engine, plan: Plan, sampling: TurnSampling, prices: Prices, pace: Pace
    ) -> Synthesizer:
        """Make the synthesizer that writes the chains of a plan with an engine."""
        settings = self.coa.settings
        teacher = Teacher(
            engine=paced(engine, pace.of_one_process),
            codec=self.codec,
            cot=_way(self.cot),
            coa=_way(self.coa),
            tool=self.codec.protocol.tool(next(iter(settings.toolbox))),
            sampling=sampling.sampling(),
            rewarder=self.coa.rewarder,
            prices=prices,
            seed=plan.rules.seed,
        )
        return Synthesizer(teacher, plan)

    def rows(self, teacher: str, student: str | None, span: Span) -> RowMaker:
        """Make the maker of rows, from a teacher of that name for a student (None: the teacher itself).

        Raises `ConfigError` or `TokenizerError` for the student's tokenizer.
        """
        codec = self.codec if student is None else Codec(load_tokenizer(Path(student)), self.codec.protocol)
        asked = self.coa.prompting
        prompting = Prompting(codec.tokenizer, asked.system_prompt, protocol=asked.protocol)

        def training_prompt(question: Question) -> tuple[Sequence[Message], Sequence[int]]:
            messages = [Message(each["role"], each["content"]) for each in question.conversation()]
            return messages, prompting.ids(question)

        provenance = Provenance(public_name(teacher), self.prompts["cot"], self.prompts["coa"])
        return RowMaker(self.codec, codec, training_prompt, provenance, span)

    def identity(self) -> dict[str, dict[str, Any]]:
        """Parts "world", "protocol" and "prompt" of a fingerprint; the tool's index must have been built."""
        parts, without_tool = self.coa.identity(), self.cot.prompting.identity()
        limits = flatten(to_mapping(self.cot.settings.limits), "cot.limits.")
        prompts = {**flatten(without_tool, "cot."), **flatten(parts["prompt"], "coa.")}
        return {**parts, "world": {**parts["world"], **limits}, "prompt": prompts}


def _way(world: PreparedWorld) -> Way:
    return Way(world.prompting.ids, world.environment, world.settings.limits)


def _prompt(prompt: str | Plug | None) -> Prompt:
    return Prompt(prompt_name(prompt), get_prompt(prompt) if prompt else "")


# ------------------------------------------------------------------------------------------- all chains of one question


@dataclass(frozen=True)
class Synthesizer:
    """Synthesizer of one question's chains, one after another: the plan chooses the next, the teacher writes it."""

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
