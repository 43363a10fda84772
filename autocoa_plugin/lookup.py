"""Sockets: objects that a configuration names, which need not be ours, found by name or path and built with arguments.

    protocol: react                                              a short name: ours, or one that a package publishes
    protocol: harbour.tags:HARBOUR                               package.module:Name
    tools: {tide: {use: harbour.py:Tide, arguments: {url: ..}}}  path/file.py:Name, with arguments

    TOOLS = Socket("autocoa.tools", "a tool", methods=("answer",))     the place in the configuration, and its rules
    TOOLS.build("harbour.py:Tide", where="autocoa.tools.tide")         resolve, construct, check, or one `ConfigError`

A package publishes short names as entry points of the socket's group: `"autocoa.tools": ["tide = harbour.tools:Tide"]`.
Every process of a run, Ray's workers included, looks a name up by itself, so a module must be importable there and a
file must lie there; a relative path counts from the working directory.
A settings file can therefore make this process import code, as a recipe's `_target_` can: read the ones you use.
Source: entry points of the Python packaging specifications; `importlib.metadata` of the standard library.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal

from .errors import ConfigError, nearest


@dataclass(frozen=True)
class Plug:
    """What stands in a socket: a short name, `package.module:Name` or `path/file.py:Name`, and what it is built with.

    In a recipe the name alone, or `{use: NAME, arguments: {..}}`.
    """

    use: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, value: str | Plug) -> Plug:
        """Take a name or a plug."""
        return value if isinstance(value, Plug) else cls(value)


def is_path(name: str) -> bool:
    """True for `package.module:Name` and `path/file.py:Name`, False for a short name."""
    return ":" in name


def named(path: str, *, where: str) -> Any:
    """Import what `package.module:Name` or `path/file.py:Name` names; `where` says in an error which key has named it.

    Raises `ConfigError` when the path is spelled differently, the module cannot be imported, or has no such name.
    """
    module_name, _, name = path.rpartition(":")
    if not module_name or not name.isidentifier():
        raise ConfigError(f"{where} must be spelled package.module:Name or path/file.py:Name, got {path!r}")
    module = _file_module(module_name, where) if module_name.endswith(".py") else _module(module_name, path, where)
    if not hasattr(module, name):
        raise ConfigError(f"{where}: {module_name} has no {name!r}{nearest(name, dir(module))}")
    return getattr(module, name)


def _module(name: str, path: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # what an import runs is anybody's code
        raise ConfigError(f"{where}: {path!r} cannot be imported: {described(error)}") from error


def _file_module(name: str, where: str) -> ModuleType:
    file = Path(name).expanduser().resolve()
    if not file.is_file():
        beside = nearest(file.name, [each.name for each in file.parent.glob("*.py")])
        raise ConfigError(f"{where}: there is no file {file}{beside}")
    # one module per file and process, found again by pickle under its name as long as this process lives
    module_name = f"autocoa_file_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}_{file.stem}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up while it is executed
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise ConfigError(f"{where}: {file} cannot be imported: {described(error)}") from error
    return module


@cache
def published(group: str) -> Mapping[str, EntryPoint]:
    """Entry points of a group by name; a name that two packages publish is refused where it is used (`Socket.path`)."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):  # scans the installed distributions: some milliseconds, once
        found.setdefault(point.name, point)
    return MappingProxyType(found)


def described(error: BaseException) -> str:
    """Spell an exception on one line, "Class: message", even when its message cannot be spelled."""
    try:
        text = " ".join(str(error).split())
    except Exception as failure:
        text = f"(its message cannot be spelled: {type(failure).__name__})"
    text = text.encode("utf-8", "replace").decode()
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


# ------------------------------------------------------------------------------------------------------------- sockets


