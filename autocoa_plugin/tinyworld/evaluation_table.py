"""An `Evaluation` for people: three small tables of at most 80 columns."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from .evaluation import Evaluation, WhenToAct


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print everything that was measured; rates in percent, `-` where nothing was there to measure."""
    console.print(_questions(evaluation))
    reasons: Counter[str] = Counter()
    for each in evaluation.groups:
        reasons.update(each.stop_reasons)
    console.print("stop reasons: " + ", ".join(f"{name} {count}" for name, count in reasons.most_common()) + "\n")
    console.print(_decisions(evaluation))
    when = evaluation.on_policy
    console.print(f"announced, not decided: {when.undecided}; about nobody in the world: {when.unknown_subjects}\n")
    console.print(_world_model(evaluation))
    console.print("seconds: " + ", ".join(f"{part} {value:.1f}" for part, value in evaluation.seconds.items()))


def _questions(evaluation: Evaluation) -> Table:
    columns = ("group", "n", "EM %", "F1 %", "searches", "well-formed %", "forced %")
    table = _table("held-out questions: greedy, real retrieval", columns)
    for each in evaluation.groups:
        rates = (each.exact_match, each.f1, each.well_formed, each.forced_answers)
        exact, overlap, formed, forced = map(_percent, rates)
        table.add_row(each.group, str(each.questions), exact, overlap, f"{each.searches:.2f}", formed, forced)
    return table


def _decisions(evaluation: Evaluation) -> Table:
    columns = ("decisions", "popular", "tail", "unneeded %", "missed %", "accuracy %")
    table = _table("when to act: searches that were not needed, and that were missed", columns)
    kinds: dict[str, WhenToAct] = {"as written": evaluation.on_policy, "gold prefixes": evaluation.teacher_forced}
    for name, when in kinds.items():
        for label, rates in ((name, when.all), ("  unseen popular", when.unseen)):
            counts = (str(rates.popular), str(rates.tail))
            table.add_row(label, *counts, *map(_percent, (rates.unneeded_search, rates.missed_search, rates.accuracy)))
    return table


def _world_model(evaluation: Evaluation) -> Table:
    columns = ("entities", "perplexity", "tokens", "facts", "closed", "title", "exact", "gold")
    table = _table("observations: perplexity in gold trajectories; written by the policy (%)", columns)
    for group, loss in evaluation.observations.items():
        written = evaluation.world_model[group]
        shares = map(_percent, (written.well_formed, written.title, written.exact, written.gold))
        table.add_row(group, _number(loss.perplexity), str(loss.tokens), str(written.facts), *shares)
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=not index)
    return table


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
