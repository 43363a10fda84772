"""Tables of scorecards, one per group, models side by side; and a picture of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from .imagine import MEASURES, Measure
from .scorecard import Estimate, GroupCard, ScoreCard


def card_tables(cards: Sequence[ScoreCard]) -> Iterator[Any]:
    """Yield one rich table per group of queries: shares in percent with their 95 % intervals, cross-entropy in nats."""
    from rich.table import Table

    names = card_names(cards)
    for group in group_names(cards):
        table = Table(title=f"imagined against real observations: {group}", title_justify="left")
        table.add_column("", no_wrap=True)
        for name in names:
            table.add_column(name, justify="right")
        found = [each.group(group) for each in cards]
        table.add_row("queries compared", *(_compared(each) for each in found))
        for measure in MEASURES:
            table.add_row(_label(measure), *(_cell(measure, each) for each in found))
        for repair in dict.fromkeys(name for each in found if each for name in each.repairs):
            table.add_row(f"repaired: {repair.replace('_', ' ')}", *(_repaired(each, repair) for each in found))
        yield table


def notes(cards: Sequence[ScoreCard]) -> list[str]:
    """List sentences that belong to the tables: what could not be measured, and what failed."""
    lines = []
    for name, card in zip(card_names(cards), cards, strict=True):
        if card.scored_by is None:
            lines.append(f"{name}: no cross-entropy, because the engine gives no log-probabilities of given tokens")
        if card.first_error:
            lines.append(f"{name}: queries failed, the first with: {card.first_error}")
    return lines


def card_names(cards: Sequence[ScoreCard]) -> list[str]:
    """Names for columns: as many trailing parts of the models' paths as distinguish them, and the step."""
    paths = [[part for part in Path(each.model).parts if part not in ("model", "huggingface")] for each in cards]
    steps = ["" if each.step is None else f" step {each.step}" for each in cards]
    for kept in range(1, max(map(len, paths), default=0) + 1):
        names = ["/".join(path[-kept:]) + step for path, step in zip(paths, steps, strict=True)]
        if len(set(names)) == len(names):
            return names
    return [f"{card.model}{step} ({number})" for number, (card, step) in enumerate(zip(cards, steps, strict=True), 1)]


def group_names(cards: Sequence[ScoreCard]) -> list[str]:
    """List every group of any card, in order."""
    return list(dict.fromkeys(group.group for card in cards for group in card.groups))


def _label(measure: Measure) -> str:
    unit = "%" if measure.unit == "share" else measure.unit
    return f"{measure.label}, {unit}"


def _cell(measure: Measure, group: GroupCard | None) -> str:
    found = group.measures.get(measure.name) if group else None
    return "-" if found is None else _spell(found, 100.0 if measure.unit == "share" else 1.0)


def _spell(found: Estimate, scale: float) -> str:
    if found.mean is None:
        return "-"
    if found.low is None or found.high is None:  # a single query
        return f"{scale * found.mean:.{1 if scale == 100.0 else 2}f}"
    mean, low, high = (scale * each for each in (found.mean, found.low, found.high))
    return f"{mean:.1f} ({low:.0f} to {high:.0f})" if scale == 100.0 else f"{mean:.2f} ({low:.2f} to {high:.2f})"


def _compared(group: GroupCard | None) -> str:
    return "-" if group is None else f"{group.compared} of {group.queries}"


def _repaired(group: GroupCard | None, repair: str) -> str:
    return "-" if group is None else str(group.repairs.get(repair, 0))


# ---------------------------------- a picture: how faithful the imagined observations are, how surprising the real ones


_LEFT = ("holds_gold", "title_match", "entity_f1", "exact", "well_formed", "hallucination_rate")
_RIGHT = "cross_entropy"
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")
_SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: str | Path) -> None:
    """Raise `ConfigError` when a plot could not be written there: unknown suffix, or no matplotlib."""
    if Path(path).suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: the suffix of a plot must be one of {list(_SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError("a plot needs matplotlib: pip install 'autocoa-plugin[plot]'") from error


def plot_cards(cards: Sequence[ScoreCard], path: str | Path) -> None:
    """Draw cards side by side; colour shows the model, hatching the group.

        left    shares in percent, one bar per model and group, with 95 % intervals
        right   cross-entropy of the real observation, nats per token

    Raises `ConfigError` as `check_plot`.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    bars = list(_bars(cards))
    left = [_measure(name) for name in _LEFT]
    figure = Figure(figsize=(3.5 + max(7.0, 0.28 * len(bars) * len(left)), 4.6), layout="constrained")
    shares, nats = figure.subplots(1, 2, width_ratios=(len(left), 1.6))
    _draw(shares, bars, left, scale=100.0)
    shares.set_ylabel("share of queries or facts (%)")
    shares.set_ylim(0, 105)
    shares.set_title("imagined against real observation (higher is better, except hallucinated)")
    _draw(nats, bars, [_measure(_RIGHT)], scale=1.0)
    nats.set_ylabel("cross-entropy (nats per token)")
    nats.set_title("real observation\n(lower is better)")
    figure.legend(*shares.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, max(1, len(bars))))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


_TICKS = {
    "holds_gold": "holds\ngold answer",
    "title_match": "title\nright",
    "entity_f1": "entity F1",
    "exact": "word\nfor word",
    "well_formed": "well-\nformed",
    "hallucination_rate": "hallucinated\nfacts",
    "cross_entropy": "",
}


def _bars(cards: Sequence[ScoreCard]) -> Iterator[tuple[str, str, str, dict[str, Estimate]]]:
    """Yield (label, colour, hatch, measures) for each model and group."""
    groups = group_names(cards)
    for number, (name, card) in enumerate(zip(card_names(cards), cards, strict=True)):
        for group in card.groups:
            hatch = _HATCHES[groups.index(group.group) % len(_HATCHES)]
            yield f"{name}: {group.group} (n = {group.compared})", f"C{number}", hatch, dict(group.measures)


def _draw(
    axes: Any, bars: Sequence[tuple[str, str, str, dict[str, Estimate]]], what: list[Measure], scale: float
) -> None:
    width = 0.85 / max(1, len(bars))
    for index, (label, colour, hatch, measures) in enumerate(bars):
        found = [measures.get(each.name, Estimate(None, 0, None, None)) for each in what]
        where = [position + (index - (len(bars) - 1) / 2) * width for position in range(len(what))]
        heights = [scale * (each.mean or 0.0) for each in found]
        axes.bar(where, heights, width, label=label, color=colour, hatch=hatch, edgecolor="white", linewidth=0.6)
        for x, each in zip(where, found, strict=True):
            _mark(axes, x, each, scale)
    axes.set_xticks(range(len(what)), [_TICKS[each.name] for each in what])
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(axes: Any, x: float, found: Estimate, scale: float) -> None:
    """An interval; a word on the ground where nothing was measured or it was 0, because no bar could be either."""
    if found.mean is None:
        axes.text(x, 0, "n/a", ha="center", va="bottom", fontsize=7, rotation=90)
        return
    if found.mean == 0:
        axes.text(x, 0, "0", ha="center", va="bottom", fontsize=7)
    if found.low is None or found.high is None:  # a single query
        return
    middle, low, high = (scale * each for each in (found.mean, found.low, found.high))
    axes.errorbar(
        x, middle, yerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]], color="0.2", linewidth=1, capsize=2
    )


def _measure(name: str) -> Measure:
    return next(each for each in MEASURES if each.name == name)
