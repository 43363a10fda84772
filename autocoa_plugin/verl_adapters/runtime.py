"""Objects shared by all trajectories of a worker process, built once (invariant 9); the budget shared by all workers.

    worker 0 ──┐
    worker 1 ──┼── take(step), give_back(step) ──> one named Ray actor: a `LocalBudget`
    worker 7 ──┘

The first worker that needs the budget starts the actor, which takes no CPU of the cluster and ends with that worker:
verl keeps its workers for the whole run. Asking it takes a millisecond (measured on 2 cores), next to a tool call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from ..answering import RoutingSettings
from ..assembly import build_environment, protocol_of
from ..dump import TrajectoryDump
from ..environments.router import Budget, LocalBudget
from ..errors import AutoCoAError
from ..prompts import check_template, prompt_ids
from ..rewards import CUSTOM, Reward, parts_of
from ..settings import Settings, load_settings
from ..tokenization import Codec, check_tokenizer
from ..trajectory import Trajectory
from .reward import build_rewarder, custom_path

_RUNTIMES: dict[int, tuple[Any, Runtime]] = {}


class Runtime:
    """Settings, codec, environment, reward and dump of one trainer configuration."""

    def __init__(self, config: Any, tokenizer: Any) -> None:
        rollout = config.actor_rollout_ref.rollout
        self.settings = settings_of(config)
        folder = config.actor_rollout_ref.model.get("tokenizer_path") or config.actor_rollout_ref.model.path
        check_tokenizer(tokenizer, folder, mode=self.settings.tokenizer_check)
        self.tokenizer = tokenizer
        self.environment = build_environment(self.settings, budget=shared_budget(config, self.settings.routing))
        self.codec = Codec(tokenizer, protocol_of(self.settings, self.environment))
        # without a tool there is nothing to tell the policy of, and a template need not know how
        self._told = self.codec.protocol if self.settings.toolbox else None
        if self._told is not None:
            check_template(tokenizer, self._told, system_prompt=self.settings.system_prompt)
        self.settings.limits.check(self.codec)
        self.rewarder = build_rewarder(config, self.settings.reward, tokenizer)
        self.prompt_length: int = rollout.prompt_length
        self.max_context_tokens: int = rollout.get("max_model_len") or self.prompt_length + rollout.response_length
        dump = self.settings.dump
        self._dump = TrajectoryDump(dump.folder, train_share=dump.train_share) if dump.folder else None

    def prompt_ids(self, messages: list[dict[str, Any]], template_options: dict[str, Any]) -> list[int]:
        """Apply the chat template, with the configured system prompt when the conversation has none."""
        name = self.settings.system_prompt
        return prompt_ids(
            self.tokenizer,
            messages,
            system_prompt=name,
            protocol=self._told,
            template_options=template_options,
        )

    def dump(
        self, trajectory: Trajectory, reward: Reward, golds: Sequence[str], row: Mapping[str, Any], step: int
    ) -> None:
        """Write the trajectory if this configuration keeps dumps; the split comes from `extra_info.split`."""
        if self._dump is None:
            return
        extra = row.get("extra_info")
        extra = dict(extra) if isinstance(extra, Mapping) else {}
        info = {
            "golds": list(golds),
            "data_source": row.get("data_source"),
            "session": row.get("session_id"),
            "question": extra.get("question"),
            "extra_info": extra,
        }
        split = str(extra.get("split", "train"))
        self._dump.write(trajectory, reward, step=step, split=split, uid=str(row.get("uid", "")), info=info)


def shared_runtime(config: Any, tokenizer: Any) -> Runtime:
    """Return the runtime of this process for `config`, building it at the first call."""
    key = id(config)
    if key not in _RUNTIMES:
        _RUNTIMES[key] = (config, Runtime(config, tokenizer))  # holding config keeps its id from being reused
    return _RUNTIMES[key][1]


def no_reward(config: Any) -> Reward:
    """Reward of a rollout that could not begin: 0, with the parts of all others as far as `config` can be read."""
    try:
        names = settings_of(config).reward.names
    except AutoCoAError:
        names = ()
    custom = (CUSTOM,) if custom_path(config) else ()
    return Reward(0.0, None, parts_of(**dict.fromkeys((*names, *custom), 0.0)), ())


def settings_of(config: Any) -> Settings:
    """Read and check the `autocoa` key of a trainer configuration; raises `ConfigError`."""
    node = config.get("autocoa")
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    mapping = {str(key): value for key, value in plain.items()} if isinstance(plain, Mapping) else {}
    return load_settings(mapping, max_response_tokens=config.data.max_response_length)


# -------------------------------------------------------------------------------------------- the budget of real calls


class RayBudget:
    """Budget for all workers of a run: a `LocalBudget` in the Ray actor `name`, started unless it is there already.

    `calls_per_step` counts when the actor is started. What an actor does is done one after the other: the count is
    exact.
    """

    def __init__(self, name: str, calls_per_step: int) -> None:
        import ray

        start: Any = ray.remote(LocalBudget).options(name=name, get_if_exists=True, num_cpus=0)
        self._actor: Any = start.remote(calls_per_step)

    async def take(self, step: int) -> bool:
        """Take one call of a step; False when none is left."""
        return await self._actor.take.remote(step)

    async def give_back(self, step: int) -> None:
        """Return a call that was taken and not made."""
        await self._actor.give_back.remote(step)


def shared_budget(config: Any, routing: RoutingSettings) -> Budget | None:
    """Find or make the budget of the run that `config` (verl's configuration) describes; None when calls are unlimited.

    Without Ray there is one process, and the budget is a local one.
    """
    if routing.real_calls_per_step is None:
        return None
    import ray

    if not ray.is_initialized():
        return LocalBudget(routing.real_calls_per_step)
    return RayBudget(f"autocoa-budget:{config.trainer.default_local_dir}", routing.real_calls_per_step)
