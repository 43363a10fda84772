"""What importing the package costs, and what it offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import autocoa_plugin

PACKAGE = Path(autocoa_plugin.__file__).parent


def test_importing_the_package_loads_neither_torch_nor_verl_nor_vllm_nor_ray():
    code = "import autocoa_plugin, sys; assert not {'torch','verl','vllm','ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_using_the_whole_core_loads_the_standard_library_only():
    code = (
        "import sys; before = {m.partition('.')[0] for m in sys.modules}\n"
        "from autocoa_plugin import *\n"
        "import autocoa_plugin.settings, autocoa_plugin.dump, autocoa_plugin.testing, autocoa_plugin.prompts\n"
        "new = {m.partition('.')[0] for m in sys.modules} - before - set(sys.stdlib_module_names)\n"
        "assert new == {'autocoa_plugin'}, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_imported():
    for name in autocoa_plugin.__all__:
        assert getattr(autocoa_plugin, name) is not None


def imported(file: Path) -> Iterator[str]:
    """The first part of every module that a file imports, inside functions too; relative ones excepted."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


def files_importing(*packages: str) -> set[str]:
    found = (file for file in PACKAGE.rglob("*.py") if set(packages).intersection(imported(file)))
    return {str(file.relative_to(PACKAGE)) for file in found}


def test_only_the_adapters_import_verl_or_vllm():
    found = files_importing("verl", "vllm")
    assert found and all(file.startswith("verl_adapters/") for file in found)


def test_ray_is_imported_by_the_adapters_and_by_the_synthesis_that_runs_on_it_only():
    others = {file for file in files_importing("ray") if not file.startswith("verl_adapters/")}
    assert others == {"lab/synthesize/ray_cluster.py", "lab/synthesize/ray_pipeline.py"}
