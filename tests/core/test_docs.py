"""What the documentation names is there: tests, commands, keys, metrics, messages, links.

Nothing is run and nothing is built: `make docs` builds the site, and fails at a warning.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from autocoa_plugin import cli
from autocoa_plugin.answers import METRICS
from autocoa_plugin.data.settings import SftSettings
from autocoa_plugin.ledger import FIELDS
from autocoa_plugin.settings import Settings, load_settings
from autocoa_plugin.trajectory import Counts, StopReason

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "recipes" / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def outside_fences(text: str) -> str:
    return _FENCE.sub("", text)


def commands(text: str) -> Iterator[str]:
    """The commands of a page's fenced blocks, continued lines joined, a leading "$ " and comments left out."""
    for block in _FENCE.findall(text):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            words = line.strip().removeprefix("$ ")
            if re.match(r"(autocoa|python|torchrun|make|pip) ", words):
                yield words


def shown(pattern: str) -> list[Any]:
    """Every command that matches, once, named by its page."""
    found = {command: page for page, text in TEXTS.items() for command in commands(text) if re.match(pattern, command)}
    return [pytest.param(command, id=f"{page}: {command[:60]}") for command, page in found.items()]


# tests


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def named(pattern: str) -> list[str]:
    """Every text that matches on some page, once."""
    return sorted({found for text in TEXTS.values() for found in re.findall(pattern, text)})


@pytest.mark.parametrize("name", named(r"\btests/[\w/]+(?:\.py(?:::\w+)?)?"))
def test_every_test_that_a_page_names_exists(name):
    path, _, function = name.partition("::")
    there = ROOT / path
    assert there.exists(), f"{name}: there is no {path}"
    assert there.is_file() or list(there.rglob("test_*.py")), f"{path} holds no test"
    assert not function or function in functions(there), f"{path} has no {function}"


@pytest.mark.parametrize("page", ["README.md", "docs/guarantees.md"])
def test_every_promise_of_a_table_names_a_test(page):
    tables = re.findall(r"^\| promise \|.*\n\|[-| ]+\n((?:\|.*\n)+)", TEXTS[page], re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) >= 8
    assert [row for row in rows if "tests/" not in row.rstrip(" |").rpartition("|")[2]] == []


def test_the_readme_is_short_and_shows_how_to_try_it():
    assert len(TEXTS["README.md"].splitlines()) <= 170
    assert {"make demo", "make test"} <= {command.split("#")[0].strip() for command in commands(TEXTS["README.md"])}


def test_the_readmes_results_are_those_of_the_lab_book():
    (table,) = re.findall(r"^ exact match %    1hop.*?(?=^```)", TEXTS["README.md"], re.MULTILINE | re.DOTALL)
    assert len(table.splitlines()) == 11 and table in TEXTS["benchmarks/README.md"]


# commands


def test_the_parser_of_these_tests_refuses_what_does_not_exist(capsys):
    for wrong in ("autocoa evalute x", "autocoa demo --folders x", "autocoa chat", "autocoa index build x"):
        with pytest.raises((SystemExit, argparse.ArgumentError)):
            cli.parser_for(wrong.split()[1:]).parse_args(wrong.split()[1:])


@pytest.mark.parametrize("command", shown("autocoa "))
def test_every_command_of_ours_parses(command, capsys):
    words = shlex.split(command, comments=True)[1:]
    try:
        cli.parser_for(words).parse_args(words)
    except (SystemExit, argparse.ArgumentError) as error:
        pytest.fail(f"{command}\n{error}\n{capsys.readouterr().err.strip().rpartition('error: ')[2]}")


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_named_in_a_sentence_exists(page):
    names = re.findall(r"`autocoa ([a-z]+)", outside_fences(TEXTS[page]))
    assert [name for name in names if name not in cli.COMMANDS] == []


@pytest.mark.parametrize("command", shown(r"(python|torchrun) .*--config-name"))
def test_every_launch_of_verl_composes(command):
    words = [word for word in shlex.split(command, comments=True) if word != "..."]
    name = words[words.index("--config-name") + 1]
    recipe = ROOT / "recipes" / f"{name}.yaml"
    assert recipe.is_file(), f"there is no {recipe.relative_to(ROOT)}"
    if importlib.util.find_spec("verl") is None:
        pytest.skip("composing needs the extra verl")
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    overrides = [word for word in words if re.match(r"[+~]*[\w.]+=", word)]
    with initialize_config_module("autocoa_plugin.recipes", version_base=None):
        config = compose(name, overrides=overrides)
    if name.startswith("rl_"):
        ours: Any = OmegaConf.to_container(config.autocoa, resolve=True)
        load_settings(ours, max_response_tokens=config.data.max_response_length)


@pytest.mark.parametrize("command", shown(r"python (?!-m)"))
def test_every_script_of_a_command_exists(command):
    assert (ROOT / command.split()[1]).is_file()


