"""What all trajectories of one worker process share, built once from the trainer's configuration (invariant 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from ..assembly import build_environment
from ..dump import TrajectoryDump
from ..presets import get_protocol
from ..prompts import prompt_ids
from ..rewards import Reward
from ..settings import Settings, load_settings
from ..tokenization import Codec
from ..tokenizer_check import check_tokenizer
from ..trajectory import Trajectory
from .budget import shared_budget

_RUNTIMES: dict[int, tuple[Any, Runtime]] = {}


class Runtime:
    """Settings, codec, environment and dump of one trainer configuration."""

    def __init__(self, config: Any, tokenizer: Any) -> None:
        rollout = config.actor_rollout_ref.rollout
        self.settings = settings_of(config)
        folder = config.actor_rollout_ref.model.get("tokenizer_path") or config.actor_rollout_ref.model.path
        check_tokenizer(tokenizer, folder, mode=self.settings.tokenizer_check)
        self.tokenizer = tokenizer
        self.codec = Codec(tokenizer, get_protocol(self.settings.protocol))
        self.settings.limits.check(self.codec)
        self.environment = build_environment(self.settings, budget=shared_budget(config, self.settings.routing))
        self.prompt_length: int = rollout.prompt_length
        self.max_context_tokens: int = rollout.get("max_model_len") or self.prompt_length + rollout.response_length
        dump = self.settings.dump
        self._dump = TrajectoryDump(dump.folder, train_share=dump.train_share) if dump.folder else None

    def prompt_ids(self, messages: list[dict[str, Any]], template_options: dict[str, Any]) -> list[int]:
        """Apply the chat template, with the configured system prompt when the conversation has none."""
        name = self.settings.system_prompt
        return prompt_ids(self.tokenizer, messages, system_prompt=name, template_options=template_options)

    def dump(self, trajectory: Trajectory, reward: Reward, golds: list[str], row: Mapping[str, Any], step: int) -> None:
        """Write the trajectory if this configuration keeps dumps; the split comes from `extra_info.split`."""
        if self._dump is None:
            return
        extra = row.get("extra_info")
        extra = dict(extra) if isinstance(extra, Mapping) else {}
        info = {
            "golds": golds,
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


def settings_of(config: Any) -> Settings:
    """Read and check the `autocoa` key of a trainer configuration; raises `ConfigError`."""
    node = config.get("autocoa")
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    mapping = {str(key): value for key, value in plain.items()} if isinstance(plain, Mapping) else {}
    return load_settings(mapping, max_response_tokens=config.data.max_response_length)
