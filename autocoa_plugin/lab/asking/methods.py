"""Baselines as configurations of the same loop: a protocol, a prompt, examples, and whether there is a tool.

    autocoa     no examples      the policy decides when to act, within its thought
    search_r1   no examples      thought, search and answer side by side (arXiv:2503.09516)
    react       three examples   a prompted workflow (arXiv:2210.03629)
    model_only  no tool          the closed-book control: the same model without a tool

    package.module:Name    a method of yours, such as one for a tokenizer that cannot spell a prompt

Environment, budgets and metrics are the same for all; the worked examples are in `prompting.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, nearest
from ...lookup import is_path, named, published
from ...protocol import PUBLISHED, get_protocol
from ...runs.identity import PARTS, differences
from ...settings import RoutingSettings, Settings
from ..evaluate.summary import ALL, Interval, Summary
from ..evaluate.table import add_row, named_table, percent, short_names, stacked

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Method:
    """Prompting method: a protocol, a system prompt, worked examples, and whether there is a tool.

    `label` is the row of a table. `protocol` is a name of `protocol.PRESETS`, `system_prompt` one of `prompts.PROMPTS`,
    `shots` one of `prompting.SHOTS`; None: without. `has_tool` False: no tool is provided and no action allowed.
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
        )
    }
)
"""Every method by name."""


def get_method(name: str) -> Method:
    """Find a method: one of `METHODS`, `package.module:Name` of one, or a protocol, which is then asked without prompt.

    Raises `ConfigError` naming the nearest one.
    """
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
            f"method {method.name!r} has no tool, but tools={list(settings.tools)} were asked for: leave them out"
        )


# ---------------------------------------------------------------------------------------------- a table of several runs


_SAME = ("questions", "metric")


def methods_table(summaries: Sequence[Summary], metric: str = "exact_match") -> Table:
    """Table of runs, one row each: a metric in percent by group, its interval below, and "avg", the mean over groups.

    Methods below each other, groups of questions side by side: the layout of the paper's Table 1. Runs may differ in
    model, prompt, protocol and world (that is what methods differ in). Raises `ConfigError` without a run, or when the
    questions or the metric of two runs differ.
    """
    if not summaries:
        raise ConfigError("a table of methods needs at least one run")
    for other in summaries[1:]:
        _check_alike(summaries[0], other)
    groups = _groups(summaries)
    heads = [*short_names(groups).values(), *(["avg"] if groups != [ALL] else [])]
    table = named_table(f"{metric.replace('_', ' ')}, %", heads, first="")
    for summary in summaries:
        found = [summary.groups[name].metrics.get(metric) if name in summary.groups else None for name in groups]
        cells = ["-" if each is None else stacked(each, digits=0) for each in found]
        average = [percent(_average(found))] if groups != [ALL] else []
        add_row(table, summary.method, *cells, *average)
    return table


def _check_alike(first: Summary, other: Summary) -> None:
    but = [f"{part}.*" for part in PARTS if part not in _SAME]
    if found := differences(first.fingerprint.flat, other.fingerprint.flat, but=but):
        raise ConfigError(f"{other.method!r} and {first.method!r} are not one table: they differ in {', '.join(found)}")


def _groups(summaries: Sequence[Summary]) -> list[str]:
    names = dict.fromkeys(name for summary in summaries for name in summary.groups)
    return [name for name in names if name != ALL] or [ALL]


def _average(found: Sequence[Interval | None]) -> float | None:
    """Mean over groups, each counted once; None as soon as one of them was not measured."""
    means = [each.mean for each in found if each is not None and each.mean is not None]
    return sum(means) / len(means) if means and len(means) == len(found) else None
