"""What must hold between our settings, verl's, and the world outside before an RL launch is worth starting.

    routing ── trainer.total_training_steps, rollout.calculate_log_probs
    first_prompt ── data.shuffle, data.custom_cls
    world_model.url ── a server that answers        search.corpus ── its index, built here once        cassette ── opens

What a setting alone can be wrong about is `settings.py`'s; which program calls this is `preflight.py`'s.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ..assembly import build_real, build_retriever
from ..engines.openai_server import OpenAIServerEngine
from ..environments.cassette import CassetteEnvironment
from ..environments.settings import WorldModelSettings
from ..errors import ConfigError, EngineError
from ..settings import Settings
from .prompt_order import check_order, first_prompt
from .runtime import settings_of

_ANSWERS_WITHIN_S = 10.0


def check_rl(config: Any) -> Settings:
    """Check an RL configuration; builds the search index if there is none yet, and opens the cassette.

    Raises `AutoCoAError`; its message is one sentence.
    """
    settings = settings_of(config)
    steps = config.trainer.get("total_training_steps")
    if steps is not None:  # else the data decide, and the trainer checks when it has read them
        settings.routing.check_steps(steps)
    _check_log_probs(settings, config)
    _check_first_prompt(settings, config.data)
    _check_files(settings)
    if imagines(settings):
        check_author(settings.world_model)
    _open_tools(settings)
    return settings


def imagines(settings: Settings) -> bool:
    """True when the world model may be asked, in training, validation or for the scorecard."""
    routing = settings.routing
    return routing.imagines or routing.validation == "world_model" or settings.scorecard is not None


def check_author(settings: WorldModelSettings, *, timeout_s: float = _ANSWERS_WITHIN_S) -> None:
    """Ask the server of a world model that is not the policy itself which models it serves.

    Raises `ConfigError` naming the URL and what to start, or what is wrong with its answer.
    """
    if settings.url is None:
        return
    try:
        asyncio.run(_connect(settings, timeout_s))
    except EngineError as error:
        what = "a checkpoint with the policy's tokenizer" if settings.author == "frozen" else "a chat model"
        raise ConfigError(
            f"autocoa.world_model.author={settings.author}: {' '.join(str(error).split())}; start a server with {what} "
            f"(`vllm serve MODEL`), or correct autocoa.world_model.url={settings.url}"
        ) from error


async def _connect(settings: WorldModelSettings, timeout_s: float) -> None:
    key = os.environ.get(settings.api_key_env) if settings.api_key_env else None
    if settings.api_key_env and not key:
        raise ConfigError(f"autocoa.world_model.api_key_env={settings.api_key_env}: there is no such variable")
    options = {"api_key": key, "timeout_s": timeout_s, "max_attempts": 1}
    engine = await OpenAIServerEngine.connect(str(settings.url), settings.model, **options)
    await engine.aclose()


def _check_log_probs(settings: Settings, config: Any) -> None:
    routing = settings.routing
    if routing.policy != "uncertainty":
        return
    if not config.actor_rollout_ref.rollout.calculate_log_probs:
        raise ConfigError(
            "autocoa.routing.policy=uncertainty reads log-probabilities, but "
            "actor_rollout_ref.rollout.calculate_log_probs=false"
        )
    if routing.uncertainty.of == "observation" and settings.world_model.author == "model":
        raise ConfigError(
            "autocoa.routing.uncertainty.of=observation reads the author's log-probabilities, and "
            "autocoa.world_model.author=model gives none: use of=query, or author=self or frozen"
        )


def _check_first_prompt(settings: Settings, data: Any) -> None:
    if settings.first_prompt != first_prompt(data):
        raise ConfigError(
            f"autocoa.first_prompt={settings.first_prompt} does not reach the data set, which is told "
            f"{first_prompt(data)}: the recipe needs data.autocoa: ${{autocoa}}"
        )
    check_order(data)


def _check_files(settings: Settings) -> None:
    files = {"autocoa.scorecard.queries": settings.scorecard.queries if settings.scorecard else None}
    if settings.search is not None and settings.needs_search:  # a replay asks nobody
        files["autocoa.search.corpus"] = settings.search.corpus
    for key, path in files.items():
        if path is not None and not os.path.isfile(os.path.expanduser(path)):
            raise ConfigError(f"{key}={path} does not exist")


def _open_tools(settings: Settings) -> None:
    if settings.cassette is not None:
        tape = build_real(settings)  # refuses a tape of another protocol or corpus, and a replay of none
        if isinstance(tape, CassetteEnvironment):
            tape.close()
    elif settings.search is not None and settings.search.backend == "index" and settings.needs_search:
        build_retriever(settings.search)
