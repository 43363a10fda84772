"""Our counters as training metrics, and the one place that names them.

autocoa/exact_match, autocoa/f1, ...   mean over trajectories
autocoa/real_calls/sum, ...            calls, tokens, seconds and money of the step: the fields of `ledger.LedgerEntry`
autocoa/run/real_calls, ...            the same since the start of the run (`run_ledger.RunLedger.metrics`)
autocoa/stop/<reason>                  share of trajectories
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ledger import FIELDS

# what one wants to know per step as a total; everything is also there as a mean per trajectory
TOTALS = tuple(name for name in FIELDS if name != "trajectories")


def step_metrics(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Reduce the `reward_extra_info` of one step's trajectories; {} when there are none.

    All rows have the same keys (`agent_loop.reward_extra_info`).
    """
    if not rows:
        return {}
    metrics = {f"autocoa/{key}": sum(float(row[key]) for row in rows) / len(rows) for key in rows[0]}
    metrics.update({f"autocoa/{key}/sum": sum(float(row[key]) for row in rows) for key in TOTALS})
    metrics["autocoa/trajectories"] = float(len(rows))
    return metrics