@dataclass(frozen=True)
class Socket:
    """A place of the configuration that takes anyone's object: its entry point group and what must hold for the object.

    `kind` says in messages what is wanted ("a tool"). `takes` "object": a class is constructed, a function called, with
    the arguments, and the result needs `methods` (or to be an `instance_of`); "function": a class is constructed, and
    a function stands for itself, with the arguments bound by name; "either": a tool, say, may be both. `is_awaited`:
    the methods must be asynchronous.
    """

    group: str
    kind: str
    methods: tuple[str, ...] = ()
    takes: Literal["object", "function", "either"] = "object"
    instance_of: type[Any] | None = None
    is_awaited: bool = True

    def build(self, plug: str | Plug, *, where: str, known: Iterable[str] = ()) -> Any:
        """Resolve a published name or a path, construct it, and check what came out.

        `known` are the short names that the caller builds itself; they only serve the message for an unknown one.
        Raises `ConfigError`, one sentence that begins with `where`, whatever goes wrong, errors of foreign code
        included.
        """
        plug = Plug.of(plug)
        path = self.path(plug.use, where=where, known=known)
        found = named(path, where=where)
        built = self._constructed(found, plug, path, where)
        self._check(built, path, where)
        return built

    def path(self, name: str, *, where: str, known: Iterable[str] = ()) -> str:
        """Resolve a short name that a package publishes to its path; raises `ConfigError` naming the nearest one."""
        if is_path(name):
            return name
        offered = published(self.group)
        if name not in offered:
            names = sorted({*known, *offered})
            raise ConfigError(
                f"{where} must be one of {names}, package.module:Name or path/file.py:Name, got {name!r}"
                f"{nearest(name, names)}"
            )
        rivals = {point.value for point in entry_points(group=self.group, name=name)}
        if len(rivals) > 1:
            raise ConfigError(
                f"{where}: {name!r} is published by several packages ({', '.join(sorted(rivals))}): give the path of "
                "the one that is meant"
            )
        return offered[name].value

    def identity(self, plug: str | Plug, *, where: str) -> dict[str, Any]:
        """Say what a plug is by content: its name, arguments, and the SHA-256 of the file that its code stands in.

        Files which that file imports are not looked at.
        """
        plug = Plug.of(plug)
        identity: dict[str, Any] = {
            "use": plug.use,
            **{f"arguments.{key}": plug.arguments[key] for key in plug.arguments},
        }
        if is_path(plug.use) or plug.use in published(self.group):
            path = self.path(plug.use, where=where)
            identity["source"] = source_fingerprint(path, where=where)
            if path.rpartition(":")[0].endswith(".py"):  # the place of a file says nothing about it
                identity["use"] = f"{Path(path.rpartition(':')[0]).name}:{path.rpartition(':')[2]}"
        return identity

    def _constructed(self, found: Any, plug: Plug, path: str, where: str) -> Any:
        is_class, arguments = inspect.isclass(found), dict(plug.arguments)
        if is_class or (self.takes == "object" and inspect.isroutine(found)):
            check_arguments(found, arguments, f"{where}: {path}")
            try:
                return found(**arguments)
            except ConfigError as error:
                raise ConfigError(f"{where}: {path}: {error}") from error
            except Exception as error:
                raise ConfigError(f"{where}: {path} could not be built: {described(error)}") from error
        if arguments and inspect.isroutine(found):
            check_arguments(found, arguments, f"{where}: {path}", partly=True)
            return partial(found, **arguments)
        if arguments:
            raise ConfigError(f"{where}: {path} is a finished {type(found).__name__} and takes no arguments")
        return found

    def _check(self, built: Any, path: str, where: str) -> None:
        if self.instance_of is not None and not isinstance(built, self.instance_of):
            raise ConfigError(f"{where}: {path!r} must name {self.kind}, got {type(built).__name__}")
        if self.takes == "function" and not callable(built):
            raise ConfigError(f"{where}: {path!r} must name {self.kind}, a function, got {type(built).__name__}")
        if self.takes == "either" and callable(built) and not hasattr(built, self.methods[0]):
            return
        missing = [name for name in self.methods if not callable(getattr(built, name, None))]
        if missing:
            hint = "".join(nearest(name, dir(built)) for name in missing[:1])
            raise ConfigError(
                f"{where}: {path!r} is no {self.kind.partition(' ')[2]}: {type(built).__name__} has no method "
                f"{', '.join(missing)}{hint}"
            )
        # a plain method that is awaited would fail every call, and block every rollout meanwhile
        for name in self.methods if self.is_awaited else ():
            if not inspect.iscoroutinefunction(inspect.unwrap(getattr(built, name))):
                raise ConfigError(
                    f"{where}: {path!r}: {type(built).__name__}.{name} must be asynchronous: async def {name}"
                )


def check_arguments(
    function: Callable[..., Any], arguments: Mapping[str, Any], where: str, *, partly: bool = False
) -> None:
    """Refuse, with `ConfigError`, arguments that a function or class does not take, or (unless `partly`) that lack."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return
    takes_any = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    known = [
        name for name, each in signature.parameters.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]
    for name in arguments:
        if name not in known and not takes_any:
            raise ConfigError(f"{where} takes no argument {name!r}{nearest(str(name), known)}; it takes {known}")
    if not partly:
        try:
            signature.bind(**arguments)
        except TypeError as error:
            raise ConfigError(f"{where}: {error}; it takes {known}") from error


_FILE = re.compile(r"[^\s'\",:{}\[\]=]+\.py(?=:[A-Za-z_])")


def files_named(text: str) -> list[Path]:
    """Find the files that a spelled setting names as `path/file.py:Name`, in order, as far as they exist."""
    return [path for each in dict.fromkeys(_FILE.findall(text)) if (path := Path(each).expanduser()).is_file()]


def source_fingerprint(path: str, *, where: str) -> str:
    """SHA-256 of the file that the module of a path stands in: "sha256:<64 digits>"; "none" for one without file."""
    module_name = path.rpartition(":")[0]
    if module_name.endswith(".py"):
        file = Path(module_name).expanduser()
    else:
        source = getattr(_module(module_name, path, where), "__file__", None)
        file = Path(source) if source else None
    if file is None or not file.is_file():
        return "none"
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