@pytest.mark.parametrize("command", shown("make "))
def test_every_target_of_make_exists(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in shlex.split(command, comments=True)[1:] if "=" not in word]
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize("page", TEXTS)
def test_every_extra_exists(page):
    extras = re.findall(r'^    "(\w+)": \[', (ROOT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE)
    wanted = re.findall(r"pip install [^\n]*\[([\w,]+)\]", TEXTS[page])
    assert extras and [name for each in wanted for name in each.split(",") if name not in extras] == []


# keys, metrics, messages, links


def dataclass_of(kind: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return kind
    return next(filter(None, map(dataclass_of, get_args(kind))), None)


def has_key(cls: Any, path: list[str]) -> bool:
    name, *rest = path
    kind = get_type_hints(cls).get(name)
    rest = rest[1:] if get_origin(kind) is Mapping else rest  # a name of the reader's
    return kind is not None and (not rest or (dataclass_of(kind) is not None and has_key(dataclass_of(kind), rest)))


def test_keys_are_looked_up_in_the_settings():
    assert has_key(Settings, ["routing", "annealing", "steps"]) and has_key(SftSettings, ["contrastive", "alpha"])
    assert not has_key(Settings, ["routing", "annealings"]) and not has_key(Settings, ["first_prompt", "x"])


@pytest.mark.parametrize("page", TEXTS)
def test_every_key_of_ours_exists(page):
    keys = re.findall(r"(?<![\w./])autocoa\.([a-z0-9_]+(?:\.[a-z0-9_]+)*)", TEXTS[page])
    known = [key for key in keys if any(has_key(cls, key.split(".")) for cls in (Settings, SftSettings))]
    groups = {"protocols", "prompts", "retrievers", "tools", "rewards", "metrics", "authors", "routing_policies"}
    # the settings page's example of a wrong key, tools by their names as messages spell them, entry point groups
    others = {"limits.max_action", "tools.tide", "tools.search", "tools.search.source", *groups}
    assert sorted({*keys} - {*known} - others) == []


def test_the_settings_page_is_made_of_the_settings():
    sys.path.insert(0, str(ROOT / "docs" / "hooks"))
    try:
        import settings_schema
    finally:
        sys.path.pop(0)
    page = settings_schema.on_page_markdown(TEXTS["docs/settings.md"], None, None, None)
    assert "<!--" not in page and "### `autocoa.routing.phases[]`" in page and "### `autocoa.contrastive`" in page
    assert "| `max_actions` | `int` | `10` |" in page and "**required**" in page
    for cls in (Settings, SftSettings):
        assert [field.name for field in dataclasses.fields(cls) if f"| `{field.name}` |" not in page] == []


def test_every_module_has_its_place_on_an_api_page():
    sys.path.insert(0, str(ROOT / "docs" / "hooks"))
    try:
        import api
    finally:
        sys.path.pop(0)
    found = {module for _, modules in api.rooms() for module in modules}
    files = (path for path in (ROOT / "autocoa_plugin").rglob("*.py") if path.name != "__main__.py")
    assert found == {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}


@pytest.mark.parametrize("page", TEXTS)
def test_every_metric_exists(page):
    known = {*METRICS, *FIELDS, *(field.name for field in dataclasses.fields(Counts)), "format", "action_cost", "*"}
    known |= {"stop/<reason>", *(f"stop/{reason}" for reason in StopReason)}
    names = re.findall(r"`autocoa/([^`\s]+)`", TEXTS[page])
    assert [name for name in names if name.removeprefix("run/").removesuffix("/sum") not in known] == []


@cache
def literals() -> str:
    """Every text of the package's code, pieces of formatted ones included."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "autocoa_plugin").rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("message", re.findall(r"^### `(.+)`$", TEXTS["docs/troubleshooting.md"], re.MULTILINE))
def test_every_message_of_the_troubleshooting_page_is_in_the_code(message):
    pieces = [piece.strip(" :") for piece in message.split("...")]
    assert [piece for piece in pieces if piece and piece not in literals()] == []


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_into_the_repository_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", outside_fences(TEXTS[page]))
    ours = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in ours if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("name", named(r"`((?:examples|benchmarks)/[\w/]+\.\w+)`"))
def test_every_file_of_examples_and_benchmarks_that_is_named_exists(name):
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("path", re.findall(r"`([\w/]+/(?:\w+\.py)?)`", TEXTS["CONTRIBUTING.md"]))
def test_every_place_that_contributing_names_exists(path):
    assert (ROOT / path).exists() or (ROOT / "autocoa_plugin" / path).exists()


@pytest.mark.parametrize("page", TEXTS)
def test_what_python_on_a_page_imports_exists(page):
    for block in re.findall(r"^```python\n(.*?)^```", TEXTS[page], re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "autocoa_plugin":
                module = importlib.import_module(str(node.module))
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []
