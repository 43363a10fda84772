"""Preflight checks of a launch: one readable line when the configuration cannot work, before Ray or a model starts.

A hydra callback of our recipes: it runs in the launching process (under torchrun: in each) after the configuration is
composed and before verl's main function. For RL it also builds every tool there, the search index once and with a
progress bar, so that workers only open it; for SFT it arms the check that names the rows behind a loss that is not
finite. What is only found later, in the rows or inside Ray, ends as readably. `check_rl` holds what must fit together:

    routing ── trainer.total_training_steps, rollout.calculate_log_probs
    first_prompt ── data.shuffle, data.custom_cls
    world_model.url ── a server that answers
    search.corpus ── its index, built here once             cassette ── opens

A setting that is wrong by itself is refused in `settings.py`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..answering import WorldModelSettings
from ..assembly import build_environment, identity_of, protocol_of
from ..engines.openai_server import OpenAIServerEngine
from ..errors import AutoCoAError, ConfigError, EngineError
from ..runs.identity import flatten
from ..settings import Settings
from .prompt_dataset import check_golds, check_order, first_prompt, needs_golds
from .record_dataset import settings_of_data
from .resume import guard_resume
from .reward import check_reward
from .runtime import settings_of

Kind = Literal["rl", "sft", "pairs"]
_REQUIRED = {
    "rl": ("actor_rollout_ref.model.path", "data.train_files", "data.val_files", "actor_rollout_ref.rollout.name"),
    "sft": ("model.path", "data.train_files"),
    "pairs": ("model.path", "data.train_files"),
}
_PATHS = {"rl": "actor_rollout_ref.model.path", "sft": "model.path", "pairs": "model.path"}


class Preflight(Callback):
    """Checks the composed configuration; leaves with status 2 and one sentence on standard error.

    `kind`: "rl" for recipes of `verl.trainer.main_ppo`, "sft" for those of `verl.trainer.sft_trainer`, "pairs" for the
    contrastive stage.
    """

    def __init__(self, kind: Kind = "rl") -> None:
        self.kind: Kind = kind

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by hydra before the job; only `SystemExit` gets through its callback handling."""
        try:
            foreign = check(config, self.kind)
            guard_resume(config, "rl" if self.kind == "rl" else "sft", foreign=foreign)
        except (AutoCoAError, OmegaConfBaseException) as error:
            first_line = str(error).strip().splitlines()[0].removeprefix("autocoa: ")
            print(f"autocoa: {first_line}", file=sys.stderr)
            raise SystemExit(2) from error
        if self.kind == "sft":
            from .record_dataset import arm

            arm()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Called by hydra when the job is over: an error of ours, such as a bad row, is one sentence and status 1."""
        error = own_error(job_return._return_value)  # `return_value` would raise it
        if error is not None:
            print(f"autocoa: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            raise SystemExit(1) from error


def own_error(error: object) -> AutoCoAError | None:
    """Return the error of ours that a job ended with, None when it ended otherwise.

    An error that was raised inside Ray comes wrapped, once per process it passed through; its own text is a traceback.
    """
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    return error if isinstance(error, AutoCoAError) else None


def check(config: DictConfig, kind: Kind = "rl") -> dict[str, Any]:
    """Check versions, paths and our own settings; for RL build every tool, and the index if there is none yet.

    Returns what the recipe takes from others (`assembly.identity_of`, `RewardConfig.foreign`), which is part of what
    the run is made with.
    Raises `AutoCoAError` (its message is the sentence) or omegaconf's error for a value that is missing.
    """
    from . import plugin

    plugin.require_registered()
    for key in _REQUIRED[kind]:
        if OmegaConf.select(config, key) is None:  # null and ??? alike
            raise ConfigError(f"{key} is not set: give it on the command line, as {key}=...")
    for key, path in _paths(config, kind):
        if not os.path.exists(os.path.expanduser(path)):
            raise ConfigError(f"{key}={path} does not exist")
    if kind == "rl":
        settings_of(config)  # a setting that is wrong by itself comes first
        for key, path in _data_files(config) if needs_golds(config.data) else ():
            _check_golds(key, os.path.expanduser(path))
    if kind == "rl":
        return check_rl(config)
    _check_sft(config, kind)
    return {}


def _check_sft(config: DictConfig, kind: Kind) -> None:
    settings = settings_of_data(config.data)
    rows = 1
    if kind == "pairs":
        if settings.contrastive is None:
            raise ConfigError("autocoa.contrastive is not set: the contrastive stage needs at least alpha")
        rows = 2 + settings.contrastive.replay_per_pair
        if settings.contrastive.replay_per_pair and not config.data.replay_files:
            raise ConfigError(
                "data.replay_files is not set, but autocoa.contrastive.replay_per_pair="
                f"{settings.contrastive.replay_per_pair}: give records of kind coa, cot or text"
            )
    longest = rows * config.data.max_length
    if config.data.use_dynamic_bsz and config.data.max_token_len_per_gpu < longest:
        raise ConfigError(
            f"data.max_token_len_per_gpu={config.data.max_token_len_per_gpu} is smaller than what must stay in one "
            f"micro-batch: {rows} row{'s' if rows > 1 else ''} of data.max_length={config.data.max_length}, {longest}"
        )


def _paths(config: DictConfig, kind: Kind) -> Iterator[tuple[str, str]]:
    model = str(OmegaConf.select(config, _PATHS[kind]))
    # a model id such as "org/name" is left to the loader; anything that looks like a path must be there
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        yield _PATHS[kind], model
    yield from _data_files(config)


def _data_files(config: DictConfig) -> Iterator[tuple[str, str]]:
    for key in ("train_files", "val_files", "replay_files"):
        files = config.data.get(key) or []
        for path in [files] if isinstance(files, str) else list(files):
            yield f"data.{key}", path


def _check_golds(key: str, path: str) -> None:
    """Refuse, with `DataError`, unreadable gold answers of a parquet file; other files are left to the data set."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if "reward_model" in file.schema_arrow.names:
                batches = file.iter_batches(columns=["reward_model"])
                check_golds((row for batch in batches for row in batch["reward_model"].to_pylist()), f"{key}={path}")
    except (pa.ArrowException, OSError):
        return


