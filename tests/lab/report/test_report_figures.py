"""Curves, places of labels, and the SVG that comes of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import interval, write_training

from autocoa_plugin.lab.report.curves import Phase, drawables, phases, series
from autocoa_plugin.lab.report.figures import drawn, plain, spread
from autocoa_plugin.lab.report.figures_results import dots
from autocoa_plugin.lab.report.figures_training import Point, efficient, frontier, running_mean, training_panel
from autocoa_plugin.lab.report.material import Training
from autocoa_plugin.lab.report.read import read_runs


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> Training:
    return read_runs([write_training(tmp_path_factory.mktemp("stages") / "rl12")]).trainings[0]


def test_a_run_has_the_panels_it_logged_and_no_other(training):
    names = [each.panel.name for each in drawables(training)]
    assert names == ["exact_match", "reward", "actions", "format", "stop", "length", "entropy", "kl", "gradient"]


def test_validation_stands_beside_training_and_reasons_that_never_came_are_left_out(training):
    curves = {each.panel.name: [curve.label for curve in each.curves] for each in drawables(training)}
    assert curves["exact_match"] == ["training", "held out: tinyworld/2hop"]
    assert curves["stop"] == ["action limit"]


def test_values_that_are_no_finite_number_are_left_out():
    steps = {3: {"loss": 1}, 1: {"loss": None}, 2: {"loss": float("nan")}, 4: {"loss": "high"}, 5: {}}
    assert series(steps, "loss") == [(3, 1.0)]


def test_phases_follow_who_answered_most(training):
    # made_runs: 20 imagined steps of 24
    assert phases(training) == [Phase("imagined", 1, 20), Phase("real", 21, 24)]


def test_a_running_mean_of_few_points_is_the_points():
    points = [(step, float(step)) for step in range(29)]
    assert running_mean(points) == points
    # 60 points reach 2 to either side: at the first one the mean of 0, 1, 2
    assert running_mean([(step, float(step)) for step in range(60)])[0] == (0, 1.0)


@given(st.lists(st.floats(0, 100), max_size=12), st.floats(0.5, 8))
def test_labels_keep_apart_and_inside(wanted, gap):
    places = spread(wanted, gap, 0.0, 100.0)
    assert all(after - before >= gap - 1e-6 for before, after in zip(sorted(places), sorted(places)[1:], strict=False))
    assert all(gap / 2 - 1e-6 <= place <= 100 - gap / 2 + 1e-6 for place in places)
    assert [wanted[index] for index in sorted(range(len(wanted)), key=places.__getitem__)] == sorted(wanted)


def test_the_frontier_holds_what_no_cheaper_method_reaches():
    points = [Point("dear", 900, interval(0.9, 100)), Point("cheap", 0, interval(0.5, 100))]
    points += [Point("worse", 1000, interval(0.8, 100)), Point("free and worse", 0, interval(0.4, 100))]
    assert [point.name for point in efficient(points)] == ["cheap", "dear"]


def test_svg_has_the_pages_colours_text_as_text_and_ids_of_its_own():
    panels = {"1hop": {"SFT-1": interval(0.4, 100), "a < b & c": interval(0.7, 1)}}
    first, second = (dots(panels, ["SFT-1", "a < b & c"], name=name, alt="x").svg for name in ("one", "two"))
    root = ElementTree.fromstring(first)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"SFT-1", "a < b & c", "1hop"} <= set(texts)
    assert not re.search(r"#[0-9a-f]{6}|DejaVu|metadata|<style|1970|20\d\d-", first)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(each == "one" or each.startswith("one-") for each in ids)
    referred = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', first))
    assert {left or right for left, right in referred} <= set(ids)
    assert first.replace("one", "").count("<") == second.replace("two", "").count("<")


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "$x^2$ \\frac", "_hidden", "nul\x00\x1b[31m", "\ud800", "漢字", "x" * 500]
)
def test_any_name_can_be_drawn(name):
    picture = frontier([Point(name, 0, interval(0.5, 10)), Point("b", 10, interval(0.6, 10))], name="f")
    assert "<script" not in picture.svg
    assert plain(name) in [
        element.text.strip() for element in ElementTree.fromstring(picture.svg).iter() if element.text
    ]


def test_a_single_step_and_a_single_question_can_be_drawn():
    training = Training("t", None, {1: {"autocoa/exact_match": 1.0, "autocoa/stop/timeout": 0.5, "train/loss": 0.1}})  # pyright: ignore[reportArgumentType]
    assert all(training_panel(each, (), name="p", run="t").svg for each in drawables(training))


def test_an_empty_figure_is_still_an_image_with_its_text():
    picture = drawn(lambda figure: None, name="none", alt='nothing "here"', width=100, height=50)
    assert ElementTree.fromstring(picture.svg).get("aria-label") == 'nothing "here"'
