"""Cards as files, tables and pictures, and the intervals on them."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.scorecard.imagine import MEASURES, estimate
from autocoa_plugin.lab.scorecard.scorecard import Estimate, GroupCard, ScoreCard, read_cards, save_cards
from autocoa_plugin.lab.scorecard.table import card_names, card_tables, check_plot, notes, plot_cards
from autocoa_plugin.ledger import LedgerEntry

NOTHING = Estimate(None, 0, None, None)


def card(model: str = "runs/sft3/model", **more: object) -> ScoreCard:
    measures = {each.name: NOTHING for each in MEASURES}
    measures |= {"holds_gold": Estimate(0.5, 4, 0.25, 0.75), "cross_entropy": Estimate(1.25, 4, 1.0, 1.5)}
    group = GroupCard("held", 5, 4, 1, 0, measures, {"unclosed_observations": 2})
    card = ScoreCard(
        model,
        protocol="autocoa",
        sampling={"temperature": 0.0},
        real={"backend": "index", "sha256": "ab"},
        queries={"file": "q.jsonl"},
        groups=(group,),
        spent=LedgerEntry(real_calls=5, cost=0.5, sampled_observation_tokens=40),
        scored_by="TransformersEngine",
        created="2026-01-01T00:00:00+00:00",
    )
    return replace(card, **more)  # type: ignore[arg-type]


def test_cards_are_read_back_as_they_were_written(tmp_path):
    cards = [card(), card(step=10, scored_by=None, first_error="ToolError: down")]
    save_cards(cards, tmp_path / "new" / "card.json")
    assert read_cards(tmp_path / "new" / "card.json") == cards
    assert card().to_dict()["schema_version"] == 1
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["card.json"]


def test_the_file_names_costs_as_it_always_did(tmp_path):
    save_cards([card()], tmp_path / "card.json")
    (row,) = json.loads((tmp_path / "card.json").read_text())["cards"]
    calls = {"real_calls": 5, "cached_calls": 0, "replayed_calls": 0, "simulated_calls": 0}
    assert row["spent"] == {**calls, "cost": 0.5, "sampled_tokens": 40}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "card.json: not a file of scorecards"),
        ("[]", "card.json: not a file of scorecards"),
        ('{"cards": [{"schema_version": 2}]}', "card.json: schema_version must be 1, got 2"),
        ('{"cards": [{"schema_version": 1}]}', "card.json: not a stored scorecard: KeyError: 'groups'"),
        (None, "no readable file of scorecards"),
    ],
)
def test_what_is_no_card_is_refused_with_its_file(tmp_path, text, message):
    if text is not None:
        (tmp_path / "card.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_cards(tmp_path / "card.json")
    with pytest.raises(ConfigError, match=r"the suffix of a plot must be one of \['.png', '.svg', '.pdf'\]"):
        check_plot(tmp_path / "card.jpeg")


def test_a_card_with_a_number_that_is_not_finite_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        save_cards([card(sampling={"temperature": float("nan")})], tmp_path / "card.json")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (([1.0, None, 0.0, None],), (0.5, 2)),  # what was not measured is left out
        (([4.0, 2.0, None], [1, 3, 9]), (2.5, 2)),
        (([0.25, None],), Estimate(0.25, 1, None, None)),
        (([None],), NOTHING),
        (([],), NOTHING),
        (([0.25] * 8,), Estimate(0.25, 8, 0.25, 0.25)),
    ],
    ids=["not measured", "weights", "a single query", "nothing", "empty", "equal values"],
)
def test_a_mean_is_of_what_was_measured_and_its_interval_needs_two_values(values, expected):
    found = estimate(*values)
    assert ((found.mean, found.n) if isinstance(expected, tuple) else found) == expected


def test_the_interval_of_a_share_agrees_with_the_normal_approximation():
    # p = 0.3 of n = 200: 1.96 * sqrt(0.3 * 0.7 / 200) = 0.0635
    found = estimate([1.0] * 60 + [0.0] * 140)
    assert found.low == pytest.approx(0.3 - 0.0635, abs=0.012) and found.high == pytest.approx(0.3635, abs=0.012)


def test_about_95_percent_of_intervals_hold_the_true_mean():
    rng = random.Random(1)
    held = 0
    for _ in range(100):
        found = estimate([float(rng.random() < 0.4) for _ in range(60)])
        held += (found.low or 0) <= 0.4 <= (found.high or 0)
    assert 88 <= held <= 100  # binomial with p = 0.95: 88 is three standard deviations off


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_the_interval_is_the_same_every_time_and_within_the_values(values):
    found = estimate(values)
    assert found == estimate(values)
    assert min(values) - 1e-9 <= (found.low or 0) <= (found.high or 0) <= max(values) + 1e-9


# -------------------------------------------------------------------------------------------------- table and picture


def test_a_card_is_a_table_and_a_plot_with_gaps_and_several_models(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    console = Console(width=100, file=io.StringIO())
    console.print(*card_tables([card("a"), replace(card("b"), groups=())]))
    assert all(told in console.file.getvalue() for told in ("4 of 5", "50.0 (25 to 75)", "1.25 (1.00 to 1.50)"))
    plot_cards([card("a"), card("b")], tmp_path / "new" / "card.svg")
    text = (tmp_path / "new" / "card.svg").read_text()
    assert "a: held (n = 4)" in text and "nats per token" in text


def test_columns_are_named_by_what_tells_the_models_apart():
    assert card_names([card("runs/sft2/model"), card("runs/sft3/model")]) == ["sft2", "sft3"]
    assert card_names([card("a/sft3/huggingface"), card("b/sft3/huggingface")]) == ["a/sft3", "b/sft3"]
    assert card_names([card("m", step=0), card("m", step=10)]) == ["m step 0", "m step 10"]
    assert card_names([card("m"), card("m")]) == ["m (1)", "m (2)"]


def test_what_was_not_measured_or_failed_is_said():
    (unscored, failed) = notes([card("a", scored_by=None), card("b", first_error="down")])
    assert unscored.startswith("a: no cross-entropy") and failed == "b: queries failed, the first with: down"
