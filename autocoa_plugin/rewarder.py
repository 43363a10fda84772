"""Rewarder: the reward of a configuration, with the metrics, parts and LLM judges that others wrote, asked and checked.

    rewarder = Rewarder(config)                                            once per process: builds what is named
    await rewarder.score(trajectory, golds, protocol, question=...)        Reward with the same parts in every row

    without gold answer    metrics are 0, and so is what needs one; the rest is asked. Where nothing that is rewarded
                           can be told without one, the total is 0, and the format costs nothing either

A metric or part that raises, or gives anything else than a finite number, is a `RewardError` that ends the run: hidden,
a bug would be a low reward. A judge without verdict is what its `on_failure` says, and counted.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

from .answers import METRICS
from .errors import ConfigError, EngineError, RewardError
from .judge import LlmJudge
from .lookup import Plug, described
from .protocol import Protocol
from .rewards import (
    CUSTOM,
    LLM_JUDGE,
    METRIC_SOCKET,
    OWN_METRIC,
    PART_SOCKET,
    Judged,
    Metric,
    PartConfig,
    Reward,
    RewardConfig,
    RewardPart,
    fallback_of,
    format_errors,
    measured,
    summed,
)
from .trajectory import Trajectory


@dataclass(frozen=True)
class Part:
    """Part of the reward as it is asked: its name, what the configuration calls its code, and the code."""

    name: str
    path: str
    function: RewardPart | LlmJudge
    needs_golds: bool = True
    timeout_s: float = 600.0


class Rewarder:
    """Reward of a configuration; `custom` stands in place of `answer_weight * metric` (verl's own reward function).

    Shared by all rollouts of a process, on any event loop. `needs_golds` is False where nothing that is rewarded needs
    a gold answer. Raises `ConfigError` for a metric or part that cannot be imported or built.
    """

    def __init__(self, config: RewardConfig | None = None, *, custom: Part | None = None) -> None:
        self.config = config = config or RewardConfig()
        self._metric = metric_of(config.metric)
        built = [_built(name, part) for name, part in config.parts.items() if isinstance(part, PartConfig)]
        self._custom, self._parts = custom, [*([custom] if custom else []), *built]
        rewarded = {name for name, weight in config.weights.items() if weight != 0}
        is_free = {part.name for part in self._parts if not part.needs_golds and part.name in {*rewarded, CUSTOM}}
        self._is_told_without_gold = bool(is_free)
        is_answer_rewarded = custom is None and (config.answer_weight > 0 or not rewarded)
        self.needs_golds: bool = is_answer_rewarded or not rewarded <= is_free

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts of every reward."""
        return (*self.config.names, CUSTOM) if self._custom else self.config.names

    @property
    def judges(self) -> dict[str, LlmJudge]:
        """The LLM judges among the parts, by name."""
        return {part.name: part.function for part in self._parts if isinstance(part.function, LlmJudge)}

    def nothing(self) -> Reward:
        """Reward of a rollout that there is none of: 0, with the parts of all others."""
        return Reward(0.0, None, dict.fromkeys(self.names, 0.0), ())

    async def score(
        self,
        trajectory: Trajectory,
        golds: str | Sequence[str],
        protocol: Protocol,
        *,
        question: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Reward:
        """Judge a finished trajectory; `golds` is empty where the row has no gold answer, `metadata` as in `Judged`.

        Raises `RewardError` for a metric or part that does not give a number, `DataError` for a blank gold answer.
        """
        config, golds = self.config, (golds,) if isinstance(golds, str) else tuple(golds)
        answer = protocol.extract_answer(trajectory.final_run())
        judged = Judged(trajectory, answer, golds, protocol, question, metadata or {})
        parts = dict.fromkeys(self.names, 0.0)
        if golds:
            parts.update(measured(answer, golds))
            if config.metric_name == OWN_METRIC:
                parts[OWN_METRIC] = self._measure(answer, golds)
        for part in self._parts:
            if golds or not part.needs_golds:
                parts.update(await self._ask(part, judged, parts[config.metric_name]))
        earned = parts[CUSTOM] if self._custom else config.answer_weight * parts[config.metric_name]
        if golds or self._is_told_without_gold:
            found = summed(earned, parts, answer, trajectory, protocol, config)
        else:
            errors = format_errors(trajectory, protocol)
            found = Reward(0.0, answer, {**parts, "format": float(not errors)}, errors)
        return replace(found, missing_gold=not golds and self.needs_golds)

    def _measure(self, answer: str | None, golds: tuple[str, ...]) -> float:
        what = f"reward.metric ({Plug.of(self.config.metric).use})"
        try:
            value = self._metric(answer, golds)
        except Exception as error:
            raise RewardError(f"{what} raised {described(error)}") from error
        return _number(value, what)

    async def _ask(self, part: Part, judged: Judged, metric: float) -> dict[str, float]:
        what = f"part {part.name!r} of the reward ({part.path})"
        if not isinstance(part.function, LlmJudge):
            return {part.name: await _called(part.function, judged, part.timeout_s, what)}
        if judged.question is None:
            raise RewardError(f"{what} is asked about a question, and the row has none: it needs extra_info.question")
        try:
            verdict = await part.function.verdict(judged.question, judged.golds, judged.answer)
        except EngineError as error:
            on_failure = part.function.settings.on_failure
            if on_failure == "error":
                raise RewardError(f"{what} has no verdict: {error}") from error
            return {part.name: metric if on_failure == "metric" else 0.0, fallback_of(part.name): 1.0}
        return {part.name: float(verdict)}


def metric_of(metric: str | Plug) -> Metric:
    """Find or build the metric that a configuration names; raises `ConfigError`."""
    known = METRICS.get(Plug.of(metric).use)
    return known or METRIC_SOCKET.build(metric, where="autocoa.reward.metric", known=METRICS)


def _built(name: str, part: PartConfig) -> Part:
    where = f"autocoa.reward.parts.{name}"
    if part.use == LLM_JUDGE:
        return Part(name, LLM_JUDGE, LlmJudge(part.judge(where)))
    function = PART_SOCKET.build(part.plug, where=where, known=(LLM_JUDGE,))
    return Part(name, part.use, function, needs_golds(function, f"{where}: {part.use}"), part.timeout_s)


def needs_golds(part: RewardPart, what: str) -> bool:
    """Read a part's attribute `needs_golds`, True where it has none; raises `ConfigError` for another value."""
    found = getattr(part.func if isinstance(part, partial) else part, "needs_golds", True)
    if not isinstance(found, bool):
        raise ConfigError(f"{what}.needs_golds must be True or False, got {found!r:.80}")
    return found


async def _called(function: Callable[[Judged], Any], judged: Judged, timeout_s: float, what: str) -> float:
    clock = asyncio.timeout(timeout_s)
    try:
        value = function(judged)
        if inspect.isawaitable(value):
            async with clock:
                value = await value
    except Exception as error:
        if isinstance(error, TimeoutError) and clock.expired():
            raise RewardError(f"{what} did not answer within its timeout_s={timeout_s:g}") from error
        raise RewardError(f"{what} raised {described(error)}") from error
    return _number(value, what)


def _number(value: Any, what: str) -> float:
    """A finite float of a number, a bool, or a single number of numpy or torch; `RewardError` for anything else."""
    try:
        item = value.item() if hasattr(value, "item") else value
        number = float(item) if isinstance(item, Real) else math.nan
    except Exception:  # an array of several, a number too large
        number = math.nan
    if inspect.iscoroutine(value):
        value.close()  # it will never be awaited
    if not math.isfinite(number):
        raise RewardError(f"{what} must give a finite number, got {_spelled(value)}")
    return number


def _spelled(value: Any) -> str:
    try:
        return f"{type(value).__name__} {value!r:.80}"
    except Exception:  # its repr is anybody's code
        return type(value).__name__