# ---------------------------------------------------------------------- checks of an RL launch against verl's settings


_ANSWERS_WITHIN_S = 10.0


def check_rl(config: Any) -> dict[str, Any]:
    """Check an RL configuration, and build what its workers will build; returns what is taken from others.

    Raises `AutoCoAError`; its message is one sentence.
    """
    settings = settings_of(config)
    _check_ignored(config)
    check_reward(config, settings.reward)
    steps = config.trainer.get("total_training_steps")
    if steps is not None:  # else the data decide, and the trainer checks when it has read them
        settings.routing.check_steps(steps)
    _check_log_probs(settings, config)
    _check_first_prompt(settings, config.data)
    _check_files(settings)
    if imagines(settings):
        check_author(settings.world_model)
    return open_tools(settings) | flatten(settings.reward.foreign())


_OURS = "autocoa"  # the agent loop's name, in agent_loop.yaml
_TOOLS = "name the tools under autocoa.tools"
_REWARD = "use autocoa.reward, or reward.custom_reward_function"
_MULTI_TURN = "actor_rollout_ref.rollout.multi_turn"
_IGNORED: dict[str, tuple[Any, str]] = {
    f"{_MULTI_TURN}.tool_config_path": (None, _TOOLS),
    f"{_MULTI_TURN}.function_tool_path": (None, _TOOLS),
    "custom_reward_function.path": (None, "give reward.custom_reward_function.path"),
    "reward_model.reward_manager": (None, _REWARD),
    "reward.reward_manager.source": ("register", _REWARD),
    "reward.reward_manager.name": ("naive", _REWARD),
    "reward.reward_model.enable": (False, "give autocoa.reward.parts a part that asks the model"),
}


def _check_ignored(config: Any) -> None:
    """Refuse settings of verl that only verl's own agent loops read, or that verl itself reads no more."""
    if OmegaConf.select(config, "actor_rollout_ref.rollout.agent.default_agent_loop") != _OURS:
        return
    for key, (unset, instead) in _IGNORED.items():
        value = OmegaConf.select(config, key)
        if value is not None and value != unset:
            raise ConfigError(f"{key}={value} would be ignored by the agent loop {_OURS!r}: {instead}")


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
    if routing.own_policy != "uncertainty":
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
    if settings.search is not None and settings.needs_search:  # a replay asks no tool
        files["autocoa.search.corpus"] = settings.search.corpus
    for key, path in files.items():
        if path is not None and not os.path.isfile(os.path.expanduser(path)):
            raise ConfigError(f"{key}={path} does not exist")


def open_tools(settings: Settings) -> dict[str, Any]:
    """Build every tool, author and policy once, as the workers will, and close them again.

    Builds the search index if there is none yet, with a progress bar, and opens the cassette: refuses a tape of another
    protocol or corpus, and a replay of none. Returns what of it is not ours (`assembly.identity_of`).
    Raises `AutoCoAError`; its message is one sentence.
    """
    environment = build_environment(settings)
    try:
        protocol_of(settings, environment)
        return identity_of(settings, environment)
    finally:
        environment.close()
