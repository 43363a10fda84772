"""What a job's numbers depend on: fills the parts of a `Fingerprint`.

Nothing here names this machine: corpora and models go by their content, servers by what they serve. Keys are flat
("limits.max_actions"), so that a refusal can name the one that differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..answers import METRIC_VERSION
from ..cassette.header import corpus_identity
from ..config import to_mapping
from ..presets import get_protocol
from ..questions.files import questions_identity
from ..questions.question import Question
from ..settings import Settings
from ..stages.fingerprint import file_fingerprint, model_fingerprint
from ..stages.identity import flatten, without
from ..tokenizer_check import fingerprint as tokenizer_fingerprint
from .fingerprint import Fingerprint, digest
from .job import EvaluationJob
from .prompting import Prompting

# where and how fast an author answers, not what
_UNRELATED = ("world_model.url", "world_model.api_key_env", "world_model.timeout_s", "world_model.max_*")


def fingerprint_of(
    job: EvaluationJob,
    questions: Sequence[Question],
    prompting: Prompting,
    *,
    engine: str,
    served_model: str | None = None,
) -> Fingerprint:
    """Name everything that the job's results depend on; `engine` is an `engine_source.Kind`.

    The world's index must have been built. A server's model goes by the name it is served under (`served_model`), a
    folder by its content. No judge is named: whoever asks one adds it. Raises `OSError` when the folder cannot be read.
    """
    return Fingerprint(
        questions=questions_identity(job.questions, questions),
        metric={"version": METRIC_VERSION, "judge": None, **flatten(to_mapping(job.settings.reward), "reward.")},
        world=world_identity(job.settings),
        protocol={
            "name": job.settings.protocol,
            "digest": digest(asdict(get_protocol(job.settings.protocol))),
        },
        prompt=prompting.identity(),
        sampling={
            "temperature": job.temperature,
            "top_p": job.sampling().options.get("top_p", 1.0),
            "samples": job.samples,
            "seed": job.seed if job.temperature > 0 else None,
        },
        model={
            "content": served_model if job.server else model_fingerprint(job.model),
            "tokenizer": tokenizer_fingerprint(prompting.tokenizer),
            "engine": engine,
        },
    )


def world_identity(settings: Settings) -> dict[str, Any]:
    """Say who answers actions during evaluation ("real", "world_model", "cassette", "none", ...), and the budgets."""
    environment = environment_name(settings)
    world: dict[str, Any] = {"environment": environment, **flatten(to_mapping(settings.limits), "limits.")}
    if environment == "none":
        return world
    world["tools"] = list(settings.tools)
    if settings.search is not None and environment != "world_model":
        world |= {"backend": settings.search.backend, "top_k": settings.search.top_k} | _corpus(settings)
    if settings.cassette is not None and settings.cassette.mode != "record":
        tape = Path(settings.cassette.path)
        # a tape that is still being filled has no content to name
        world["cassette"] = file_fingerprint(tape) if settings.cassette.mode == "replay" else tape.name
    if environment not in ("real", "cassette"):
        world |= without(flatten(to_mapping(settings.world_model), "world_model."), _UNRELATED)
    if environment == "routed":
        world |= flatten(to_mapping(settings.routing), "routing.")
    return world


def environment_name(settings: Settings) -> str:
    """Who answers actions outside training: "none", "cassette", "real", "world_model", "routed" (now one, now other).

    "none" as well where no action is allowed.
    """
    routing, cassette = settings.routing, settings.cassette
    if not settings.tools or settings.limits.max_actions == 0:
        return "none"
    name = routing.environment if routing.policy == "fixed" else "routed"
    name = name if routing.validation == "same" else routing.validation
    return "cassette" if name == "real" and cassette is not None and cassette.mode == "replay" else name


def _corpus(settings: Settings) -> dict[str, Any]:
    search = settings.search
    assert search is not None
    identity: dict[str, Any] = {"corpus": corpus_identity(search)}
    if search.backend == "index":
        from ..retrieval.manifest import load

        manifest = load(Path(search.index_dir or f"{search.corpus}.index"))
        if manifest is not None:
            identity |= {"index": manifest.engine, "analyzer": manifest.analyzer, "passages": manifest.passages}
    return identity
