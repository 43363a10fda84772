"""Baselines as configurations of the same loop: a protocol, a prompt, examples, and whether there is a tool.

    autocoa     no examples      the policy decides when to act, within its thought
    search_r1   no examples      thought, search and answer side by side (arXiv:2503.09516)
    react       three examples   a prompted workflow (arXiv:2210.03629)
    model_only  no tool          the closed-book control: the same model, nobody to ask

    tinyworld, tinyworld_react, tinyworld_model_only: the same on the embedded world, whose tokenizer spells no prompt.

Environment, budgets and metrics are the same for all; the wording of examples is `shots.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ..environments.settings import RoutingSettings
from ..errors import ConfigError, nearest
from ..settings import Settings


@dataclass(frozen=True)
class Method:
    """How a model is asked.

    `label` is the row of a table. `protocol` is a name of `presets.PRESETS`, `system_prompt` one of `prompts.PROMPTS`,
    `shots` one of `shots.SHOTS`; None: without. `has_tool` False: no tool is provided and no action allowed.
    """

    name: str
    label: str
    protocol: str
    system_prompt: str | None = None
    shots: str | None = None
    has_tool: bool = True


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method("autocoa", "AutoCoA", "autocoa", "autocoa_search"),
            Method("model_only", "model only", "autocoa", "autocoa_no_tool", has_tool=False),
            Method("react", "ReAct", "react", "react_search", shots="react"),
            Method("search_r1", "Search-R1", "search_r1", "search_r1_search"),
            Method("tinyworld", "AutoCoA", "tinyworld"),
            Method("tinyworld_model_only", "model only", "tinyworld", has_tool=False),
            Method("tinyworld_react", "ReAct", "tinyworld", shots="tinyworld"),
        )
    }
)
"""Every method by name."""


def get_method(name: str) -> Method:
    """Return a method by name; raises `ConfigError` naming the nearest one."""
    if name not in METHODS:
        raise ConfigError(f"method must be one of {list(METHODS)}, got {name!r}{nearest(name, METHODS)}")
    return METHODS[name]


def apply_method(settings: Settings, method: Method, *, explicit: Collection[str] = ()) -> Settings:
    """The settings as the method wants them: its protocol, prompt and tools; limits stay as they are.

    `explicit` names the keys that a user has set, which win: a prompt of one's own, tools of one's own. Without a tool,
    whatever says who answers an action is dropped, and `limits.max_actions` is 0, so that a begun action ends in the
    forced answer. Raises `ConfigError` when an explicit protocol or tool contradicts the method.
    """
    _check_explicit(settings, method, explicit)
    values: dict[str, Any] = {"protocol": method.protocol}
    if "system_prompt" not in explicit:
        values["system_prompt"] = method.system_prompt
    if not method.has_tool:
        limits = replace(settings.limits, max_actions=0)
        values |= {"tools": (), "search": None, "cassette": None, "routing": RoutingSettings(), "limits": limits}
    return replace(settings, **values)


def _check_explicit(settings: Settings, method: Method, explicit: Collection[str]) -> None:
    if "protocol" in explicit and settings.protocol != method.protocol:
        raise ConfigError(
            f"method {method.name!r} speaks protocol {method.protocol!r}, but protocol={settings.protocol!r} was asked "
            "for: leave the protocol out or choose another method"
        )
    if method.has_tool and not settings.tools:
        raise ConfigError(f"method {method.name!r} acts, but tools is empty: name a tool or choose a model_only method")
    if not method.has_tool and "tools" in explicit and settings.tools:
        raise ConfigError(
            f"method {method.name!r} has no tool, but tools={list(settings.tools)} were asked for: leave them out"
        )
