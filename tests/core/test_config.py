"""A recipe becomes frozen dataclasses, or a sentence that names the mistake and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

import pytest

from autocoa_plugin.config import from_mapping, positive, require, to_mapping
from autocoa_plugin.errors import ConfigError


class Mode(StrEnum):
    REAL = "real"
    SIMULATED = "simulated"


@dataclass(frozen=True)
class Limits:
    max_actions: int = 10
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        positive("limits.max_actions", self.max_actions)


@dataclass(frozen=True)
class Search:
    top_k: int
    backend: Literal["index", "web"] = "index"
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    name: str
    limits: Limits = field(default_factory=Limits)
    search: Search | None = None
    tools: tuple[str, ...] = ("search",)
    shape: tuple[int, float] = (1, 1.0)
    mode: Mode = Mode.REAL
    verbose: bool = False
    seed: int | str = 0
    routes: Mapping[str, Search] = field(default_factory=dict)
    extra: Any = None


def build(**mapping: Any) -> Settings:
    return from_mapping(Settings, {"name": "n", **mapping}, where="recipe.yaml")


def test_a_nested_mapping_becomes_nested_dataclasses() -> None:
    settings = build(
        limits={"max_actions": 3, "timeout_s": 1},
        search={"top_k": 5, "weights": {"title": 2}},
        tools=["search", "calculate"],
        shape=[2, 3],
        mode="simulated",
        seed="a",
        routes={"a": {"top_k": 1}},
    )
    assert settings == Settings(
        "n",
        Limits(3, 1.0),
        Search(5, weights={"title": 2.0}),
        ("search", "calculate"),
        (2, 3.0),
        Mode.SIMULATED,
        False,
        "a",
        {"a": Search(1)},
    )
    assert settings.search is not None
    types = [type(value) for value in (settings.limits.timeout_s, settings.shape[1], settings.search.weights["title"])]
    assert types == [float, float, float]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"limit": {}}, r"^recipe.yaml: unknown key limit \(did you mean 'limits'\?\); known: name, limits, "),
        ({"limits": {"max_action": 3}}, r"unknown key limits.max_action \(did you mean 'max_actions'\?\)"),
        ({"routes": {"a": {"topk": 1}}}, r"unknown key routes.a.topk \(did you mean 'top_k'\?\)"),
        ({3: 1}, "unknown key 3; known"),
        ({"search": {}}, "recipe.yaml: missing search.top_k$"),
        ({"limits": {"max_actions": "3"}}, "recipe.yaml: limits.max_actions must be int, got str '3'"),
        ({"limits": {"max_actions": True}}, "limits.max_actions must be int, got bool True"),
        ({"limits": {"max_actions": 3.0}}, "limits.max_actions must be int, got float 3.0"),
        ({"limits": {"max_actions": None}}, "limits.max_actions must be int, got None"),
        ({"limits": {"timeout_s": False}}, "limits.timeout_s must be float, got bool False"),
        ({"limits": None}, "limits must be a mapping with the keys of Limits, got None"),
        ({"limits": [1]}, r"limits must be a mapping with the keys of Limits, got list \[1\]"),
        (
            {"search": {"top_k": 1, "backend": "indx"}},
            r"one of \['index', 'web'\], got 'indx' \(did you mean 'index'\?\)",
        ),
        ({"search": {"top_k": 1, "weights": {"a": "b"}}}, "search.weights.a must be float, got str 'b'"),
        ({"search": {"top_k": 1, "weights": []}}, r"search.weights must be a mapping, got list \[\]"),
        ({"tools": "search"}, "tools must be a list, got str 'search'"),
        ({"tools": ["search", 1]}, r"tools\[1\] must be str, got int 1"),
        ({"shape": [1]}, r"shape must be a list of 2, got list \[1\]"),
        (
            {"mode": "simulate"},
            r"mode must be one of \['real', 'simulated'\], got 'simulate' \(did you mean 'simulated'\?\)",
        ),
        ({"verbose": 1}, "verbose must be bool, got int 1"),
        ({"seed": 1.5}, "seed must be int or str, got float 1.5"),
        ({"seed": True}, "seed must be int or str, got bool True"),
        ({"limits": {"max_actions": 0}}, "^recipe.yaml: limits.max_actions must be > 0, got 0$"),
    ],
)
def test_a_mistake_is_named_with_its_path_and_its_file(mapping: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(Settings, {"name": "n", **mapping}, where="recipe.yaml")


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^recipe.yaml: expected a mapping with the keys of Settings, got list \[\]"):
        from_mapping(Settings, [], where="recipe.yaml")  # type: ignore[arg-type]


def test_a_dataclass_that_is_already_built_is_taken_as_it_is() -> None:
    assert build(limits=Limits(4), mode=Mode.SIMULATED).limits == Limits(4)


def test_to_mapping_is_the_opposite_of_from_mapping() -> None:
    settings = build(search={"top_k": 5, "weights": {"a": 1}}, mode="simulated", routes={"b": {"top_k": 2}})
    mapping = to_mapping(settings)
    assert mapping["tools"] == ["search"] and mapping["mode"] == "simulated" and mapping["routes"]["b"]["top_k"] == 2
    assert from_mapping(Settings, mapping, where="here") == settings


def test_any_mapping_will_do() -> None:
    assert from_mapping(Limits, MappingProxyType({"max_actions": 2}), where="here") == Limits(2)
    omegaconf = pytest.importorskip("omegaconf")
    loaded = omegaconf.OmegaConf.create({"k": 7, "autocoa": {"name": "n", "tools": ["a"], "seed": "${k}"}})["autocoa"]
    assert from_mapping(Settings, loaded, where="autocoa") == Settings("n", tools=("a",), seed=7)


def test_value_checks_raise_config_errors() -> None:
    require(True, "fine")
    positive("x", 0.1)
    with pytest.raises(ConfigError, match=r"^a must be b$"):
        require(False, "a must be b")
    for value in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match=r"^x must be > 0, got"):
            positive("x", value)
