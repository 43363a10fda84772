"""One session of asking the teacher: which questions are not finished, where the engine comes from, who runs them.

nothing is missing      no engine is opened
an engine was brought   asked in this process
`ray_workers`           asked by the workers of a Ray Data pipeline, each with a connection of its own
else                    the job's server, a vLLM server of our own, or the model in this process
"""

from __future__ import annotations

import asyncio
import importlib
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from ..engines.base import Engine
from ..evaluation.engine_source import open_engine, served
from ..evaluation.refusals import Refusals
from ..evaluation.stop_signals import stop_signals
from ..questions.question import Question
from .attempt import Attempt
from .folder import SynthesisFolder
from .job import SynthesisJob
from .log import AttemptLog
from .prepared import Prepared, prepare
from .progress import SynthesisProgress
from .purse import Purse
from .run import Ended, run_questions
from .synthesizer import Synthesizer

# named, not imported, as `stages` names its programs: what needs Ray stands above this, with what needs verl
_RAY_PIPELINE = "autocoa_plugin.verl_adapters.ray_pipeline"


@dataclass(frozen=True)
class Asking:
    """What one session needs; the log has been read, purse and progress know what it holds."""

    prepared: Prepared
    folder: SynthesisFolder
    log: AttemptLog
    purse: Purse
    progress: SynthesisProgress

    def run(self, engine: Engine | None) -> Ended:
        """Ask for what is missing; `engine` is one that the caller brings, None: the job's. Raises as `synthesize`."""
        missing: list[Question] = []
        for question in self.prepared.questions:
            if self._is_finished(question, self.log.of(question)):
                self.progress.finish(question)
            else:
                missing.append(question)
        n_finished = len(self.prepared.questions) - len(missing)
        if not missing:
            return Ended("complete", n_finished, 0)
        ended = self._on_ray(missing) if self.prepared.job.ray_workers else self._here(missing, engine)
        return Ended(ended.reason, n_finished + ended.questions, ended.attempts)

    def _is_finished(self, question: Question, done: Sequence[Attempt]) -> bool:
        return self.prepared.plan.next(question, done) is None

    def _here(self, missing: Sequence[Question], engine: Engine | None) -> Ended:
        job, kind = self.prepared.job, self.prepared.kind
        if engine is not None or kind == "own":
            assert engine is not None
            return asyncio.run(self._ask(missing, engine))
        patience = job.patience if kind == "server" else {}  # a server of our own that has died does not come back

        def report(seconds: float, line: str) -> None:
            self.progress.say(f"vLLM starts, {seconds:.0f} s: {line[-60:]}")

        async def ask(url: str | None) -> Ended:
            async with open_engine(job, kind, url, **patience) as opened:
                return await self._ask(missing, opened)

        with served(job, kind, self.folder.server_log, report) as url:
            return asyncio.run(ask(url))

    async def _ask(self, missing: Sequence[Question], engine: Engine) -> Ended:
        stop, synthesizer = asyncio.Event(), self.prepared.synthesizer(engine)
        with stop_signals(stop):
            return await run_questions(
                missing,
                synthesizer.attempts,
                self.log,
                concurrency=self.prepared.job.concurrency,
                purse=self.purse,
                stop=stop,
                keep=self.progress.add,
                finish=self.progress.finish,
                is_finished=self._is_finished,
            )

    def _on_ray(self, missing: Sequence[Question]) -> Ended:
        run_on_ray = importlib.import_module(_RAY_PIPELINE).run_on_ray
        job, counts = self.prepared.job, _Counts()

        def keep(attempt: Attempt) -> None:
            self.log.keep(attempt)
            self.purse.count(attempt.cost)
            self.progress.add(attempt)
            counts.attempts += 1

        def finish(question: Question) -> None:
            self.progress.finish(question)
            counts.questions += 1

        refusals: Refusals[Attempt] = Refusals(keep, is_answering=bool(self.log.keys))
        try:
            has_all = run_on_ray(
                partial(ray_worker, job),
                ((each, self.log.of(each)) for each in missing),
                refusals.take,
                workers=job.ray_workers,
                at_a_time=math.ceil(job.concurrency / job.ray_workers),
                should_stop=lambda: not self.purse.may_begin(),
                finish=finish,
            )
        except KeyboardInterrupt:  # Ray has handlers of its own, so what is under way is given up
            return Ended("stopped", counts.questions, counts.attempts)
        refusals.finish()
        return Ended("complete" if has_all else "ceiling", counts.questions, counts.attempts)


@dataclass
class _Counts:
    questions: int = 0
    attempts: int = 0


@asynccontextmanager
async def ray_worker(job: SynthesisJob) -> AsyncIterator[Synthesizer]:
    """Open a worker of its own connection to the job's server, in whatever process this is."""
    prepared = prepare(job, (), SynthesisFolder(job.folder), served_model=job.served_model or "")
    async with open_engine(job, "server", job.server, **job.patience) as engine:
        yield prepared.synthesizer(engine)
