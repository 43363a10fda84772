"""mkdocs hook: the API pages, one per folder of the package, found by walking it; no list to keep, no module imported.

    autocoa_plugin/*.py            -> api/autocoa_plugin.md
    autocoa_plugin/engines/*.py    -> api/autocoa_plugin.engines.md
    ...

A page has a line `::: autocoa_plugin.engines.base` per module, which mkdocstrings fills from docstrings and signatures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = "autocoa_plugin"


def rooms(package: Path = ROOT / PACKAGE) -> Iterator[tuple[str, list[str]]]:
    """Each package by its dotted name, with the dotted names of its modules, itself first."""
    for init in sorted(package.rglob("__init__.py")):
        parts = (package.name, *init.parent.relative_to(package).parts)
        name = ".".join(parts)
        modules = sorted(file.stem for file in init.parent.glob("*.py") if not file.stem.startswith("__"))
        yield name, [name, *(f"{name}.{module}" for module in modules)]


def page(name: str, modules: list[str]) -> str:
    """The text of a room's page."""
    own, *others = modules
    options = "    options: {show_root_heading: false, show_root_toc_entry: false, members: []}"
    return "\n".join([f"# {name}", f"::: {own}", options, *(f"\n::: {module}" for module in others), ""])


def on_config(config: Any) -> Any:
    """Append the pages to the menu."""
    config.nav.append({"API": [{name: f"api/{name}.md"} for name, _ in rooms()]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to the site."""
    from mkdocs.structure.files import File

    for name, modules in rooms():
        files.append(File.generated(config, f"api/{name}.md", content=page(name, modules)))
    return files
