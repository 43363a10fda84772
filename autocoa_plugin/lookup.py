"""Objects named in a configuration: `package.module:Name`, or a short name that an installed package has published.

    named("autocoa_plugin.tinyworld.sockets:REACT", where="lab.methods.react")   import the module, return its REACT
    published("autocoa.protocols")                                               what entry points of that group offer

A settings file can therefore make this process import code, as a recipe's `_target_` can: read the ones you use.
Source: entry points of the Python packaging specifications; `importlib.metadata` of the standard library.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from .errors import ConfigError, nearest


def is_path(name: str) -> bool:
    """True for `package.module:Name`, False for a short name."""
    return ":" in name


def named(path: str, *, where: str) -> Any:
    """Import what `package.module:Name` names; `where` says in an error which key has named it.

    Raises `ConfigError` when the path is spelled differently, the module cannot be imported, or has no such name.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name.isidentifier():
        raise ConfigError(f"{where} must be spelled package.module:Name, got {path!r}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{where}: {path!r} cannot be imported: {error}") from error
    if not hasattr(module, name):
        raise ConfigError(f"{where}: {module_name} has no {name!r}{nearest(name, dir(module))}")
    return getattr(module, name)


@cache
def published(group: str) -> Mapping[str, EntryPoint]:
    """Entry points of a group by name; of two packages that publish one name the first one found counts."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):  # scans the installed distributions: some milliseconds, once
        found.setdefault(point.name, point)
    return MappingProxyType(found)
