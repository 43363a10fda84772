"""Tools and their calls: the tags of a tool, the JSON schema of what it takes, and a call in JSON that a policy wrote.

    {"name": "search", "arguments": {"query": "q"}}   ──read_call──>   ToolCall("search", "q", {"query": "q"})
    {"name": "serch", ..}    {"name": "search"}    not JSON            Defect.MALFORMED

A call is read whole or not at all: nothing is repaired or guessed, so that what is executed is what the policy wrote.
White space is free; `name` and `arguments` are all that a call may have. Where a call stands in a text is for
`protocol.py` to find.
Source: JSON Schema (json-schema.org), checked by the library jsonschema, which is imported when it is first needed; the
form of a call is that of the chat templates of Hermes and Qwen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, NoReturn

from .errors import ProtocolError

MAX_CHARS = 65_536
"""A longer call is malformed: checking a schema takes microseconds for each item of a list."""

_NAME = re.compile(r"[A-Za-z0-9_./:-]{1,128}")  # what MCP and the chat APIs allow; none of it can end a tag or a text


@dataclass(frozen=True)
class TagPair:
    """An opening and a closing tag."""

    open: str
    close: str


def one_text(name: str = "query") -> dict[str, Any]:
    """Schema of a tool that takes one text."""
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


class Defect(StrEnum):
    """Fault of an action that was closed and cannot be executed."""

    MALFORMED = "malformed"  # closed without an opening tag of the same tool before it; no call of a known tool
    EMPTY = "empty"  # nothing but white space between the tags, or in the one text that the tool takes


@dataclass(frozen=True)
class ToolSpec:
    """What a policy must know of a tool: its name, one or two sentences, and the JSON schema of its parameters."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=one_text, hash=False)

    @property
    def text_name(self) -> str | None:
        """Name of the one text that the tool takes (a required string, and nothing else); None for any other tool."""
        return self.schema["required"][0] if self.needs_text and len(self.schema["properties"]) == 1 else None

    @property
    def needs_text(self) -> bool:
        """True when a text is all that the tool needs; what else it takes may be left out."""
        properties, required = self.schema.get("properties"), self.schema.get("required")
        if not isinstance(properties, Mapping) or not isinstance(required, list | tuple) or len(required) != 1:
            return False
        kind = properties.get(required[0])
        return isinstance(kind, Mapping) and kind.get("type") == "string"

    def template(self) -> dict[str, Any]:
        """Spell the tool as chat templates want it, in OpenAI's form."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.schema)}
        return {"type": "function", "function": function}

    def check(self) -> None:
        """Refuse, with `ProtocolError`, a name that tags cannot hold, and a schema that no call can be checked against.

        A schema describes an object, and refers to nothing outside itself: nothing is fetched while a policy acts.
        """
        where = f"tool {self.name!r}"
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ProtocolError(f"{where}: a name has up to 128 letters, digits and characters of _ . / : -")
        if not isinstance(self.schema, Mapping) or self.schema.get("type") != "object":
            raise ProtocolError(
                f'{where}: its schema must describe an object ("type": "object"), got {self.schema!r:.80}'
            )
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012

        try:
            validator = _validator(json.dumps(self.schema, allow_nan=False))
            validator.check_schema(validator.schema)
            resource = DRAFT202012.create_resource(validator.schema)
            base = resource.id() or ""
            resolver = Registry().with_resource(base, resource).resolver(base)
            for reference in _references(validator.schema):
                resolver.lookup(reference)
            validator.is_valid({})  # a schema that is nothing but itself ends here, and not in a rollout
        except Exception as error:  # schemas come from anyone's server, and several libraries read them
            reason = " ".join(str(error).partition("\n")[0].split())[:200]
            raise ProtocolError(f"{where}: its JSON schema cannot be used: {type(error).__name__}: {reason}") from error


@dataclass(frozen=True)
class Tool:
    """Tags of one tool: the policy writes parameters between `action`, the answer stands between `observation`.

    What stands between the tags is one text, or, for a `spec` that asks for more than that, a JSON object.
    """

    name: str
    action: TagPair
    observation: TagPair
    spec: ToolSpec | None = None


@dataclass(frozen=True)
class Action:
    """One closed tool call inside the text of a turn.

    `start` and `end` are character offsets: `text[start:end]` is the call with its tags. `arguments` is what a call in
    JSON says, checked against the tool's schema, else {}; `parameters` is the same as text (`tool_calls.ToolCall`).
    """

    tool: str
    parameters: str
    start: int
    end: int
    defect: Defect | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)


# ------------------------------------------------------------------------------------------- reading calls in JSON


@dataclass(frozen=True)
class ToolCall:
    """A call that may be executed.

    `parameters` is the bare text, trimmed, for a tool that takes one text; else the arguments as canonical JSON (sorted
    keys, characters as they are).
    """

    tool: str
    parameters: str
    arguments: Mapping[str, Any] = field(hash=False)


def read_call(text: str, specs: Mapping[str, ToolSpec]) -> ToolCall | Defect:
    """Read `{"name": .., "arguments": {..}}`, the name being one of `specs`; never raises, whatever the text is."""
    call = _decoded(text)
    if call is None or call.keys() != {"name", "arguments"}:
        return Defect.MALFORMED
    name, arguments = call["name"], call["arguments"]
    if not isinstance(name, str) or name not in specs or not isinstance(arguments, dict):
        return Defect.MALFORMED
    return _checked(arguments, specs[name])


def read_arguments(text: str, spec: ToolSpec) -> ToolCall | Defect:
    """Read the arguments of a known tool, a JSON object; never raises, whatever the text is."""
    arguments = _decoded(text)
    return Defect.MALFORMED if arguments is None else _checked(arguments, spec)


def _decoded(text: str) -> dict[str, Any] | None:
    if len(text) > MAX_CHARS:
        return None
    try:
        value = json.loads(text.strip(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # the last of two equal keys would win, and the policy may have meant the first
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key occurs twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _checked(arguments: dict[str, Any], spec: ToolSpec) -> ToolCall | Defect:
    try:
        canonical = json.dumps(arguments, sort_keys=True, ensure_ascii=False, allow_nan=False)
        # half of a surrogate pair is no text: whoever writes it to a file or a socket would stumble over it later
        canonical.encode("utf-8")
        if not _validator(json.dumps(spec.schema)).is_valid(arguments):
            return Defect.MALFORMED
    except Exception:  # what a policy wrote meets a schema of anyone's: numbers that overflow, patterns, deep nesting
        return Defect.MALFORMED
    name = spec.text_name
    if name is None or arguments.keys() != {name}:
        return ToolCall(spec.name, canonical, arguments)
    text = arguments[name].strip()
    return ToolCall(spec.name, text, arguments) if text else Defect.EMPTY


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    # 60 ms that a protocol of tags need not pay
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    loaded = json.loads(schema)
    # an empty registry: by itself the library would fetch what a schema refers to
    return validator_for(loaded, default=Draft202012Validator)(loaded, registry=Registry())


def _references(schema: Any) -> Iterator[str]:
    """Every reference inside a schema."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list | tuple):
        for each in schema:
            yield from _references(each)
