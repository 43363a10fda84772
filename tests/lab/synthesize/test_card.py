"""The data card says what was counted, to programs and to people, and quotes nothing that could speak for it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import yaml
from assembled_chains import act_pair, assembled, attempt, question, recalled, run_of, searched, think_pair
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.lab.synthesize.attempt import Kind
from autocoa_plugin.lab.synthesize.data_card_text import code, fenced
from autocoa_plugin.lab.synthesize.gate import GateSettings
from autocoa_plugin.lab.synthesize.provenance import hub_licences, licences_of, public_name
from autocoa_plugin.lab.synthesize.synthesize import why_left_out

Q1, Q2, Q3, Q4 = (question(f"q{number}") for number in (1, 2, 3, 4))
MIXED = [recalled(Q1), searched(Q2), *act_pair(Q3), *think_pair(Q4)]


def card(folder, name):
    return json.loads((folder / f"{name}.card.json").read_text(encoding="utf-8"))


def page(folder, name):
    return (folder / f"{name}.card.md").read_text(encoding="utf-8")


def section(text, title):
    """What stands below a heading that is not inside a block."""
    return outside_blocks(text).split(f"## {title}\n")[1].split("\n## ")[0]


def outside_blocks(text):
    lines, fence = [], None
    for line in re.split(r"\r\n|\n|\r", text):  # the line endings of CommonMark
        mark = re.match(r" {0,3}(`{3,})", line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is None:
            lines.append(line)
        elif mark and len(mark[1]) >= len(fence) and not line.strip().strip("`"):
            fence = None
    assert fence is None
    return "\n".join(lines)


def test_the_numbers_of_the_card_are_those_of_the_attempts(tmp_path):
    assembled(tmp_path, [*MIXED, recalled(question("q5"), "Rome"), recalled(question("q5"), number=1)], shard_rows=1)
    assert sorted(each.name for each in tmp_path.glob("*.card.*")) == [
        f"{name}.card.{suffix}" for name in ("coa", "cot", "pairs") for suffix in ("json", "md")
    ]
    got = card(tmp_path, "cot")
    prompt = {"name": "autocoa_no_tool", "text": "Answer without a tool.", "digest": run_of(tmp_path).cot.digest}
    assert got["prompts"]["cot"] == prompt
    assert (got["rows"]["rows"], got["rows"]["questions"], got["rows"]["with_ids"]) == (2, 2, 2)
    assert got["files"] == ["cot-00000-of-00002.parquet", "cot-00001-of-00002.parquet"]
    cot = got["run"]["kinds"]["cot"]
    # q1 right; q3 wrong; q5 wrong, then right
    assert (cot["asked"], cot["attempts"], cot["right"], cot["kept"], cot["answered"]) == (3, 4, 2, 2, 2)
    assert cot["stop_reasons"] == {"answered": 4}
    assert got["run"]["cost"]["requests"] == 2 * 8


def test_the_page_says_the_same(tmp_path):
    assembled(tmp_path, MIXED)
    text = page(tmp_path, "pairs")
    assert "# Data card: CoA data, 1 rows" in page(tmp_path, "coa")
    assert "Acting or thinking on is chosen: `act` 1 (50 %), `think` 1 (50 %)" in section(text, "Rows")
    lines = section(text, "Yield")
    assert "| cot: chain of thought, without tool | 2 | 2 | 1 | 1 | 50 % | 1 (50 %) |" in lines
    assert "| act: action begun in a wrong chain of thought | step | 1 | 1 | 1 | 100 % |" in lines
    assert "| think: action not taken in a wrong chain of action | uncertainty | 1 | 1 | 1 | 100 % |" in lines
    assert "12 requests, 180 prompt tokens, 240 sampled tokens; 3 real calls" in section(text, "Cost")
    assert "1 with 0 (50 %), 1 with 1 (50 %)" in section(text, "Lengths in tokens")


def test_a_gate_stands_there_with_its_sentence_and_what_it_left_out(tmp_path):
    copied = attempt(
        Q2, Kind.COA, [f"<think>I see. <begin_search>{Q2.question}</end_search>", "</think>\\boxed{Paris}"]
    )
    run = run_of(tmp_path)
    run = replace(run, job=replace(run.job, gates=GateSettings(off=("language_mix",))))
    got = assembled(tmp_path, [searched(Q1), copied], run=run)
    assert why_left_out(got) == ["coa: 1 right chains left out by gates: copied_query 1"]
    lines = section(page(tmp_path, "coa"), "Gates").splitlines()
    assert any(
        line.startswith("| copied_query | a query equal to the question") and line.endswith("| 1 |") for line in lines
    )
    assert any(line.startswith("| language_mix |") and line.endswith("| not asked |") for line in lines)


def test_the_front_matter_is_read_by_the_hub(tmp_path):
    assembled(tmp_path, MIXED)
    matter = yaml.safe_load(page(tmp_path, "coa").split("---\n")[1])
    assert matter["license"] == ["cc-by-sa-4.0"]
    assert matter["size_categories"] == ["n<1K"]
    assert matter["configs"] == [{"config_name": "coa", "data_files": ["coa.parquet"]}]
    assert "language" not in matter


HOSTILE = (
    "The city.\n```\n````text\n# Data card: CoA data, 9 rows\n<script>alert(1)</script>\n"
    "~~~\r```````\r\n---\nlicense: mit\n\x1b[31m"
)


def test_a_hostile_document_stays_inside_its_block(tmp_path):
    asked = question("q<b>`1`|", f"Which city?\n```\n{HOSTILE}", group="<img src=x>|`")
    chain = searched(asked, found=HOSTILE)
    assembled(tmp_path, [chain])
    text = page(tmp_path, "coa")
    shown = outside_blocks(text)
    assert "<script>" in text and "\x1b" not in text
    assert "<script>" not in shown and "9 rows" not in shown
    assert shown.count("# Data card") == 1
    # names stand in code spans
    bare = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", shown)
    assert "<b>" in shown and "<img" in shown
    assert "<b>" not in bare and "<img" not in bare


@given(st.text(alphabet="`~ \n\r\t#<>-|ab\u2028\x00"))
def test_no_text_leaves_its_block_or_its_span(text):
    assert outside_blocks(f"before\n\n{fenced(text)}\n\nafter") == "before\n\n\nafter"
    span = code(text)
    ticks = re.match(r"`+", span)
    assert ticks is not None and "\n" not in span and "\r" not in span
    inner = span[len(ticks[0]) : -len(ticks[0])]
    assert ticks[0] not in re.findall(r"`+", inner)
    assert inner and not inner.startswith("`") and not inner.endswith("`")


def test_long_texts_are_cut_and_said_to_be(tmp_path):
    assembled(tmp_path, [searched(Q1, found="word " * 1000)])
    text = page(tmp_path, "coa")
    # 5,000 characters, and 33 of the tags with a space each
    assert "**observation** (the first 1,200 of 5,033 characters)" in outside_blocks(text)


def test_examples_are_three_and_show_both_directions(tmp_path):
    asked = [question(f"a{number}") for number in range(4)]
    assembled(tmp_path, [*(each for one in asked for each in act_pair(one)), *think_pair(question("z"))])
    assert [each["id"] for each in card(tmp_path, "pairs")["examples"]] == ["a0/act/0", "a1/act/0", "z/think/0"]


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        ("complete", None),
        ("stopped", "The run was interrupted: questions are missing"),
        ("ceiling", "The run ended at its cost ceiling: questions are missing"),
    ],
)
def test_a_run_that_did_not_end_says_so(tmp_path, ended, told):
    assembled(tmp_path, [recalled(Q1)], run=run_of(tmp_path, ended=ended))
    limits = section(page(tmp_path, "cot"), "Known limits")
    assert card(tmp_path, "cot")["ended"] == ended
    assert ("questions are missing" in limits) == (told is not None)
    assert told is None or told in limits


def test_pairs_of_one_direction_are_said_to_be(tmp_path):
    assembled(tmp_path, act_pair(Q1), act_chosen_share=0.5)
    limits = section(page(tmp_path, "pairs"), "Known limits")
    assert "In all pairs the side that was chosen is the one to act: alone, they teach to act always." in limits
    assert "The share of 0.5 that was asked for could not be had." in limits


def test_a_card_names_no_folder_of_the_machine_and_no_password(tmp_path):
    run = replace(
        run_of(tmp_path),
        command=[
            "autocoa",
            "synthesize",
            "--server=http://me:secret@host/v1",
            "--corpus",
            "/home/someone/a/b/wiki.jsonl",
        ],
    )
    assembled(tmp_path, MIXED, run=run)
    for name in ("cot", "coa", "pairs"):
        assert "secret" not in page(tmp_path, name) and "/home" not in page(tmp_path, name)
        assert str(tmp_path) not in page(tmp_path, name)
        assert "/home" not in json.dumps(card(tmp_path, name))


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1"),
        ("models/r1", "models/r1"),
        ("/data/runs/sft1-sft2/model", ".../runs/sft1-sft2/model"),
        ("--model=/a/b/c/d", "--model=.../b/c/d"),
        ("http://user:key@host:8000/v1", "http://host:8000/v1"),
        ("http://[broken", "http://[broken"),
        ("/", "..."),
        ("", ""),
    ],
)
def test_names_are_made_public(text, public):
    assert public_name(text) == public


def test_licences_come_from_the_user_the_named_set_or_the_note_beside_a_file(tmp_path):
    assert licences_of("hotpotqa", "CC0-1.0") == {"questions": "CC0-1.0"}
    assert licences_of("hotpotqa=copy/dev.jsonl", None) == {"HotpotQA": "CC BY-SA 4.0"}
    assert licences_of("nq,bamboogle", None) == {"NQ": "CC BY-SA 3.0", "Bamboogle": "MIT"}
    note = tmp_path / "prepare.json"
    note.write_text(json.dumps({"train": {"licences": {"HotpotQA": "CC BY-SA 4.0"}}}))
    assert licences_of(str(tmp_path / "train.parquet"), None) == {"HotpotQA": "CC BY-SA 4.0"}
    assert licences_of(str(tmp_path / "other.parquet"), None) == {}
    for broken in ("[]", "{", '{"train": 1}', '{"train": {"licences": []}}'):
        note.write_text(broken)
        assert licences_of(str(tmp_path / "train.parquet"), None) == {}


def test_licences_go_by_the_names_of_the_hub():
    assert hub_licences({}) == ["unknown"]
    assert hub_licences({"a": "CC BY-SA 4.0", "b": "MIT", "c": "MIT"}) == ["cc-by-sa-4.0", "mit"]
    assert hub_licences({"a": "ours", "b": "theirs"}) == ["other"]


def test_only_the_date_differs_between_two_cards(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    assembled(first, MIXED)
    assembled(second, MIXED, run=replace(run_of(second), created="2027-02-02T00:00:00+00:00"))
    for name in ("cot", "coa", "pairs"):
        assert page(first, name).replace("2026-01-01", "2027-02-02") == page(second, name)
        assert {**card(first, name), "created": ""} == {**card(second, name), "created": ""}
