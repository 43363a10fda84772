"""What the attempts of a job depend on: a folder goes on with these only, and attempts of other jobs stay out of it.

How data sets are made of attempts (`rules.Output`) is not among it: the same command with another span or balance makes
them anew and asks nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..answers import METRIC_VERSION
from ..config import to_mapping
from ..evaluation.fingerprint import Fingerprint, digest
from ..evaluation.identity import world_identity
from ..evaluation.prompting import Prompting
from ..presets import get_protocol
from ..questions.files import questions_identity
from ..questions.question import Question
from ..stages.fingerprint import model_fingerprint
from ..stages.identity import flatten
from ..tokenizer_check import fingerprint as tokenizer_fingerprint
from .job import SynthesisJob


def fingerprint_of(
    job: SynthesisJob,
    questions: Sequence[Question],
    cot: Prompting,
    coa: Prompting,
    *,
    engine: str,
    served_model: str | None = None,
) -> Fingerprint:
    """Name everything that the job's attempts depend on; `engine` is an `engine_source.Kind`, or "own".

    As `evaluation.identity.fingerprint_of`; `cot` and `coa` are the two ways of asking. Raises `OSError` when the
    model's folder cannot be read.
    """
    return Fingerprint(
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
