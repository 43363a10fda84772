"""`autocoa evaluate` as a user types it: questions, models, worlds, methods; and wrong input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from played_world import build_world as built
from played_world import codec_of, results, run, teach
from playing import serving

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.model import Model
from autocoa_plugin.lab.asking.settings_file import SearchOptions, read_settings
from autocoa_plugin.lab.asking.world import WorldOptions, build_world
from autocoa_plugin.lab.evaluate.results_folder import ResultsFolder, training_cost
from autocoa_plugin.ledger import Ledger, LedgerEntry
from autocoa_plugin.runs.identity import differences
from autocoa_plugin.tinyworld.world_files import Files


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    return built(tmp_path_factory.mktemp("world"), questions=2)  # of four groups: eight questions


def local(files: Files, folder: Path, *arguments: object) -> int:
    return run(
        "-o", folder, "--model", files.base, "--settings", files.settings, "--engine", "transformers", *arguments
    )


def taught(files: Files, folder: Path, *arguments: object) -> int:
    """Ask the teacher."""
    with serving(codec_of(files), teach) as server:
        return run("-o", folder, "--model", files.base, "--server", server.url, *arguments)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_local_model_answers_every_question_and_everything_is_written(files, tmp_path, capsys):
    assert local(files, tmp_path / "run", "--name", "base [0.4M]") == 0
    folder = ResultsFolder(tmp_path / "run")
    summary, samples = folder.read_summary(), list(folder.read_samples())
    assert (summary.method, len(samples), summary.groups["all"].questions) == ("base [0.4M]", 8, 8)
    assert sorted(path.name for path in folder.path.iterdir() if not path.name.startswith(".")) == [
        *("run.json", "samples.jsonl", "summary.json", "table.txt")
    ]
    shown = capsys.readouterr().out
    assert "base [0.4M]: EM" in shown and ": 8/8" in shown and folder.table.read_text().split()[0] in shown
    about = json.loads(folder.run.read_text())
    assert (about["model"], about["tokenizer"], about["engine"]) == (str(files.base), str(files.base), "transformers")


def test_two_runs_of_one_job_are_equal(files, tmp_path):
    sampled = ("--samples", 2, "--temperature", 1, "--seed", 3, "--concurrency", 1, "--limit", 3)
    for name in ("a", "b"):
        local(files, tmp_path / name, *sampled)
    assert results(tmp_path / "a") == results(tmp_path / "b")
    rows = [json.loads(line) for line in (tmp_path / "a" / "samples.jsonl").read_text().splitlines()]
    assert [row["sample"] for row in rows] == [0, 1] * 3 and len({row["seed"] for row in rows}) == 6
    group = ResultsFolder(tmp_path / "a").read_summary().groups["all"]
    assert set(group.pass_at) == {1, 2} and set(group.maj_at) == {2}


def test_nothing_that_is_compared_names_this_machine(files, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(files.folder, moved)
    local(files, tmp_path / "a", "--limit", 1)
    local(Files(moved), tmp_path / "b", "--limit", 1)
    first, second = (ResultsFolder(tmp_path / name).read_summary().fingerprint for name in ("a", "b"))
    assert differences(first.flat, second.flat) == {}
    assert "/" not in json.dumps([first.world, first.model, first.questions, first.prompt])


def test_the_teacher_s_figures_are_those_of_the_world(files, tmp_path):
    taught(files, tmp_path / "run", "--settings", files.settings)
    summary = ResultsFolder(tmp_path / "run").read_summary()
    # one question of each group needs one, two and three searches, two known ones none, unless popular
    assert {name: group.metrics["exact_match"].mean for name, group in summary.groups.items()} == dict.fromkeys(
        summary.groups, 1.0
    )
    assert summary.fingerprint.world["environment"] == "real" and summary.fingerprint.world["limits.max_actions"] == 4


def test_questions_of_a_file_with_a_corpus_give_what_the_world_folder_gives(files, tmp_path):
    taught(files, tmp_path / "a", "--settings", files.settings)
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"autocoa:\n  protocol: tinyworld\n  search: {{corpus: {files.corpus}, index_dir: {files.index}, top_k: 1}}\n"
        "  limits: {max_actions: 4, max_turn_tokens: 80, max_action_tokens: 16, max_observation_tokens: 40, "
        "max_response_tokens: 192, answer_reserve_tokens: 12}\n"
    )
    taught(files, tmp_path / "b", files.val, "--settings", settings)
    assert results(tmp_path / "a") == results(tmp_path / "b")


def test_a_question_alone_has_no_interval(files, tmp_path):
    taught(files, tmp_path / "run", "--settings", files.settings, "--limit", 1)
    found = ResultsFolder(tmp_path / "run").read_summary().groups["all"].metrics["exact_match"]
    assert (found.mean, found.low, found.high, found.n) == (1.0, None, None, 1)


def test_baselines_are_the_same_command(files, tmp_path):
    with serving(codec_of(files), lambda prompt: ["I say </think> \\boxed{ it } <|im_end|>"]) as server:
        for method in ("react", "model_only"):
            world = ("--settings", files.settings, "--method", method, "--limit", 2)
            assert run("-o", tmp_path / method, "--model", files.base, "--server", server.url, *world) == 0
        prompts = server.first_turns
    assert [text.count("<|user|>") for text in prompts] == [4, 4, 1, 1]  # three demonstrations before the question
    closed = ResultsFolder(tmp_path / "model_only").read_summary()
    assert closed.fingerprint.world["environment"] == "none" and closed.method.endswith("model only")


def test_without_an_environment_an_action_ends_in_the_forced_answer(files, tmp_path):
    taught(files, tmp_path / "run", "--settings", files.settings, "--environment", "none", "--limit", 1)
    (sample,) = ResultsFolder(tmp_path / "run").read_samples()
    assert sample.trajectory.forced_answer and sample.trajectory.stop_reason == "max_actions"


def test_the_policy_can_be_its_own_world(files, tmp_path):
    local(files, tmp_path / "run", "--environment", "world_model", "--limit", 2)
    world = ResultsFolder(tmp_path / "run").read_summary().fingerprint.world
    assert (world["environment"], world["world_model.author"], "corpus" in world) == ("world_model", "self", False)


def test_a_judge_can_come_later_and_stays_when_only_the_name_changes(files, tmp_path):
    with serving(codec_of(files), teach) as server:
        job = ("-o", tmp_path / "run", "--model", files.base, "--server", server.url, "--settings", files.settings)
        assert run(*job) == 0
        answered = server.answered
        assert run(*job, "--judge-url", server.url) == 0
        judged = ResultsFolder(tmp_path / "run").read_summary()
        assert run(*job, "--name", "renamed") == 0
        assert (server.answered, server.votes) == (answered, 24)  # three votes on each of eight answers
    renamed = ResultsFolder(tmp_path / "run").read_summary()
    assert judged.groups["all"].metrics["judge"].mean == 1.0 and judged.judge["model"] == "scripted"
    assert (renamed.method, renamed.judge) == ("renamed", judged.judge)
    assert renamed.fingerprint == judged.fingerprint and judged.fingerprint.metric["judge"]["model"] == "scripted"


def test_a_judge_that_is_down_is_one_line_and_leaves_the_answers(files, tmp_path, capsys):
    with serving(codec_of(files), teach) as server:
        job = ("-o", tmp_path / "run", "--model", files.base, "--server", server.url, "--settings", files.settings)
        assert run(*job, "--limit", 1, "--judge-url", "http://127.0.0.1:9/v1") == 2
        assert run(*job, "--limit", 1) == 0
    error = capsys.readouterr().err
    assert "http://127.0.0.1:9/v1 failed" in error and error.count("\n") == 1


def rewarded(tmp_path: Path, text: str) -> tuple[str, Path]:
    """Options that add a part of the reward, which stands in a file."""
    (tmp_path / "own.py").write_text(text)
    settings = tmp_path / "reward.yaml"
    settings.write_text(f"autocoa: {{reward: {{parts: {{mine: {{use: '{tmp_path}/own.py:mine', weight: 0.5}}}}}}}}\n")
    return "--settings", settings


def test_a_part_of_the_reward_is_in_every_sample_and_its_file_in_the_fingerprint(files, tmp_path, capsys):
    job = (files, tmp_path / "run", "--settings", files.settings, "--limit", 2)
    whole = "def mine(judged):\n    return bool(judged.question) and judged.metadata['split'] == 'eval'\n"
    assert taught(*job, *rewarded(tmp_path, whole)) == 0
    folder = ResultsFolder(tmp_path / "run")
    assert [each.reward.total for each in folder.read_samples()] == [1.5, 1.5]
    metric = folder.read_summary().fingerprint.metric
    assert metric["reward.parts.mine.use"] == "own.py:mine" and metric["reward.parts.mine.weight"] == 0.5
    assert taught(*job, *rewarded(tmp_path, whole + "# changed\n")) == 2
    assert "metric.reward.parts.mine.source" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def mine(judged):\n    return None\n",
            r"part 'mine' of the reward \(.*own.py:mine\) must give a finite number",
        ),
        ("def mine(judged):\n    return judged.golds[7]\n", r"raised IndexError: tuple index out of range"),
        ("import gone\n", r"autocoa.reward.parts.mine: .*own.py cannot be imported: ModuleNotFoundError"),
    ],
    ids=["none", "raises", "no import"],
)
def test_a_part_of_the_reward_that_does_not_work_is_one_line(files, tmp_path, capsys, text, message):
    world = ("--settings", files.settings, *rewarded(tmp_path, text), "--limit", 1)
    assert taught(files, tmp_path / "run", *world) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1, error


def test_what_a_checkpoint_had_cost_is_stored(files, tmp_path):
    for name, calls in (("sft1", 0), ("sft1-rl2", 9)):
        stage = tmp_path / name
        stage.mkdir()
        row = {"stage": name, "path": name, "steps": 3, "last_loss": None, "seconds": 10.0, "checkpoint": "x"}
        (stage / "stage.json").write_text(json.dumps(row))
        if calls:
            ledger = Ledger()
            ledger.add("train", 1, LedgerEntry(real_calls=calls, simulated_calls=2))
            ledger.add("val", 1, LedgerEntry(real_calls=1000))  # validation is no training
            ledger.save(stage / "checkpoints" / "ledger.json")
    stages = (tmp_path / "sft1", tmp_path / "sft1-rl2")
    taught(files, tmp_path / "run", "--settings", files.settings, "--limit", 1, "--trained-by", *stages)
    expected = {"real_calls": 9.0, "simulated_calls": 2.0, "seconds": 20.0}
    assert ResultsFolder(tmp_path / "run").read_summary().training == expected == training_cost(stages)


def test_a_model_is_called_by_the_part_of_its_path_that_says_something():
    def called(path: str) -> str:
        return Model(path).name

    assert called("runs/sft1-sft2/model") == "sft1-sft2"
    assert called("runs/rl/checkpoints/global_step_90/actor/huggingface") == "rl"
    assert called("Qwen/Qwen2.5-7B-Instruct") == "Qwen2.5-7B-Instruct"
    assert called("model") == "model"


# ------------------------------------------------------------------------------------------------------------ settings


def test_the_method_follows_the_protocol_of_the_settings_and_their_prompt_wins(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("protocol: search_r1\nsystem_prompt: null\nsearch: {corpus: c.jsonl}\n")
    world = build_world(None, WorldOptions(search=SearchOptions(top_k=7)), read_settings([file]))
    settings = world.settings
    assert (world.method, settings.protocol, settings.system_prompt) == ("search_r1", "search_r1", None)
    assert settings.search is not None and (settings.search.corpus, settings.search.top_k) == ("c.jsonl", 7)


def test_an_option_replaces_the_tool_of_the_settings(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("search: {corpus: c.jsonl, index_dir: i, top_k: 5}\n")
    for tool in (SearchOptions(search_url="http://127.0.0.1:9/retrieve"), SearchOptions(web=True)):
        settings = build_world(None, WorldOptions(search=tool), read_settings([file])).settings
        assert settings.search is not None and settings.search.backend in ("search_r1", "duckduckgo")
        assert (settings.search.corpus, settings.search.index_dir, settings.search.top_k) == (None, None, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("serch: {}", r"unknown key serch \(did you mean 'search'\?\)"),
        ("limits: {max_actions: many}", "limits.max_actions must be int"),
        ("[1, 2]", "must hold a mapping .* got list"),
        ("{", "is not a readable YAML file"),
        ("protocol: autocao", r"\(did you mean 'autocoa'\?\)"),
    ],
)
def test_settings_that_cannot_be_read_are_one_line(tmp_path, text, message):
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        build_world(None, WorldOptions(search=SearchOptions(search_url="http://127.0.0.1:9")), read_settings([file]))
    assert "\n" not in str(error.value)


# --------------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "{base}"), "method 'autocoa' searches, and nobody answers: give --corpus FILE"),
        (("--model", "{base}", "--corpus", "c"), "evaluate needs QUESTIONS: a file, the name of a data set, or --sett"),
        (
            ("--model", "{world}/bas", "--settings", "{settings}"),
            r"is no folder, .*\(did you mean '.*base'\?\)",
        ),
        (("--model", "{base}", "--settings", "{base}/settings.yaml"), "base/settings.yaml does not exist"),
        (
            ("--model", "{base}", "--settings", "{settings}", "--method", "reakt"),
            r"\(did you mean 'react'\?\)",
        ),
        (("--model", "{base}", "--settings", "{settings}", "--limit", "0"), "limit must be >= 1, got 0"),
        (("--model", "{base}", "--settings", "{settings}", "--samples", "0"), "samples must be >= 1, got 0"),
        (
            ("--model", "{base}", "--settings", "{settings}", "--samples", "4"),
            "4 samples at temperature 0 are all the s",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--temperature", "-1"),
            "temperature must be >= 0",
        ),
        (("--model", "{base}", "--settings", "{settings}", "--top-p", "0"), "top_p must be above 0"),
        (
            ("--model", "{base}", "--settings", "{settings}", "--concurrency", "0"),
            "concurrency must be >= 1",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--served-model", "x"),
            "served_model names a model of server",
        ),
        (
            (
                "--model",
                "{base}",
                "--settings",
                "{settings}",
                "--server",
                "http://127.0.0.1:9/v1",
                "--engine",
                "vllm",
            ),
            "engine=vllm is for a model without server",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--method", "search_r1"),
            "cannot spell; there: autocoa, model_only, react$",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--judge-url", "http://127.0.0.1:9/v1"),
            "the judge: http://127.0.0.1:9/v1 failed 4 times",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--server", "127.0.0.1:9"),
            "base_url must begin with http",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--server", "http://127.0.0.1:9/v1"),
            "failed 4 times, last",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--environment", "cassette"),
            "belong together: give both",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--trained-by", "{base}"),
            "is no finished stage",
        ),
        (
            ("--model", "{base}", "--settings", "{settings}", "--judge-votes", "3"),
            "--judge-votes needs --judge-url",
        ),
        (("{world}/val.parqet", "--model", "{base}", "--settings", "{settings}"), "val.parqet"),
        (("--model", "{base}", "--settings", "{settings}", "-o", "{world}"), "holds '.*' and no results"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_no_results(files, tmp_path, capsys, arguments, message):
    given = [each.format(world=files.folder, settings=files.settings, base=files.base) for each in arguments]
    output = () if "-o" in given else ("-o", tmp_path / "run")
    assert run(*output, *given) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1, error
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "holds no question"),
        (({"id": "a", "question": " \t", "answers": ["x"]},), "q.jsonl:1.*question"),
        (({"id": "a", "question": "Who ?"},), "q.jsonl:1"),
        (({"id": "a", "question": "Who ?", "answers": ["x"]},) * 2, "q.jsonl:2.*'a'"),
    ],
)
def test_bad_questions_are_refused_before_a_folder_is_made(files, tmp_path, capsys, rows, message):
    questions = lines(tmp_path / "q.jsonl", *rows)
    assert run(questions, "-o", tmp_path / "run", "--model", files.base, "--settings", files.settings) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_model_of_another_vocabulary_is_refused_for_the_embedded_world(files, tmp_path, capsys):
    shutil.copytree(files.base, tmp_path / "other")
    text = (files.base / "tokenizer.json").read_text().replace('"Shipping"', '"Shopping"')
    (tmp_path / "other" / "tokenizer.json").write_text(text)
    assert run("-o", tmp_path / "run", "--model", tmp_path / "other", "--settings", files.settings) == 2
    assert "'Shipping' is token None of this model's tokenizer" in capsys.readouterr().err


def test_a_model_without_a_chat_template_is_refused(files, tmp_path, capsys):
    shutil.copytree(files.base, tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    assert local(Files(files.folder), tmp_path / "run", "--model", tmp_path / "bare") == 2
    assert "the model's chat template cannot spell a conversation of user, assistant, user" in capsys.readouterr().err
