"""The `routing` key of a recipe: what it means, and how a mistake is named."""

from __future__ import annotations

import pytest

from autocoa_plugin.answering import Annealing, Phase, RoutingSettings, Uncertainty
from autocoa_plugin.config import from_mapping, to_mapping
from autocoa_plugin.errors import ConfigError

PHASES = [{"environment": "world_model", "steps": 80}, {"environment": "real", "steps": 16}]


def routing(mapping):
    return from_mapping(RoutingSettings, mapping, where="autocoa.routing")


def test_a_list_of_phases_is_read_from_a_recipe():
    settings = routing({"policy": "steps", "phases": PHASES})
    assert settings == RoutingSettings("steps", phases=(Phase("world_model", 80), Phase("real", 16)))
    assert settings.scheduled_steps == 96


def test_every_policy_is_read_from_a_recipe_and_written_back():
    mapping = {
        "policy": "probability",
        "annealing": {"start": 0, "end": 0.5, "steps": 8, "base": 1},
        "real_calls_per_step": 4,
        "validation": "same",
        "seed": 7,
    }
    settings = routing(mapping)
    assert settings.annealing == Annealing(0.0, 0.5, 8, 1.0)
    assert routing(to_mapping(settings)) == settings
    uncertain = routing({"policy": "uncertainty", "uncertainty": {"of": "query", "threshold": -1}})
    assert uncertain.uncertainty == Uncertainty("query", -1.0)


def test_by_default_everything_is_real():
    assert (RoutingSettings().calls, RoutingSettings().imagines) == (True, False)


@pytest.mark.parametrize(
    ("mapping", "calls", "imagines"),
    [
        ({"environment": "world_model"}, False, True),
        ({"real_calls_per_step": 3}, True, True),
        ({"policy": "steps", "phases": PHASES}, True, True),
        ({"policy": "steps", "phases": PHASES[:1]}, False, True),
        ({"policy": "steps", "phases": PHASES[1:]}, True, False),
        ({"policy": "probability"}, True, True),
        ({"policy": "uncertainty"}, True, True),
    ],
)
def test_it_is_known_beforehand_which_environments_training_may_ask(mapping, calls, imagines):
    settings = routing(mapping)
    assert (settings.calls, settings.imagines) == (calls, imagines)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"policy": "step"}, r"policy must be one of .* got 'step' \(did you mean 'steps'\?\)"),
        ({"policy": "steps"}, "routing.phases is required for routing.policy=steps"),
        ({"phases": PHASES}, "routing.phases must be left out for routing.policy=fixed"),
        ({"policy": "steps", "phases": "80+16"}, "phases must be a list, got str '80"),
        ({"policy": "steps", "phases": [{"environment": "real"}]}, r"missing phases\[0\].steps"),
        ({"policy": "steps", "phases": [{"environment": "rael", "steps": 1}]}, r"phases\[0\].environment .*'real'"),
        ({"policy": "steps", "phases": [{"environment": "real", "steps": 0}]}, "must have steps >= 1, got 0"),
        ({"policy": "steps", "phases": [{"environment": "real", "steps": 1.5}]}, r"phases\[0\].steps must be int"),
        ({"policy": "steps", "phases": PHASES, "environment": "world_model"}, "routing.environment is read with"),
        ({"annealing": {"end": 0.5}}, "routing.annealing is read with routing.policy=probability only, got .*fixed"),
        ({"uncertainty": {"of": "query"}}, "routing.uncertainty is read with routing.policy=uncertainty only"),
        ({"policy": "probability", "annealing": {"start": 1.5}}, "annealing.start must be between 0 and 1, got 1.5"),
        ({"policy": "probability", "annealing": {"end": float("nan")}}, "annealing.end must be between 0 and 1"),
        ({"policy": "probability", "annealing": {"steps": 0}}, "annealing.steps must be >= 1, got 0"),
        ({"policy": "probability", "annealing": {"base": 0.5}}, "annealing.base must be >= 1 and finite, got 0.5"),
        ({"policy": "probability", "annealing": {"base": float("inf")}}, "base must be >= 1 and finite, got inf"),
        ({"policy": "uncertainty", "uncertainty": {"threshold": 0.5}}, "threshold must be <= 0 nats, got 0.5"),
        ({"policy": "uncertainty", "uncertainty": {"of": "answer"}}, "uncertainty.of must be one of"),
        ({"real_calls_per_step": 0}, "real_calls_per_step must be >= 1, got 0"),
        ({"validation": "reel"}, r"validation must be one of .*did you mean 'real'"),
        ({"budget": 3}, "unknown key budget"),
    ],
)
def test_a_mistake_is_refused_in_one_line_that_names_it(mapping, message):
    with pytest.raises(ConfigError, match=message) as caught:
        routing(mapping)
    assert "\n" not in str(caught.value)


def test_phases_that_end_before_the_training_does_are_refused():
    settings = routing({"policy": "steps", "phases": PHASES})
    settings.check_steps(96)
    settings.check_steps(95)
    with pytest.raises(ConfigError, match=r"cover 96 steps \(80 world_model \+ 16 real\), but .*steps is 97: lengthen"):
        settings.check_steps(97)


@pytest.mark.parametrize("mapping", [{}, {"policy": "probability"}, {"policy": "uncertainty"}])
def test_a_policy_without_phases_never_ends(mapping):
    assert routing(mapping).scheduled_steps is None
    routing(mapping).check_steps(1_000_000)
