"""Settings under a recipe's key `autocoa:` as frozen dataclasses (invariant 10); verl's keys stay verl's.

    protocol: autocoa
    limits: {max_actions: 10}
    search: {backend: index, corpus: corpus.jsonl}      the real search tool
    world_model: {author: self}                         who imagines an observation instead
    routing: {policy: steps, phases: [{environment: world_model, steps: 80}, {environment: real, steps: 16}]}
    cassette: {path: run.cassette, mode: record}        real observations on tape

Everything is checked when the configuration is loaded; `assembly.py` builds the objects. What is named here need not be
ours: `lookup.py`; what a recipe takes from others is part of what its run was made with (`Settings.foreign`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .answering import (
    AUTHOR_NAMES,
    AUTHORS,
    BACKENDS,
    POLICY_NAMES,
    RETRIEVERS,
    ROUTING_POLICIES,
    SEARCHING,
    TOOL_NAMES,
    TOOLS,
    CassetteSettings,
    RoutingSettings,
    SearchSettings,
    Tools,
    WorldModelSettings,
    own,
)
from .config import from_mapping, require
from .errors import ConfigError
from .limits import Limits
from .lookup import Plug, Socket, is_path
from .prompts import PROMPTS, check_prompt, get_prompt, prompt_name
from .protocol import PROTOCOLS, ToolSpec, get_protocol
from .rewards import RewardConfig
from .runs.identity import digest


@dataclass(frozen=True)
class DumpSettings:
    """Trajectory dump: the folder, and the share of training trajectories (validation is always written whole)."""

    folder: str | None = None
    train_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.train_share <= 1:
            raise ConfigError(f"dump.train_share must be between 0 and 1, got {self.train_share}")


@dataclass(frozen=True)
class ScorecardSettings:
    """World-model scorecard during training, imagined against real observations: at first and then every `every` steps.

    `queries` is a file of queries (`lab.scorecard.queries`), of which the first `limit` of each group are used.
    `measured_by` is a class with `of(trainer)`, `is_due(step)`, `measure(step)` and `spent`, as `package.module:Name`.
    """

    queries: str
    every: int = 10
    limit: int = 100
    measured_by: str = "autocoa_plugin.lab.scorecard.in_training:TrainingScorecard"

    def __post_init__(self) -> None:
        for name in ("every", "limit"):
            if getattr(self, name) < 1:
                raise ConfigError(f"scorecard.{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Settings:
    """All settings of a recipe's key `autocoa:`.

    `protocol` is a preset, one that a package publishes, or yours. `tools` names the tools that are provided; where one
    is yours (`environments.base.Environment`, or a plain function), a mapping of its name to it stands in the list,
    or in place of the list: `[calculate, {tide: tool.py:tide}]`.
    `tokenizer_check` says what happens when the loaded tokenizer disagrees with the model's tokenizer.json.
    `system_prompt` names a prompt of `prompts.py` put before conversations that have no system message.
    `poll_interval_s` is how often the trainer asks for finished rollouts. `routing` chooses between a tool and
    `world_model`, action by action. `observation_loss` "cross_entropy" adds to GRPO's loss `observation_weight`
    (lambda) times the mean cross-entropy of real observation tokens (ECHO, arXiv:2605.24517). `first_prompt` skips so
    many prompts of the training file, for a stage that goes on where another one ended.
    """

    protocol: str | Plug = "autocoa"
    limits: Limits = field(default_factory=Limits)
    reward: RewardConfig = field(default_factory=RewardConfig)
    search: SearchSettings | None = None
    tools: Tools = ("search",)
    dump: DumpSettings = field(default_factory=DumpSettings)
    system_prompt: str | Plug | None = None
    tokenizer_check: Literal["error", "warn", "off"] = "error"
    poll_interval_s: float = 0.05
    world_model: WorldModelSettings = field(default_factory=WorldModelSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    cassette: CassetteSettings | None = None
    scorecard: ScorecardSettings | None = None
    observation_loss: Literal["masked", "cross_entropy"] = "masked"
    observation_weight: float = 0.0
    first_prompt: int = 0

    def __post_init__(self) -> None:
        protocol = get_protocol(self.protocol)
        for name, plug in self.toolbox.items():
            if is_path(name):
                raise ConfigError(
                    f"tools must give {name!r} a name, the one that the policy writes: tools: {{NAME: {name}}}"
                )
            found = own(plug, TOOL_NAMES, TOOLS, "tools" if plug == Plug(name) else f"tools.{name}")
            if found == name != "mcp":
                protocol.with_tools([ToolSpec(name)])  # other tools say only when they are built what they are
        if self.search is None and self.needs_search:
            needing = next(plug.use for name, plug in self.toolbox.items() if plug.use in SEARCHING and self.asks(name))
            raise ConfigError(f"search is required when tools include {needing!r}")
        if self.search is not None and self.needs_search:
            self.search.check()
        check_prompt(self.system_prompt)
        self._check_routing()
        require(self.first_prompt >= 0, f"first_prompt must be >= 0, got {self.first_prompt}")
        self._check_observation_loss()

    @property
    def toolbox(self) -> dict[str, Plug]:
        """What answers each tool, by its name, in the order of `tools`."""
        entries = [self.tools] if isinstance(self.tools, Mapping) else self.tools
        named = [{each: each} if isinstance(each, str) else each for each in entries]
        plugs = [(name, Plug.of(value)) for entry in named for name, value in entry.items()]
        names = [name for name, _ in plugs]
        twice = next((name for name in names if names.count(name) > 1), None)
        require(twice is None, f"tools name {twice!r} twice: the policy could not tell the two apart")
        return dict(plugs)

    @property
    def needs_search(self) -> bool:
        """True when the search tool itself may be asked, in training or validation, and not only a tape or a model."""
        return any(plug.use in SEARCHING and self.asks(name) for name, plug in self.toolbox.items())

    @property
    def opens_pages(self) -> bool:
        """True when documents that search finds can be opened, so that their ids are shown."""
        return any(plug.use == "open_page" for plug in self.toolbox.values())

    @property
    def replays(self) -> bool:
        """True when a tape answers in the place of all real tools."""
        return self.cassette is not None and self.cassette.mode == "replay"

    def asks(self, tool: str) -> bool:
        """True when a tool itself may be asked, in training or validation, and not only a tape or a world model."""
        if self.replays:
            return False
        if tool not in self.routing.tools:
            return True
        return self.routing.calls or self.routing.validation == "real" or self.scorecard is not None

    def foreign(self) -> dict[str, dict[str, Any]]:
        """Identify what this recipe takes from others: for each key its name, arguments and its source's SHA-256."""
        places: dict[str, tuple[Socket, str | Plug | None, Sequence[str]]] = {
            **{f"tools.{name}": (TOOLS, plug, TOOL_NAMES) for name, plug in self.toolbox.items()},
            "world_model.author": (AUTHORS, self.world_model.author, AUTHOR_NAMES),
            "routing.policy": (ROUTING_POLICIES, self.routing.policy, POLICY_NAMES),
        }
        if is_path(Plug.of(self.protocol).use):
            places["protocol"] = (PROTOCOLS, self.protocol, ())
        if self.search is not None and self.needs_search:
            places["search.backend"] = (RETRIEVERS, self.search.backend, tuple(BACKENDS))
        found = {
            key: socket.identity(value, where=f"autocoa.{key}")
            for key, (socket, value, names) in places.items()
            if value is not None and own(value, names, socket, key) is None
        }
        if self.system_prompt is not None and Plug.of(self.system_prompt).use not in PROMPTS:
            text = get_prompt(self.system_prompt)
            found["system_prompt"] = {"use": prompt_name(self.system_prompt), "text": digest(text)}
        return found

    def _check_routing(self) -> None:
        tools = list(self.toolbox)
        if self.routing != RoutingSettings() and tools and not set(self.routing.tools) & set(tools):
            raise ConfigError(
                f"routing.tools={list(self.routing.tools)} are none of the tools {tools}: name those that "
                "routing is for"
            )

    def _check_observation_loss(self) -> None:
        weight, is_trained = self.observation_weight, self.observation_loss == "cross_entropy"
        require(weight >= 0, f"observation_weight must be >= 0, got {weight}")
        require(is_trained or weight == 0, f"observation_weight={weight} needs observation_loss=cross_entropy")
        require(
            not is_trained or self.routing.calls,
            "observation_loss=cross_entropy trains on real observations, but routing never asks the real tool in "
            "training: simulated observations are not trained on as if they were real",
        )


def load_settings(mapping: Mapping[str, Any], *, max_response_tokens: int, where: str = "autocoa") -> Settings:
    """Build the settings from a recipe's `autocoa` key; the response length comes from verl's own key.

    Raises `ConfigError` for an unknown key, a bad value, or a response length given twice.
    """
    limits = dict(mapping.get("limits") or {})
    if "max_response_tokens" in limits:
        raise ConfigError(f"{where}.limits.max_response_tokens is set by data.max_response_length: remove it")
    limits["max_response_tokens"] = max_response_tokens
    return from_mapping(Settings, {**mapping, "limits": limits}, where=where)
