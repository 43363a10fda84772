"""mkdocs hook: the tables of docs/settings.md, from the dataclasses that check a recipe's key `autocoa:`.

    <!-- settings autocoa_plugin.settings:Settings -->     becomes a table per dataclass, the nested ones included
    <!-- settings package.module:Class key -->             the same under another key than `autocoa`

    python docs/hooks/settings_schema.py                   prints what the page will say

Names, types and defaults are the dataclasses' own; the remarks are the comments beside the fields in the source, the
text above a table is the class's docstring. Nothing here names a setting, so the page cannot differ from the code.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

ROOT = Path(__file__).parents[2]
_MARK = re.compile(r"^<!-- settings (?P<module>[\w.]+):(?P<name>\w+)(?: (?P<key>\w+))? -->$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill the marks of a page."""
    return _MARK.sub(lambda found: schema(_load(found["module"], found["name"]), found["key"] or "autocoa"), markdown)


def _load(module: str, name: str) -> type[Any]:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return getattr(importlib.import_module(module), name)


def schema(root: type[Any], key: str = "autocoa") -> str:
    """Markdown of a dataclass and of all that its fields hold: heading, docstring, table of keys."""
    return "\n\n".join(_section(path, cls) for path, cls in tables(root, key))


def tables(cls: type[Any], path: str) -> Iterator[tuple[str, type[Any]]]:
    """The dataclass and those within it, each with its dotted key: `key[]` for a list, `key.NAME` for a mapping."""
    yield path, cls
    for field in _fields(cls):
        kind = get_type_hints(cls)[field.name]
        for inner in _dataclasses_of(kind):
            yield from tables(inner, f"{path}.{field.name}" + _each(kind))


def _section(path: str, cls: type[Any]) -> str:
    hints, remarks = _annotations(cls), _remarks(cls)
    head = ("key", "type", "default", "remark") if remarks else ("key", "type", "default")
    rows = [head, ("---",) * len(head)]
    for field in _fields(cls):
        remark = remarks.get(field.name, "").replace("|", "\\|")
        cells = (f"`{field.name}`", f"`{hints[field.name]}`", _default(field), remark)
        rows.append(cells[: len(head)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"### `{path}`\n\n{_doc(cls)}\n\n{table}"


def _fields(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.init]


def _doc(cls: type[Any]) -> str:
    first, _, rest = (cls.__doc__ or "").partition("\n")
    return f"{first}\n{textwrap.dedent(rest)}".strip()


def _annotations(cls: type[Any]) -> dict[str, str]:
    """The annotations as they stand in the source; aliases of literals spelled out."""
    hints = get_type_hints(cls)
    spelled = {field.name: str(field.type) for field in _fields(cls)}
    return {name: _choices(hints[name]) or text for name, text in spelled.items()}


def _choices(kind: Any) -> str:
    choices = get_args(kind) if str(kind).startswith("typing.Literal") else ()
    return " | ".join(f'"{each}"' for each in choices)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return "its defaults" if dataclasses.is_dataclass(made) else f"`{made!r}`"
    return "**required**"


def _remarks(cls: type[Any]) -> dict[str, str]:
    """The comment at the end of each field's line, by field."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.end_lineno:
            after = lines[each.end_lineno - 1][each.end_col_offset or 0 :].strip()
            if after.startswith("#"):
                found[each.target.id] = after.lstrip("# ")
    return found


def _dataclasses_of(kind: Any) -> list[type[Any]]:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return [kind]
    return [each for part in get_args(kind) for each in _dataclasses_of(part)]


def _each(kind: Any) -> str:
    """What stands after the key of a list or a mapping of tables."""
    origin = getattr(kind, "__origin__", None)
    return "[]" if origin in (tuple, list) else ".NAME" if origin is Mapping else ""


if __name__ == "__main__":
    for found in _MARK.finditer((ROOT / "docs" / "settings.md").read_text(encoding="utf-8")):
        print(schema(_load(found["module"], found["name"]), found["key"] or "autocoa"))
