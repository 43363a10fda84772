"""Load frozen dataclasses from a mapping, and back: every mistake in a recipe is named when the recipe is loaded.

    {"limits": {"max_action": 3}}  ->  ConfigError: autocoa: unknown key limits.max_action (did you mean 'max_actions'?)

A mapping is anything with keys (a dict, OmegaConf's DictConfig). What the values mean is for each dataclass to check in
its `__post_init__`, with `require` and `positive`.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError, nearest

T = TypeVar("T")


def from_mapping(cls: type[T], mapping: Mapping[str, Any], *, where: str) -> T:
    """Build a dataclass, and the dataclasses within it, from a mapping.

    `where` says in every message where the mapping stands ("recipes/rl_stage2_real.yaml"). An int becomes a float and a
    list a tuple where that is asked for, a string the member of an enumeration; nothing else is converted: True is no
    int, "3" is no int, None only fits `X | None`.
    Raises `ConfigError` for an unknown key, a missing key, a wrong type, an unknown choice, and for what a
    `__post_init__` refuses.
    """
    return _build(cls, mapping, "", where)


def to_mapping(instance: Any) -> dict[str, Any]:
    """Turn a dataclass into a dict of plain values, the reverse of `from_mapping`: tuples as lists, enums as values."""
    return {field.name: _plain(getattr(instance, field.name)) for field in dataclasses.fields(instance) if field.init}


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError(message)` unless the condition holds; the message says what was expected and what was seen."""
    if not condition:
        raise ConfigError(message)


def positive(name: str, value: float) -> None:
    """Raise `ConfigError` unless the value is greater than zero (NaN is not)."""
    require(value > 0, f"{name} must be > 0, got {value!r}")


def _build(cls: type[Any], mapping: Any, path: str, where: str) -> Any:
    if not isinstance(mapping, Mapping):
        raise _wrong(path, f"a mapping with the keys of {cls.__name__}", mapping, where)
    fields = _fields(cls)
    for key in mapping:
        if key not in fields:
            hint = nearest(str(key), fields)
            raise ConfigError(f"{where}: unknown key {_join(path, key)}{hint}; known: {', '.join(fields)}")
    missing = [_join(path, name) for name, field in fields.items() if name not in mapping and _is_required(field)]
    if missing:
        raise ConfigError(f"{where}: missing {', '.join(missing)}")
    values = {name: _convert(_types(cls)[name], mapping[name], _join(path, name), where) for name in mapping}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(kind: Any, value: Any, path: str, where: str) -> Any:
    """Return `value` as the annotated type `kind`, or raise."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, path, where)
    if origin is Literal:
        return _choose({choice: choice for choice in args}, value, path, where)
    if origin is tuple:
        return _convert_tuple(args, value, path, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(path, "a mapping", value, where)
        return {
            _convert(args[0], key, path, where): _convert(args[1], item, _join(path, key), where)
            for key, item in value.items()
        }
    return _convert_plain(kind, value, path, where)


def _convert_plain(kind: Any, value: Any, path: str, where: str) -> Any:
    if not isinstance(kind, type):
        raise TypeError(f"{path}: from_mapping does not know the annotation {kind!r}")
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):  # True is an int to Python
        return value
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, path, where)
    if issubclass(kind, Enum):
        return _choose({member.value: member for member in kind}, value, path, where)
    if kind is float and type(value) is int:
        return float(value)
    raise _wrong(path, kind.__name__, value, where)


def _convert_union(kinds: tuple[Any, ...], value: Any, path: str, where: str) -> Any:
    others = [kind for kind in kinds if kind is not type(None)]
    if value is None and len(others) < len(kinds):
        return None
    if len(others) == 1:  # X | None: let X say what is wrong
        return _convert(others[0], value, path, where)
    if type(value) in others:  # int | float keeps an int
        return value
    # where one choice alone takes what was given, let that one say what is wrong: a mapping for "str | Plug"
    fitting = [kind for kind in others if _takes_mapping(kind) == isinstance(value, Mapping)]
    if len(fitting) == 1 and not isinstance(value, str):
        return _convert(fitting[0], value, path, where)
    for kind in others:
        try:
            return _convert(kind, value, path, where)
        except ConfigError:
            continue
    raise _wrong(path, " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds), value, where)


def _takes_mapping(kind: Any) -> bool:
    origin = get_origin(kind)
    return dataclasses.is_dataclass(kind) or (isinstance(origin, type) and issubclass(origin, Mapping))


def _convert_tuple(kinds: tuple[Any, ...], value: Any, path: str, where: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(path, "a list", value, where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise _wrong(path, f"a list of {len(kinds)}", value, where)
    return tuple(
        _convert(kind, item, f"{path}[{index}]", where)
        for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _choose(choices: Mapping[Any, Any], value: Any, path: str, where: str) -> Any:
    for choice, member in choices.items():
        if type(choice) is type(value) and choice == value:  # True == 1, but is no choice of 1
            return member
    hint = nearest(value, [choice for choice in choices if isinstance(choice, str)]) if isinstance(value, str) else ""
    raise ConfigError(f"{where}: {path} must be one of {list(choices)}, got {value!r}{hint}")


def _wrong(path: str, expected: str, value: Any, where: str) -> ConfigError:
    seen = "None" if value is None else f"{type(value).__name__} {value!r:.80}"
    return ConfigError(f"{where}: {path + ' must be' if path else 'expected'} {expected}, got {seen}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@cache
def _fields(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


@cache
def _types(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)
