"""From judged queries to the groups of a card: means, failures, repairs, costs."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import AutoCoAError
from ..statistics import interval
from .card import Estimate, GroupCard, Spent
from .compare import MEASURES
from .run import REPAIRS, Compared


def estimate(values: Sequence[float | None], weights: Sequence[float] | None = None) -> Estimate:
    """Average what is not None; `weights` make it a weighted mean (tokens of each query, for nats per token)."""
    pairs = zip(values, weights or [1.0] * len(values), strict=True)
    known = [(value, weight) for value, weight in pairs if value is not None and weight > 0]
    found = interval([value for value, _ in known], weights=[weight for _, weight in known])
    return Estimate(found.mean, found.n, found.low, found.high)


def group_cards(compared: Sequence[Compared]) -> tuple[GroupCard, ...]:
    """Average by group, in the order in which the groups come."""
    names = dict.fromkeys(each.query.group for each in compared)
    return tuple(_group_card(name, [each for each in compared if each.query.group == name]) for name in names)


def total_spent(compared: Sequence[Compared]) -> Spent:
    """Add up what all queries cost."""
    names = vars(Spent())
    return Spent(**{name: sum(getattr(each.spent, name) for each in compared) for name in names})


def first_error(compared: Sequence[Compared]) -> str | None:
    """The message of the first query that failed."""
    return next((each.error for each in compared if not each.measures), None)


def check_compared(compared: Sequence[Compared]) -> None:
    """Raise `AutoCoAError` with the first message when no query could be compared."""
    if not any(each.measures for each in compared):
        raise AutoCoAError(f"none of {len(compared)} queries could be compared: {first_error(compared)}")


def _group_card(name: str, members: Sequence[Compared]) -> GroupCard:
    done = [each for each in members if each.measures]
    measures = {}
    for measure in MEASURES:
        values = [each.measures[measure.name] for each in done]
        weights = [float(each.real_tokens) for each in done] if measure.unit == "nats/token" else None
        measures[measure.name] = estimate(values, weights)
    repairs = {name: sum(each.repairs.get(name, 0) for each in members) for name in REPAIRS}
    return GroupCard(
        group=name,
        queries=len(members),
        compared=len(done),
        failed_imagined=sum(each.imagined is None for each in members),
        failed_real=sum(each.imagined is not None and each.real is None for each in members),
        measures=measures,
        repairs=repairs,
    )
