"""Settings files: what they may say, where their paths lead, and which one wins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.methods import Method, get_method
from autocoa_plugin.lab.asking.settings_file import LabSettings, SearchOptions, SettingsFile, read_settings
from autocoa_plugin.lab.asking.world import build_world, world_identity
from autocoa_plugin.lab.scorecard.scorecard import real_identity

WORLD = "autocoa_plugin.tinyworld.sockets"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_says_nothing():
    assert read_settings([]) == SettingsFile() and read_settings([]).search is None


def test_the_keys_of_a_recipe_may_stand_alone_or_under_autocoa(tmp_path):
    alone = written(tmp_path / "a.yaml", "search: {corpus: c.jsonl}\n")
    under = written(tmp_path / "b.yaml", "autocoa:\n  search: {corpus: c.jsonl}\nlab: {queries: q.jsonl}\n")
    assert read_settings([alone]).given == read_settings([under]).given == {"search": {"corpus": "c.jsonl"}}
    assert read_settings([under]).lab.queries == "q.jsonl" and read_settings([alone]).lab.queries is None


def test_a_path_that_begins_with_a_dot_is_beside_its_file_and_any_other_is_not(tmp_path):
    text = "autocoa: {search: {corpus: ./c.jsonl, index_dir: i}}\nlab: {questions: ./q.jsonl}\n"
    found = read_settings([written(tmp_path / "s.yaml", text)])
    assert found.given["search"] == {"corpus": str(tmp_path / "c.jsonl"), "index_dir": "i"}
    assert found.lab.questions == str(tmp_path / "q.jsonl")


def test_a_retriever_of_yours_beside_the_file_is_named_in_the_identity_without_its_place(tmp_path):
    written(tmp_path / "wiki.py", "class Wiki:\n    async def search(self, queries, top_k):\n        return []\n")
    text = "search: {backend: {use: './wiki.py:Wiki'}, top_k: 2}\n"
    settings = build_world(file=read_settings([written(tmp_path / "s.yaml", text)])).settings
    identity = world_identity(settings)
    assert (identity["backend"], identity["top_k"]) == ("wiki.py:Wiki", 2)
    assert re.fullmatch(r"wiki\.py:Wiki [0-9a-f]{16}", identity["corpus"])
    assert real_identity(settings.search) == {each: identity[each] for each in ("backend", "corpus", "top_k")}
    assert json.loads(json.dumps(identity)) == identity


def test_of_several_files_a_key_of_a_later_one_replaces_the_whole_key(tmp_path):
    first = written(
        tmp_path / "a.yaml", "autocoa: {protocol: react, search: {corpus: a, top_k: 7}}\nlab: {queries: q}\n"
    )
    later = written(tmp_path / "b.yaml", "search: {corpus: b}\n")
    both = read_settings([first, later])
    assert both.given == {"protocol": "react", "search": {"corpus": "b"}} and both.lab.queries == "q"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lab: {question: q}", r"lab: unknown key question \(did you mean 'questions'\?\)"),
        ("lab: {methods: [react]}", r"lab: methods must be a mapping"),
        ("lab: 3", r"must hold a mapping \(the lab: key of a recipe\), got int"),
        ("protocol: 3", r"protocol must be a name, got int 3"),
        ("protocol: [autocoa]", r"protocol must be a name, got list"),
        ("search: corpus.jsonl", r"search must be a mapping, got str 'corpus\.jsonl'"),
        ("autocoa: [1]", r"must hold a mapping \(the autocoa: key of a recipe\), got list"),
    ],
    ids=[
        "unknown key",
        "methods no mapping",
        "lab no mapping",
        "protocol number",
        "protocol list",
        "search text",
        "autocoa no mapping",
    ],
)
def test_what_cannot_be_is_refused_with_the_file(tmp_path, text, message):
    with pytest.raises(ConfigError, match=rf"s\.yaml.*{message}"):
        read_settings([written(tmp_path / "s.yaml", text)])


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--settings: .*no\.yaml does not exist"):
        read_settings([tmp_path / "no.yaml"])
    written(tmp_path / "settings.yaml", "")
    with pytest.raises(ConfigError, match=r"is a folder: .*settings\.yaml\?$"):
        read_settings([tmp_path])


def test_an_option_wins_over_the_file_and_keeps_what_any_tool_has():
    file = SettingsFile({"search": {"corpus": "a.jsonl", "index_dir": "i", "top_k": 7}})
    asked = SearchOptions(search_url="http://127.0.0.1:9/retrieve").settings(file)
    assert asked is not None and (asked.backend, asked.corpus, asked.index_dir, asked.top_k) == (
        "search_r1",
        None,
        None,
        7,
    )
    assert SearchOptions().settings(SettingsFile()) is None


def test_two_tools_at_once_are_refused():
    with pytest.raises(ConfigError, match="give one of --corpus, --search-url and --web"):
        SearchOptions(corpus="c.jsonl", web=True)


def test_a_world_says_which_method_its_methods_are_and_refuses_the_others(tmp_path):
    methods = f"{{autocoa: tinyworld, react: '{WORLD}:REACT'}}"
    text = f"autocoa: {{protocol: tinyworld, search: {{corpus: c}}}}\nlab: {{methods: {methods}}}\n"
    file = read_settings([written(tmp_path / "s.yaml", text)])
    assert build_world(file=file).method == "tinyworld"
    assert get_method(build_world("react", file=file).method).name == "tinyworld_react"
    with pytest.raises(
        ConfigError, match=r"method 'search_r1' has tags that this world cannot spell; there: autocoa, react$"
    ):
        build_world("search_r1", file=file)


def test_a_protocol_of_ones_own_is_asked_without_prompt_unless_a_method_is_named(tmp_path):
    file = read_settings([written(tmp_path / "s.yaml", "protocol: tinyworld\nsearch: {corpus: c}\n")])
    world = build_world(file=file)
    assert (world.settings.protocol, world.settings.system_prompt) == ("tinyworld", None)
    with pytest.raises(ConfigError, match="speaks protocol 'react', but protocol='tinyworld' was asked for"):
        build_world("react", file=file)


def test_a_method_is_found_by_its_path_and_something_else_is_refused():
    assert isinstance(get_method(f"{WORLD}:REACT"), Method)
    with pytest.raises(ConfigError, match="must name a Protocol, got int"):
        get_method(f"{WORLD}:TOP_K")


def test_a_check_that_is_no_function_is_refused_in_one_sentence():
    lab = LabSettings(check_tokenizer=f"{WORLD}:TOP_K")
    with pytest.raises(ConfigError, match=r"^lab\.check_tokenizer: '.*:TOP_K' must name a function, got int$"):
        lab.refuse_tokenizer(object(), "model")


def test_an_empty_protocol_is_refused_in_one_sentence():
    with pytest.raises(ConfigError, match="protocol must be str, got None"):
        build_world(file=SettingsFile({"protocol": None, "search": {"corpus": "c"}}))
