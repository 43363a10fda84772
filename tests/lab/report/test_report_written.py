"""The page and the numbers beside it, as `autocoa report` writes them."""

from __future__ import annotations

import argparse
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_runs import TEN, Made, card, write_evaluation, write_training

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.report.cli import add_parser, write_report
from autocoa_plugin.lab.report.material import ROWS
from autocoa_plugin.lab.scorecard.scorecard import save_cards

SECTIONS = ["table1", "metrics", "actions", "decisions", "training", "frontier", "ledger", "scorecard", "settings"]
HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags with their attributes, ids, and the text outside of markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    @property
    def ids(self) -> list[str]:
        return [identity for _, attrs in self.tags if (identity := attrs.get("id"))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for made in TEN:
        write_evaluation(folder / "results" / made.method, made)
    write_training(folder / "stages" / "rl12")
    save_cards([card()], folder / "scorecard.json")
    return folder


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory) -> tuple[str, dict]:
    output = tmp_path_factory.mktemp("page") / "report.html"
    page, data = write_report([runs], output, command="autocoa report RUNS", created="2026-11-21")
    return page.read_text(encoding="utf-8"), json.loads(data.read_text(encoding="utf-8"))


def test_all_sections_stand_in_order_with_unique_ids_and_links_to_them(written):
    page = Page(written[0])
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs["href"]]
    assert links == [f"#{name}" for name in SECTIONS]
    assert "Left out" not in page.text


def test_the_page_asks_nobody_and_runs_nothing(written):
    page = Page(written[0])
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    policy = next(
        attrs["content"] or "" for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'") and "script-src" not in policy
    # an address may only be the name of SVG, which nobody fetches
    assert set(re.findall(r"\w+://[^\s\"'<)]+", written[0])) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!#)", written[0])


def test_methods_numbers_and_the_lead_are_there(written):
    page = Page(written[0])
    for method in ROWS:
        assert method in page.text
    assert "Highest exact match over 400 questions: SFT-1&2 RL-2, 81.5\N{NO-BREAK SPACE}%" in page.text
    assert "86.7 to 97.3" in page.text


def test_the_numbers_beside_the_page_are_all_it_shows(written):
    data = written[1]
    (comparison,) = data["comparisons"]
    assert [row["name"] for row in comparison["rows"]] == list(ROWS)
    assert comparison["leaders"]["all"] == {"SFT-1&2 RL-2": "tied", "SFT-1&2&3 RL-1&2": "tied"}
    (training,) = data["trainings"]
    assert training["phases"][1] == {"kind": "real", "first": 21, "last": 24}
    assert training["curves"]["entropy"]["entropy"][0][0] == 1
    assert len(data["scorecards"]) == 1


def test_only_the_date_differs_between_two_reports(runs, tmp_path):
    pages = [write_report([runs / "results" / "ReAct"], tmp_path / f"{name}.html", created="x")[0] for name in "ab"]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_scorecard_alone_leaves_the_other_sections_out_with_a_sentence(runs, tmp_path):
    page = Page(write_report([runs / "scorecard.json"], tmp_path / "report.html")[0].read_text(encoding="utf-8"))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == SECTIONS
    # all but scorecard and settings
    assert page.text.count("Left out: ") == 7
    assert "no evaluation was given: autocoa report RESULTS_FOLDER" in page.text


def test_one_method_alone_claims_no_leader(runs, tmp_path):
    page, data = write_report([runs / "results" / "ReAct"], tmp_path / "report.html")
    assert "told apart" not in Page(page.read_text(encoding="utf-8")).text
    assert json.loads(data.read_text(encoding="utf-8"))["comparisons"][0]["leaders"]["all"] == {}


def test_hostile_names_stay_text(tmp_path):
    for number, name in enumerate(
        (HOSTILE, '"><img src=x onerror=alert(1)>', "nul\x00 \x1b[31m \u202e", "{{ 7 * 7 }}")
    ):
        write_evaluation(tmp_path / f"{number}", Made(name, (0.5, 0.4, 0.3, 0.2)))
    save_cards([card(model=HOSTILE)], tmp_path / "card.json")
    text = write_report([tmp_path], tmp_path / "report.html", title=HOSTILE)[0].read_text(encoding="utf-8")
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert HOSTILE in page.text and "{{ 7 * 7 }}" in page.text
    assert not set("\x00\x1b\u202e") & set(text)


def test_numbers_that_json_does_not_know_are_null(runs, tmp_path):
    folder = write_training(tmp_path / "rl")
    result = json.loads((folder / "stage.json").read_text())
    (folder / "stage.json").write_text(json.dumps({**result, "last_loss": float("nan")}), encoding="utf-8")
    _, data = write_report([folder], tmp_path / "report.html")
    assert json.loads(data.read_text(), parse_constant=pytest.fail)["trainings"][0]["result"]["last_loss"] is None


@pytest.mark.parametrize("name", ["report.pdf", "report", "folder.html"])
def test_an_output_that_is_no_html_file_is_refused_before_anything_is_read(tmp_path, name):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        write_report([tmp_path / "missing"], tmp_path / name)


def test_a_run_that_is_none_writes_nothing(tmp_path):
    with pytest.raises(DataError):
        write_report([tmp_path / "missing"], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_where_the_files_are(runs, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    output = tmp_path / "deep" / "report.html"
    parsed = parser.parse_args(["report", str(runs / "results" / "SFT-1"), "-o", str(output), "--paper-rows"])
    assert not parsed.run(parsed)
    assert capsys.readouterr().out.splitlines() == [str(output), str(output.with_suffix(".json"))]
    assert Page(output.read_text(encoding="utf-8")).text.count("not run") == 9
