"""What a wheel carries and what it pulls in."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("autocoa_plugin", "recipes", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tree, so that the tree itself stays clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, source / part)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(target), "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return zipfile.ZipFile(next(target.glob("*.whl")))


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [each for each in wheel.namelist() if each.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def test_a_wheel_carries_every_recipe_and_the_base_model(wheel):
    names = set(wheel.namelist())
    for recipe in (ROOT / "recipes").rglob("*.yaml"):
        assert f"autocoa_plugin/recipes/{recipe.relative_to(ROOT / 'recipes')}" in names
    assert "autocoa_plugin/tinyworld/base/model.safetensors" in names
    assert "autocoa_plugin/py.typed" in names  # type checkers of users read our annotations
    assert "autocoa_plugin/verl_adapters/agent_loop.yaml" in names


def test_a_wheel_carries_every_part_of_the_pages(wheel):
    pages = [
        each for name in ("explore", "report") for each in (ROOT / "autocoa_plugin" / "lab" / name / "page").iterdir()
    ]
    assert len(pages) > 20
    assert {str(each.relative_to(ROOT)) for each in pages} <= set(wheel.namelist())


def test_a_plain_install_pulls_in_no_torch_no_verl_and_no_vllm(wheel):
    required = Parser().parsestr(metadata(wheel, "METADATA")).get_all("Requires-Dist") or []
    plain = [line for line in required if "extra ==" not in line]
    assert plain and not [line for line in plain if line.startswith(("torch", "verl", "vllm", "ray"))]
    assert [line for line in required if line.startswith("verl") and ">=0.9.1" in line and "<0.10" in line]


def test_the_entry_points_are_the_command_and_verls_plugin(wheel):
    points = metadata(wheel, "entry_points.txt")
    assert "autocoa = autocoa_plugin.cli:main" in points
    assert "autocoa = autocoa_plugin.verl_adapters.plugin" in points
