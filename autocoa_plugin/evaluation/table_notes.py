"""What belongs to a table of results and fits into no column: one line per fact."""

from __future__ import annotations

from collections.abc import Iterator

from .summary import ALL, GroupSummary, Summary
from .table import interval_text, percent


def notes(summary: Summary) -> list[str]:
    """Say what is missing, how it stopped, when it acted, pass@k and maj@k, who judged, and what it cost."""
    group = summary.groups[ALL]
    return [
        *_missing(summary, group),
        *_stops(group),
        *failure_lines(group),
        *_decisions(group),
        *_several(summary, group),
        *_judge(summary, group),
        *_costs(summary, group),
    ]


def _missing(summary: Summary, group: GroupSummary) -> Iterator[str]:
    asked = summary.fingerprint.questions.get("count")
    questions = max(asked, group.questions) if isinstance(asked, int) else group.questions
    expected = questions * summary.samples_per_question
    if not expected:
        yield "no question was asked"
    elif missing := expected - group.samples:
        yield f"{missing} of {expected} samples are missing: means are over the questions that have one"


def _stops(group: GroupSummary) -> Iterator[str]:
    if group.stop_reasons:
        yield "stop reasons: " + ", ".join(f"{name} {count}" for name, count in group.stop_reasons.items())


def failure_lines(group: GroupSummary) -> Iterator[str]:
    """Say which calls failed: a number from a run whose tool was down is about something else."""
    for text, count in group.failures.items():
        yield f"failed {'once' if count == 1 else f'{count} times'}: {text}"


def _decisions(group: GroupSummary) -> Iterator[str]:
    if found := group.deciding:
        rates = f"unneeded {percent(found.unneeded.mean)} %, missed {percent(found.missed.mean)} %"
        yield f"when to act: right {interval_text(found.accuracy)} %, {rates}, of {found.samples} samples"


def _several(summary: Summary, group: GroupSummary) -> Iterator[str]:
    if summary.samples_per_question == 1:
        return
    for label, found in (("pass", group.pass_at), ("maj", group.maj_at)):
        yield "  ".join(f"{label}@{k} {interval_text(each)}" for k, each in sorted(found.items()))


def _judge(summary: Summary, group: GroupSummary) -> Iterator[str]:
    if not (judge := summary.judge):
        return
    judged = judge.get("samples", group.samples)
    parts = [f"judge: {judge.get('model', 'unknown')}", f"verdicts on {judged} of {group.samples} samples"]
    if undecided := judge.get("undecided"):
        parts.append(f"{undecided} of them undecided and left out")
    if "cost" in judge:
        parts.append(f"cost {judge['cost']:.4g}")
    yield ", ".join(parts)


def _costs(summary: Summary, group: GroupSummary) -> Iterator[str]:
    mean, samples = group.per_question, group.samples
    if not mean:
        return
    calls = ", ".join(
        f"{round(samples * mean[f'{kind}_calls'])} {kind}" for kind in ("real", "cached", "replayed", "simulated")
    )
    tokens = f"{mean['sampled_tokens']:.0f} tokens sampled, {mean['injected_tokens']:.0f} injected"
    yield f"calls: {calls}; per sample: {tokens}, {mean['seconds']:.2f} s"
    yield f"{summary.seconds:.1f} s in all" + (f", tools cost {samples * mean['cost']:.4g}" if mean["cost"] else "")
