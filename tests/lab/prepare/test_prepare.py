"""`autocoa prepare`: which questions become prompts, what is said of them, and one line for whatever is wrong."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_sets import EXPECTED, ROWS, write_jsonl, write_parquet

from autocoa_plugin.cli import main
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.asking.question_rows import Columns
from autocoa_plugin.lab.asking.question_sets import SETS
from autocoa_plugin.lab.asking.questions import questions_identity, read_questions
from autocoa_plugin.lab.prepare.cli import steps_text
from autocoa_plugin.lab.prepare.prepare import PAPER_STEPS, PRESETS, PROMPTS_PER_STEP, select_training, wording

DATA = Path(os.environ.get("AUTOCOA_REAL_DATA") or Path(__file__).parents[3] / "../shared/data")
TRAINED = [name for name, each in SETS.items() if each.has_training]


def asked(count: int, word: str = "train") -> list[dict[str, Any]]:
    return [{"id": f"{word}{n}", "question": f"{word} {n}?", "answers": ["a"]} for n in range(count)]


def prepare(folder: Path, *arguments: object) -> int:
    return main(["prepare", "-o", str(folder), *map(str, arguments)])


def ids(folder: Path, part: str = "train") -> list[str]:
    return [each.id for each in read_questions(str(folder / f"{part}.parquet"))]


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "prepare.json").read_text())


def refusal(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: object) -> str:
    """The one line that a command ends in."""
    assert prepare(folder, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("autocoa: ")


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "train.jsonl", asked(100))


@pytest.fixture
def val(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "dev.jsonl", asked(3, "val"))


# ------------------------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("name", TRAINED)
def test_a_set_as_it_stands_on_the_hub_is_trained_on_its_training_part(name, tmp_path):
    held, copy, other = SETS[name], tmp_path / "copy", {**ROWS[name], "question": "Who else wrote it?"}
    write_parquet(copy / "data" / "train.parquet", [ROWS[name]])
    write_parquet(copy / "data" / f"{held.split}.parquet", [other, other | {"id": "2", "question_id": "2"}])
    if held.config:
        files = [{"split": part, "path": f"data/{part}.parquet"} for part in ("train", held.split)]
        configs = json.dumps({"configs": [{"config_name": held.config, "data_files": files}]})
        (copy / "README.md").write_text(f"---\n{configs}\n---\n")
    assert prepare(tmp_path / "out", "--train", f"{name}={copy}", "--val", f"{name}={copy}", "--limit-val", 1) == 0
    (question,) = read_questions(str(tmp_path / "out" / "train.parquet"))
    assert question == Question(
        **{**vars(EXPECTED[name]), "meta": {**EXPECTED[name].meta, "index": 0, "split": "train"}}
    )
    (held_out,) = read_questions(str(tmp_path / "out" / "val.parquet"))
    assert held_out.question == "Who else wrote it?" and held_out.meta["split"] == "val"
    assert card(tmp_path / "out")["train"]["licences"] == {held.label: held.licence}
    assert card(tmp_path / "out")["val"]["left_out"] == {"beyond the limit": 1}


@pytest.mark.parametrize("name", ["bamboogle", "popqa"])
def test_a_set_without_a_training_part_is_refused_for_training_and_taken_for_validation(name, tmp_path, capsys):
    source = f"{name}={write_jsonl(tmp_path / 'test.jsonl', [ROWS[name]])}"
    message = f"{name} has no training part, all of it is for evaluation; these have: nq, triviaqa, hotpotqa, 2wiki"
    assert refusal(capsys, tmp_path / "out", "--train", source).startswith(message)
    assert refusal(capsys, tmp_path / "out", "--train", f"nq,{name}").startswith(message)
    assert prepare(tmp_path / "out", "--val", source) == 0
    assert ids(tmp_path / "out", "val") == [EXPECTED[name].id]


def test_a_copy_without_the_training_part_is_not_trained_on_unless_its_part_is_named(tmp_path, capsys):
    source = f"nq={write_parquet(tmp_path / 'copy' / 'validation.parquet', [ROWS['nq']]).parent}"
    said = refusal(capsys, tmp_path / "out", "--train", source)
    assert said.endswith("split must be one of ['validation'], got 'train'")
    assert prepare(tmp_path / "out", "--train", source, "--train-split", "validation") == 0
    assert card(tmp_path / "out")["train"]["split"] == "validation"


def test_several_sets_are_one_file_with_their_licences(tmp_path):
    sources = [f"{name}={write_jsonl(tmp_path / f'{name}.jsonl', [ROWS[name]])}" for name in ("nq", "musique")]
    assert prepare(tmp_path / "out", "--train", ",".join(sources)) == 0
    assert ids(tmp_path / "out") == [EXPECTED["nq"].id, EXPECTED["musique"].id]
    told = card(tmp_path / "out")["train"]
    assert told["licences"] == {"NQ": "CC BY-SA 3.0", "MuSiQue": "CC BY 4.0"}
    assert told["questions"]["source"] == "nq,musique"


def test_columns_of_a_csv_are_given_by_name_and_a_set_beside_it_knows_its_own(tmp_path):
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "prompt", "label", "topic", "year"])
        rows.writerow(["k1", "Who?", '["Kipling", "R. Kipling"]', "books", "1894"])
    held = f"nq={write_jsonl(tmp_path / 'nq.jsonl', [ROWS['nq']])}"
    columns = "question=prompt, answers=label, id=key, group=topic"
    assert prepare(tmp_path / "out", "--train", tmp_path / "mine.csv", "--columns", columns, "--val", held) == 0
    (question,) = read_questions(str(tmp_path / "out" / "train.parquet"))
    meta = {"year": "1894", "index": 0, "split": "train"}
    assert question == Question("k1", "Who?", ("Kipling", "R. Kipling"), "books", meta=meta)


def test_the_identity_in_the_card_is_that_of_the_file_that_was_written(tmp_path, train, val):
    assert prepare(tmp_path / "out", "--train", train, "--val", val) == 0
    for part, source in (("train", train), ("val", val)):
        again = questions_identity(str(source), read_questions(str(tmp_path / "out" / f"{part}.parquet")))
        assert card(tmp_path / "out")[part]["questions"] == again


def test_the_folder_is_what_the_rl_stages_take(tmp_path, train, val):
    from autocoa_plugin.stages.plan import find_files
    from autocoa_plugin.stages.registry import get_stage

    assert prepare(tmp_path / "out", "--train", train, "--val", val) == 0
    found = find_files(get_stage("rl12"), tmp_path / "out", [])
    names = {key: [path.name for path in paths] for key, paths in found.items()}
    assert names == {"data.train_files": ["train.parquet"], "data.val_files": ["val.parquet"]}


def test_verls_data_set_reads_the_files_with_their_golds_and_split(tmp_path, train, val, monkeypatch):
    pytest.importorskip("verl", reason="needs the extra verl")
    import datasets
    from omegaconf import OmegaConf

    from autocoa_plugin.rewards import golds_of_row
    from autocoa_plugin.verl_adapters.agent_loop import metadata_of
    from autocoa_plugin.verl_adapters.prompt_dataset import PromptDataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert prepare(tmp_path / "out", "--train", train, "--val", val) == 0
    files = {part: str(tmp_path / "out" / f"{part}.parquet") for part in ("train", "val")}
    config = OmegaConf.create(
        {
            "train_files": files["train"],
            "train_batch_size": 48,
            "cache_dir": str(tmp_path),
            "filter_overlong_prompts": False,
        }
    )
    rows = PromptDataset(files["train"], None, config)
    assert len(rows) == 100 and rows[99]["raw_prompt"] == [{"role": "user", "content": "train 99?"}]
    assert golds_of_row(rows[99]["reward_model"], "") == ("a",) and rows[99]["index"] == 99
    assert metadata_of(rows[99], 1)["split"] == "train"
    held = PromptDataset(files["val"], None, config)
    assert metadata_of(held[2], 1)["split"] == "val" and held[2]["extra_info"]["id"] == "val2"


# --------------------------------------------------------------------------------------------------- what is trained on


def question(id: str, text: str) -> Question:
    return Question(id, text, ("a",))


def select(
    texts: Sequence[str], held: Sequence[str] = (), *, seed: int | None = None, limit: int | None = None
) -> tuple[list[str], dict[str, int]]:
    chosen = [question(str(number), text) for number, text in enumerate(texts)]
    selection = select_training(chosen, [question("v", text) for text in held], seed=seed, limit=limit)
    return [each.id for each in selection.questions], selection.left_out


def test_what_validation_asks_too_and_what_was_asked_before_is_left_out_and_counted():
    texts = ["Who wrote Kim?", "who wrote the  KIM", "Where is it?", "When?", "Where is it", "Where is it?!"]
    left, counts = select(texts, held=["When", "Who?"])
    # 1 repeats 0 but for case, article and mark, 4 and 5 repeat 2, validation asks 3
    assert left == ["0", "2"]
    assert counts == {"in validation too": 1, "asked before": 3, "beyond the limit": 0}


@pytest.mark.parametrize(("one", "other"), [("3 + 4?", "3 * 4?"), ("Is 1.5 more?", "Is 15 more?"), ("?", "!")])
def test_marks_that_make_another_question_are_no_mere_punctuation(one, other):
    assert wording(one) != wording(other)


def test_thousands_are_the_same_number_however_they_are_spelled():
    assert wording("Who sold 10,000 of it?") == wording("Who sold 10000 of it?")


def test_without_a_seed_questions_stay_in_their_order_and_a_limit_takes_the_first():
    assert select(["a?", "b?", "c?", "d?"], held=["b"], limit=2) == (
        ["0", "2"],
        {"in validation too": 1, "asked before": 0, "beyond the limit": 1},
    )


def test_a_draw_is_the_same_each_time_another_for_each_seed_and_the_same_for_any_order_of_reading():
    chosen = [question(str(number), f"{number}?") for number in range(50)]
    first, again, backwards, other = (
        [each.id for each in select_training(source, [], seed=seed, limit=10).questions]
        for source, seed in ((chosen, 1), (chosen, 1), (chosen[::-1], 1), (chosen, 2))
    )
    assert first == again == backwards != other and len(set(other)) == 10


def test_one_question_left_out_moves_no_other_in_the_drawn_order():
    texts = [f"{number}?" for number in range(50)]
    whole, _ = select(texts, seed=0)
    without, _ = select(texts, held=["7?"], seed=0)
    assert [id for id in whole if id != "7"] == without != sorted(without, key=int)


def test_training_questions_are_compared_with_all_of_validation_also_where_that_is_limited(tmp_path):
    rows = asked(5)
    train, val = write_jsonl(tmp_path / "t.jsonl", rows), write_jsonl(tmp_path / "v.jsonl", rows[2:4])
    assert prepare(tmp_path / "out", "--train", train, "--val", val, "--limit-val", 1) == 0
    assert (ids(tmp_path / "out"), ids(tmp_path / "out", "val")) == (["train0", "train1", "train4"], ["train2"])
    told = card(tmp_path / "out")
    assert (told["train"]["read"], told["train"]["left_out"]["in validation too"]) == (5, 2)
    assert (told["train"]["compared"], told["val"]["compared"]) == (2, None)


# -------------------------------------------------------------------------------------------------------------- preset


def test_the_papers_preset_is_96_steps_of_the_recipes_prompts():
    assert (PAPER_STEPS, PROMPTS_PER_STEP, PRESETS["paper"].prompts) == (96, 48, 4608)
    recipe = (Path(__file__).parents[3] / "recipes" / "rl_base.yaml").read_text()
    assert f"train_batch_size: {PROMPTS_PER_STEP} " in recipe


def test_the_papers_preset_draws_4608_of_hotpotqa(tmp_path, capsys):
    rows = [{**ROWS["hotpotqa"], "id": f"{n:05}", "question": f"Is it {n}?"} for n in range(5000)]
    source = f"hotpotqa={write_jsonl(tmp_path / 'train.jsonl', rows)}"
    assert prepare(tmp_path / "out", "--preset", "paper", "--train", source) == 0
    printed = capsys.readouterr().out
    assert "4,608 questions of hotpotqa (5,000 read)\n  96 steps of the recipes' 48 prompts\n" in printed
    assert "left out: 392 beyond the limit" in printed and "licence: HotpotQA CC BY-SA 4.0" in printed
    drawn = ids(tmp_path / "out")
    assert len(set(drawn)) == 4608 and drawn != sorted(drawn)
    told = card(tmp_path / "out")["train"]
    assert (told["preset"], told["shuffle"], told["questions"]["count"]) == ("paper", 0, 4608)


def test_the_papers_preset_refuses_fewer_questions_unless_their_number_is_given(tmp_path, train, capsys):
    said = refusal(capsys, tmp_path / "out", "--preset", "paper", "--train", train)
    assert said == (
        f"{train}: preset paper draws 4,608 training questions (96 steps of 48 prompts), there are 100: "
        "give --limit-train N for fewer"
    )
    assert not (tmp_path / "out").exists()
    assert prepare(tmp_path / "out", "--preset", "paper", "--train", train, "--limit-train", 60, "--shuffle", 3) == 0
    assert len(ids(tmp_path / "out")) == 60 and card(tmp_path / "out")["train"]["shuffle"] == 3


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        (4608, "96 steps of the recipes' 48 prompts"),
        (48, "1 step of the recipes' 48 prompts"),
        (100, "2 steps of the recipes' 48 prompts; the last 4 fill no step and are not trained on"),
        (47, "fewer than a step of the recipes' 48 prompts: train with data.train_batch_size=47"),
    ],
)
def test_training_prompts_are_told_in_steps_of_the_recipes(prompts, told):
    assert steps_text(prompts) == told


# --------------------------------------------------------------------------------------------------------------- files


def test_a_second_run_for_the_other_file_keeps_what_was_said_of_the_first(tmp_path, train, val, capsys):
    folder = tmp_path / "out"
    assert prepare(folder, "--train", train) == 0
    assert "not compared with validation questions: --val was not given" in capsys.readouterr().out
    first = card(folder)["train"]
    assert prepare(folder, "--val", val) == 0
    assert card(folder)["train"] == first and list(card(folder)) == ["train", "val"]
    (folder / "train.parquet").unlink()
    assert prepare(folder, "--val", val) == 0
    assert list(card(folder)) == ["val"]


def test_files_of_an_earlier_run_are_replaced_and_a_damaged_card_is_written_anew(tmp_path, train, val):
    folder = tmp_path / "out"
    assert prepare(folder, "--train", train) == 0
    (folder / "prepare.json").write_text('{"train": {')
    assert prepare(folder, "--train", val) == 0
    assert ids(folder) == ["val0", "val1", "val2"] and card(folder)["train"]["questions"]["count"] == 3
    assert sorted(each.name for each in folder.iterdir()) == ["prepare.json", "train.parquet"]


def test_a_file_that_something_else_wrote_is_not_replaced(tmp_path, train, capsys):
    folder = tmp_path / "world"
    write_parquet(folder / "train.parquet", [{"prompt": "another's"}])
    before = (folder / "train.parquet").read_bytes()
    said = refusal(capsys, folder, "--train", train)
    assert said == f"{folder / 'train.parquet'}: was not written by autocoa prepare: give another folder, or remove it"
    assert (folder / "train.parquet").read_bytes() == before


# ----------------------------------------------------------------------------------------------------------- bad input


def test_without_a_source_one_line_says_what_is_missing(tmp_path, capsys):
    assert refusal(capsys, tmp_path / "out") == "prepare needs --train SOURCE, --val SOURCE or both"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no question"),
        ('{"id": "1", "answers": ["a"]}\n', ":1: there is no column 'question'; the row has id, answers"),
        ('{"question": "Who?", "answers": [" "]}\n', ":1: answers: there is no gold answer"),
        ('{"question": "Who?", "answers": []}\n', ":1: answers: there is no gold answer"),
        ('{"question": "Who?", "answ', ":1: not a JSON object"),
    ],
)
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_source_that_cannot_be_read_is_named_and_nothing_is_written(part, content, message, tmp_path, capsys, train):
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    other = () if part == "train" else ("--train", train)
    said = refusal(capsys, tmp_path / "out", f"--{part}", path, *other)
    assert said.startswith(str(path)) and message in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--train", "hotpotq"],
            "hotpotq: no such file of questions, nor one of the sets nq, .*did you mean 'hotpotqa'",
        ),
        (["--preset", "papr"], r"preset must be one of paper, got 'papr' \(did you mean 'paper'\?\)"),
        (["--train", "{train}", "--columns", "qestion=q"], r"each of id, .*got 'qestion=q' \(did you mean 'question'"),
        (["--train", "{train}", "--columns", "question"], "columns must be NAME=COLUMN, .* got 'question'$"),
        (["--train", "{train}", "--columns", ""], "columns must be NAME=COLUMN, .* got ''$"),
        (["--train", "{train}", "--columns", "id=a,id=b"], "each of .* once at most, got 'id=b'$"),
        (
            ["--train", "{train}", "--columns", "question=qestion"],
            "there is no column 'qestion'.*did you mean 'question'",
        ),
        (["--train", "nq", "--columns", "question=q"], "nq: a named set knows its columns"),
        (["--train", "{train}", "--limit-train", "0"], "limit_train must be >= 1, got 0"),
        (["--val", "{train}", "--limit-val", "-1"], "limit_val must be >= 1, got -1"),
        (["--val", "{train}", "--limit-train", "5"], "limit_train says nothing without --train SOURCE"),
        (["--val", "{train}", "--shuffle", "5"], "shuffle says nothing without --train SOURCE"),
        (["--train", "{train}", "--val-split", "dev"], "val_split says nothing without --val SOURCE"),
        (["--train", "{train}", "--train-split", "dev"], "split is for data sets of the hub, but .* is a file"),
        (["--train", "{train}", "--system-prompt", "autocoa"], "system_prompt must be one of"),
        (["--train", "{train}", "--val", "{train}"], "no training question is left, all 100 stand in .* too"),
    ],
)
def test_wrong_options_are_one_line_and_nothing_is_written(arguments, message, tmp_path, capsys, train):
    import re

    said = refusal(capsys, tmp_path / "out", *(each.format(train=train) for each in arguments))
    assert re.search(message, said), said
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(tmp_path, train, capsys):
    assert refusal(capsys, train, "--train", train) == f"{train}: is a file, expected a folder"


def test_columns_are_parsed_by_our_names():
    assert Columns.parse("question = q,group=topic") == Columns(question="q", group="topic")
    with pytest.raises(ConfigError, match="got 'id='"):
        Columns.parse("question=q,id=")


# ------------------------------------------------------------------------------------------------------ real questions


@pytest.mark.skipif(
    not (DATA / "hotpotqa_rl_train.jsonl").exists(),
    reason=f"needs hotpotqa_rl_*.jsonl and hotpotqa_mini_questions.jsonl in {DATA} (set AUTOCOA_REAL_DATA)",
)
def test_real_questions_make_the_papers_96_steps(tmp_path):
    folder, source = tmp_path / "out", DATA / "hotpotqa_rl_train.jsonl"
    assert prepare(folder, "--preset", "paper", "--train", source, "--val", DATA / "hotpotqa_mini_questions.jsonl") == 0
    told, everything = card(folder), {each.id: each for each in read_questions(str(source))}
    train = read_questions(str(folder / "train.parquet"))
    assert len(train) == 4608 and told["train"]["compared"] == 100
    assert all(each.golds == everything[each.id].golds for each in train)
    assert all(each.meta["level"] == everything[each.id].meta["level"] for each in train)
    assert told["val"]["not_stored"] == {"supporting_titles": 100}  # lists, and a plan besides
