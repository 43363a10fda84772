"""The page about sockets: its examples run and keep the rules, its settings load, its messages are those printed."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from autocoa_plugin import testing
from autocoa_plugin.assembly import build_environment, identity_of, protocol_of
from autocoa_plugin.environments.world_model import build_world_model
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.settings_file import read_settings
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sockets.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
ANSWERED = re.findall(r"^\| `((?:tools|world_model): .*?)` \| `(.*)` \|$", PAGE, re.MULTILINE)


@pytest.fixture
def page_files(tmp_path, monkeypatch):
    """The page's files, in the working directory."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str) -> Settings:
    return load_settings({"tools": [], **yaml.safe_load(text)}, max_response_tokens=1000)


@pytest.mark.parametrize("test", re.findall(r"^def (test_\w+)", FILES["test_harbour.py"], re.MULTILINE))
def test_every_example_keeps_the_rules_of_its_socket(test, page_files, monkeypatch):
    monkeypatch.syspath_prepend(str(page_files))
    modules = [name.removesuffix(".py") for name in FILES]
    try:
        getattr(importlib.import_module("test_harbour"), test)()
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def test_an_example_is_read_at_a_glance_and_is_tried():
    assert all(len(text.splitlines()) <= 22 for name, text in FILES.items() if name != "test_harbour.py")
    tried = re.findall(r"^from (\w+) import", FILES["test_harbour.py"], re.MULTILINE)
    assert {f"{name}.py" for name in tried} == {*FILES, "autocoa_plugin.py"} - {"test_harbour.py"}


def test_every_check_that_ships_is_on_the_page():
    ships = {check for check in testing.__all__ if check.startswith("check_")}
    assert set(re.findall(r"testing\.(check_\w+)", PAGE)) == set(re.findall(r"^\| `(check_\w+)`", PAGE, re.M)) == ships


@pytest.mark.parametrize(("wrong", "sentence"), ANSWERED, ids=range(len(ANSWERED)))
def test_what_the_page_says_is_printed_is_printed(wrong, sentence, page_files):
    with pytest.raises(ConfigError) as caught:
        settings = load(wrong)
        build_environment(settings)
        build_world_model(settings.world_model)
    assert str(caught.value).removeprefix("autocoa: ") == sentence


def test_every_example_fits_its_socket_in_the_recipe_of_the_page(page_files):
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    settings = load(recipe)
    environment = build_environment(settings)
    protocol = protocol_of(settings, environment)
    assert [tool.name for tool in protocol.tools] == ["search", "tide"] == list(environment.parts)
    assert Rewarder(settings.reward).names[-2:] == ("metric", "brevity")
    sources = {key.rpartition(".")[0] for key in identity_of(settings, environment) if key.endswith(".source")}
    assert {"tools.tide", "world_model.author", "routing.policy"} <= sources


def test_the_entry_points_of_the_page_are_groups_of_its_table():
    (published,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    groups = tomllib.loads(published)["project"]["entry-points"]
    assert set(groups) <= set(re.findall(r"`(autocoa\.\w+)` \| (?:`check|\|)", PAGE))


def test_the_three_files_of_the_own_tool_page_are_a_tool_its_test_and_its_place(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "own-tool.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"^```(?:python|yaml)\n# (\w+\.\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    assert list(files) == ["tool.py", "test_tool.py", "settings.yaml"]
    corpus = tmp_path / "outputs" / "tinyworld" / "corpus.jsonl"
    corpus.parent.mkdir(parents=True)
    names = re.findall(r'"(\w+ \w+)', files["test_tool.py"])
    corpus.write_text("".join(f'{{"title": "{name}", "text": "Someone ."}}\n' for name in names), encoding="utf-8")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        importlib.import_module("test_tool").test_lookup_keeps_the_rules_of_a_tool()
    finally:
        for name in ("tool", "test_tool"):
            sys.modules.pop(name, None)
    settings = load_settings(read_settings([tmp_path / "settings.yaml"]).given, max_response_tokens=1000)
    (lookup,) = build_environment(settings).specs
    assert (lookup.name, lookup.description) == ("search", "Look up what is written under a name.")
