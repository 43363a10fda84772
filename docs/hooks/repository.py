"""mkdocs hook: pages that live elsewhere in the repository become part of the site, and links work in both places.

    recipes/README.md, benchmarks/README.md, benchmarks/results/, examples/cards/, ...   shown as they are
    [CONTRIBUTING](../CONTRIBUTING.md)       a page of the site: the link is kept
    [examples/03](../examples/03_x.py)       no page of the site: its text stays, the link goes

So every page is written as one reads it in the repository, and `mkdocs build --strict` finds links that lead nowhere.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
SHOWN = (
    "recipes/README.md",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.png",
    "examples/cards/*/*.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
)
_FENCE = re.compile(r"^(```|~~~)", re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def shown() -> list[str]:
    """Paths of the files outside docs/ that are part of the site, relative to the repository."""
    return sorted(path.relative_to(ROOT).as_posix() for pattern in SHOWN for path in ROOT.glob(pattern))


def on_files(files: Files, config: Any) -> Files:
    """Add them; pages that no menu names are reached by links."""
    for path in shown():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_config(config: Any) -> Any:
    """Say to mkdocs that pages which only links lead to are meant to be so."""
    unlisted = [path for path in shown() if path.startswith(("benchmarks/results/", "examples/"))]
    config.not_in_nav = _patterns(config, unlisted)
    return config


def _patterns(config: Any, paths: list[str]) -> Any:
    import pathspec

    return pathspec.GitIgnoreSpec.from_lines([f"/{path}" for path in paths])


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links from how they lead through the repository into how they lead through the site."""
    of_site = page.file.src_uri
    if of_site.startswith("api/"):
        return markdown
    here = of_site if of_site in shown() else f"docs/{of_site}"
    parts = _FENCE.split(markdown)  # text, fence, code, fence, text, ...
    for number in range(0, len(parts), 4):
        parts[number] = _LINK.sub(lambda found: _link(found, here, of_site, files), parts[number])
    return "".join(parts)


def _link(found: re.Match[str], here: str, of_site: str, files: Files) -> str:
    picture, text, target, anchor = found[1], found[2], found[3], found[4] or ""
    if re.match(r"[a-z]+:", target):
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
    if not (ROOT / path).exists():
        raise PluginError(f"{here}: the link to {target} leads nowhere: there is no {path}")
    uri = path.removeprefix("docs/")
    if files.get_file_from_path(uri) is None:
        return text if text.startswith("`") or " " in text else f"`{text}`"
    return f"{picture}[{text}]({posixpath.relpath(uri, posixpath.dirname(of_site) or '.')}{anchor})"
