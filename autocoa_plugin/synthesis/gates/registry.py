"""Every gate by name, and which of them find something in an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..attempt import Attempt
from . import answers, completion, languages, observations, queries, repetition
from .gate import Gate
from .settings import GATE_NAMES, GateSettings

_FAMILIES = (completion, observations, queries, answers, repetition, languages)
_GATES = {gate.name: gate for family in _FAMILIES for gate in family.GATES}

GATES: Mapping[str, Gate] = MappingProxyType({name: _GATES[name] for name in GATE_NAMES})
"""Every gate by name, in the order in which they are asked."""


def failed_gates(attempt: Attempt, settings: GateSettings, *, is_right: bool) -> tuple[str, ...]:
    """Names of all gates that find something, in their order; of a wrong attempt, of those that concern wrong chains.

    Gates in `settings.off` are not asked.
    """
    asked = (gate for gate in GATES.values() if gate.name not in settings.off and (is_right or gate.concerns_wrong))
    return tuple(gate.name for gate in asked if gate.finds(attempt, settings))
