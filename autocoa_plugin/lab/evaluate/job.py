"""Evaluation job: questions, model, world, sampling, and where the results go.

What contradicts itself is refused when the parts are made, before anything slow loads.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...answers import METRIC_VERSION
from ...config import to_mapping
from ...runs.identity import Identity, flatten
from ..asking.methods import METHODS, get_method
from ..asking.model import Model
from ..asking.player import SamplingOptions
from ..asking.questions import QuestionSource
from ..asking.world import World


@dataclass(frozen=True)
class EvaluationJob:
    """Evaluation of one model: questions, world, sampling, and where the results go.

    `name` is the row of a table; `training` is what the checkpoint had cost (`results_folder.training_cost`).
    """

    questions: QuestionSource
    model: Model
    world: World
    folder: Path
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    name: str = ""
    training: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Row of a table: the given name, else the model's, with the method's where that is a baseline."""
        if self.name:
            return self.name
        label, name = get_method(self.world.method).label, self.model.name
        return name if label == METHODS["autocoa"].label else f"{name}, {label}"

    def about(self) -> dict[str, Any]:
        """Description for run.json beside the fingerprint, JSON-ready."""
        return {
            "method": self.label,
            "configuration": get_method(self.world.method).name,
            **self.model.about(),
            "questions": self.questions.source,
            "samples": self.sampling.samples,
            "training": dict(self.training),
            "settings": to_mapping(self.world.settings),
            "command": sys.argv,
        }

    def fingerprint(
        self, questions: Mapping[str, Any], world: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any]
    ) -> Identity:
        """Join what the parts depend on: `questions_identity`, `PreparedWorld.identity` and `Model.identity`.

        No judge is named: `evaluate` adds the one that it asks.
        """
        reward = flatten(self.world.settings.reward.identity(), "reward.")
        return Identity(
            questions=questions,
            metric={"version": METRIC_VERSION, "judge": None, **reward},
            **world,
            sampling=self.sampling.identity(),
            model=model,
        )
