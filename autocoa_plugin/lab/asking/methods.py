"""Baselines as configurations of the same loop: a protocol, a prompt, examples, and whether there is a tool.

    autocoa     no examples      the policy decides when to act, within its thought
    search_r1   no examples      thought, search and answer side by side (arXiv:2503.09516)
    hermes      no examples      as search_r1, with tool calls in JSON that the model's chat template tells of
    react       three examples   a prompted workflow (arXiv:2210.03629)
    model_only  no tool          the closed-book control: the same model without a tool

    package.module:Name    a method of yours, such as one for a tokenizer that cannot spell a prompt

Environment, budgets and metrics are the same for all; the wording of examples stands in `prompting.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ...answering import RoutingSettings
from ...errors import ConfigError, nearest
from ...lookup import Plug, is_path, named, published
from ...protocol import PUBLISHED, get_protocol
from ...settings import Settings


@dataclass(frozen=True)
class Method:
    """Prompting method: a protocol, a system prompt, worked examples, and whether there is a tool.

    `label` is the row of a table. `protocol` is a name of `protocol.PRESETS`, `system_prompt` one of `prompts.PROMPTS`,
    `shots` one of `prompting.SHOTS`; None: without. `has_tool` False: no tool is provided and no action allowed.
    """

    name: str
    label: str
    protocol: str | Plug
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
            Method("hermes", "tool calls", "hermes", "hermes_search"),
        )
    }
)
"""Every method by name."""


def get_method(name: str | Method) -> Method:
    """Find a method: one of `METHODS`, a path to one, or a protocol, which is then asked without prompt.

    Raises `ConfigError` naming the nearest one.
    """
    if isinstance(name, Method):
        return name
    if name in METHODS:
        return METHODS[name]
    found = named(name, where="method") if is_path(name) else None
    if isinstance(found, Method):
        return found
    if found is None and name not in published(PUBLISHED):
        known = [*METHODS, *published(PUBLISHED)]
        raise ConfigError(f"method must be one of {known}, got {name!r}{nearest(name, known)}")
    return Method(get_protocol(name).name, METHODS["autocoa"].label, name)


def apply_method(settings: Settings, method: Method, *, explicit: Collection[str] = ()) -> Settings:
    """Adapt settings to a method: its protocol, prompt and tools; limits stay as they are.

    `explicit` names the keys that a user has set, which win: a prompt of one's own, tools of one's own. Without a tool,
    search, cassette and routing are dropped, and `limits.max_actions` is 0, so that a begun action ends in the forced
    answer. Raises `ConfigError` when an explicit protocol or tool contradicts the method.
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
            f"method {method.name!r} has no tool, but tools={list(settings.toolbox)} were asked for: leave them out"
        )
