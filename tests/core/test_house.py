"""The rooms of the package and the arrows between them, read from the imports.

    tinyworld -> lab -> verl_adapters, stages -> ... -> protocol -> trajectory -> errors      downwards only

An import inside a function is an arrow as well: it says who needs whom, only later.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import autocoa_plugin

PACKAGE = Path(autocoa_plugin.__file__).parent
# rooms and root modules from the top of the house to its ground; those of one line do not import each other
FLOORS = (
    ("cli",),
    ("tinyworld",),
    ("lab",),
    ("verl_adapters",),
    ("stages",),
    ("data",),
    ("testing",),
    ("loop",),
    ("builder", "assembly"),
    ("dump",),
    ("environments",),
    ("cassette", "ledger"),
    ("retrieval",),
    ("settings",),
    ("answering",),
    ("rewarder", "limits"),
    ("rewards",),
    ("judge",),
    ("runs",),
    ("engines",),
    ("prompts",),
    ("tokenization",),
    ("protocol",),
    ("trajectory", "answers", "losses", "tool_calls"),
    ("config", "lookup"),
    ("errors",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def module_of(path: Path) -> str:
    """The dotted name of a file below the package: "lab.asking.world", "lab" for its `__init__`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


@cache
def modules() -> dict[str, Path]:
    return {
        module_of(path): path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
    }


def names_imported(path: Path, tree: ast.AST) -> Iterator[str]:
    """Dotted names, relative to the package, that a file imports: "runs.files.replacing", "verl_adapters.resume"."""
    here = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            inside = bool(node.level) or (node.module or "").partition(".")[0] == "autocoa_plugin"
            parts = (node.module or "").split(".") if node.module else []
            parts = parts if node.level else parts[1:]
            if inside:
                yield from (".".join([*base, *parts, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name.partition(".")[2] for each in node.names if each.name.startswith("autocoa_plugin."))


@cache
def arrows() -> dict[str, set[str]]:
    """Which modules of the package a module imports."""
    found: dict[str, set[str]] = {}
    for module, path in modules().items():
        names = names_imported(path, ast.parse(path.read_text(encoding="utf-8")))
        targets = ({name, name.rpartition(".")[0]} & modules().keys() for name in names)
        # "from .room import module" is an arrow to the module, "from .module import name" one to the module as well
        found[module] = {max(each, key=len) for each in targets if each} - {module}
    return found


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_stands_on_a_floor():
    assert {room(module) for module in modules()} == FLOOR_OF.keys()


def test_no_arrow_runs_back_up_and_none_along_a_floor():
    wrong = {
        f"{module} -> {target}"
        for module, targets in arrows().items()
        for target in targets
        if room(module) != room(target) and FLOOR_OF[room(module)] >= FLOOR_OF[room(target)]
    }
    assert wrong == set()


def test_nothing_imports_the_embedded_world():
    assert {m for m, targets in arrows().items() for t in targets if room(t) == "tinyworld" != room(m)} == set()


def test_the_core_imports_no_tool_around_it():
    core = {module for module in modules() if room(module) not in ("lab", "tinyworld", "cli")}
    assert {f"{m} -> {t}" for m in core for t in arrows()[m] if room(t) in ("lab", "tinyworld")} == set()


def test_of_the_lab_asking_is_the_ground_floor_and_no_two_rooms_need_each_other():
    needs: dict[str, set[str]] = {}
    for module, targets in arrows().items():
        for target in targets:
            if room(module) == room(target) == "lab" and module != "lab":
                first, second = module.split(".")[1], target.split(".")[1]
                needs.setdefault(first, set()).update({second} - {first})
    assert needs["asking"] == set()
    assert {(a, b) for a in needs for b in needs[a] if a in needs.get(b, ())} == set()


def test_there_are_no_import_circles():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in sorted(arrows()[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in sorted(arrows()):
        visit(module, ())


ONE_MEANING = ("card", "files", "folder", "identity", "plan", "prepare", "progress", "resume", "rows", "run", "server")


def test_no_two_files_of_one_name_mean_different_things():
    files: dict[str, list[str]] = {}
    for module, path in modules().items():
        files.setdefault(path.stem, []).append(module)
    for name in ONE_MEANING:
        assert len(files.get(name, [])) <= 1, files[name]


CLOCKS_AND_DICE = {"time", "datetime", "random", "uuid", "secrets", "tempfile", "formatdate", "getpid", "urandom"}


def calls_while_imported(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that importing a file makes: its statements and decorators, but no body of a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                yield from calls_while_imported(ast.Module([ast.Expr(decorator)], []))
        elif not isinstance(node, ast.Lambda):
            yield from calls_while_imported(node)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[1].rglob("test_*.py")), ids=lambda path: path.name)
def test_names_of_tests_do_not_depend_on_clock_or_chance(path: Path) -> None:
    """Two processes collect the tests and compare their names: a date in a parameter ended a whole run."""
    calls = calls_while_imported(ast.parse(path.read_text(encoding="utf-8")))
    words = {word for call in calls for word in ast.unparse(call.func).split(".")}
    assert not words & CLOCKS_AND_DICE
