"""Samples, fingerprints and results folders with known numbers, for the tests of evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autocoa_plugin.answers import METRICS
from autocoa_plugin.lab.asking.player import Sample
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.evaluate.measure import summarize
from autocoa_plugin.lab.evaluate.results_folder import ResultsFolder
from autocoa_plugin.lab.evaluate.summary import Summary
from autocoa_plugin.rewards import Reward
from autocoa_plugin.runs.files import json_line
from autocoa_plugin.runs.identity import Identity
from autocoa_plugin.trajectory import Call, Counts, Origin, Outcome, Role, Segment, Source, StopReason, Trajectory

_COUNTED = {"real": "real_calls", "cache": "cached_calls", "replay": "replayed_calls", "world_model": "simulated_calls"}


def made_sample(
    id: str,
    answer: str | None,
    golds: str | tuple[str, ...] = "Paris",
    *,
    sample: int = 0,
    group: str = "all",
    origins: Sequence[str] = (),
    stop: str | None = None,
    forced: bool = False,
    judge: dict[str, Any] | None = None,
    needs: bool | tuple[bool, ...] | None = None,
    well_formed: bool = True,
    error: str | None = None,
    **counts: Any,
) -> Sample:
    """One sample; `origins` are who answered its actions, in order, all failing with `error` if there is one."""
    reason = StopReason(stop or ("no_answer" if answer is None else "answered"))
    called = {_COUNTED.get(origin, "notices"): 0 for origin in origins}
    for origin in origins:
        called[_COUNTED.get(origin, "notices")] += 1
    golds = (golds,) if isinstance(golds, str) else golds
    parts = {name: float(metric(answer, golds)) for name, metric in METRICS.items()}
    return Sample(
        question=Question(id, f"question {id}?", golds, group=group, needs_search=needs),
        sample=sample,
        trajectory=Trajectory(
            prompt_ids=(1,),
            segments=(
                *(_observation(each, error) for each in origins),
                Segment(Role.ANSWER, Source.POLICY, (3,), answer or ""),
            ),
            stop_reason=reason,
            protocol="autocoa",
            counts=Counts(**{"actions": len(origins), **called, **counts}),
            forced_answer=forced,
        ),
        reward=Reward(parts["exact_match"], answer, {**parts, "format": float(well_formed), "action_cost": 0.0}, ()),
        seconds=0.5,
        judge=judge,
    )


def _observation(origin: str, error: str | None) -> Segment:
    call = Call("search", "query", Outcome.ERROR if error else Outcome.OK, Origin(origin), seconds=0.1, error=error)
    return Segment(Role.OBSERVATION, Source.ENVIRONMENT, (2,), "document", call=call)


def made_fingerprint(**parts: dict[str, Any]) -> Identity:
    """A fingerprint; `parts` are joined with the default of the same name."""
    default: dict[str, dict[str, Any]] = {
        "questions": {"sha256": "q"},
        "metric": {"version": "1"},
        "world": {"environment": "search", "top_k": 3},
        "protocol": {"name": "autocoa"},
        "prompt": {"system": "autocoa"},
        "sampling": {"temperature": 0.0},
        "model": {"name": "tiny"},
    }
    return Identity(**{name: {**each, **parts.get(name, {})} for name, each in default.items()})


def made_summary(samples: Sequence[Sample], *, per_question: int = 1, method: str = "SFT-1", **parts: Any) -> Summary:
    """Summarize with a made fingerprint."""
    return summarize(
        samples,
        method=method,
        fingerprint=made_fingerprint(**parts),
        seconds=2.0,
        created="2026-01-01T00:00:00+00:00",
        samples_per_question=per_question,
    )


def made_folder(path: Path, samples: Sequence[Sample], **more: Any) -> ResultsFolder:
    """A finished results folder; `more` as for `made_summary`."""
    folder = ResultsFolder(path)
    path.mkdir(parents=True)
    folder.samples.write_text("".join(json_line(each.to_row()) for each in samples), encoding="utf-8")
    folder.summary.write_text(json.dumps(made_summary(samples, **more).to_dict()), encoding="utf-8")
    return folder


def without_times(content: Any) -> Any:
    """Take from a row or a summary what depends on when and beside whom a question was asked.

    That is seconds and dates, and whether a real answer came from the tool or from the cache that all questions of a
    session share: "real" and "cache" count as one, and its price is left out.
    """
    if isinstance(content, Mapping):
        kept = {name: without_times(value) for name, value in content.items() if name not in _TIMES}
        if "real_calls" in kept:
            # of a summary they are means: their sum is the same number but for the last bit
            kept["real_calls"] = round(kept["real_calls"] + kept.pop("cached_calls", 0), 9)
        return {**kept, "origin": "real"} if kept.get("origin") == "cache" else kept
    return [without_times(each) for each in content] if isinstance(content, list | tuple) else content


_TIMES = ("seconds", "tool_seconds", "engine_seconds", "created", "cost")
