"""MCP servers as tools of the policy: started by this process (stdio), or asked at a URL (streamable HTTP).

    {use: mcp, arguments: {command: uvx mcp-server-fetch, only: [fetch]}}
    {use: mcp, arguments: {url: "http://127.0.0.1:9000/mcp", headers_env: WIKI_TOKEN, prefix: wiki_}}

    not sent: no such tool, arguments that its schema refuses      ToolError, ToolResponseError
    isError, an answer that is none, one that is too large         ToolResponseError
    no answer in time                                              ToolTimeoutError
    no connection, lost in the middle, HTTP 5xx or 429             ToolUnavailableError; the next call connects again
    the server has changed the tool since the run began            ToolUnavailableError; its other tools go on

A call that may have reached the server is never sent twice: it may have written something. What a server keeps, it
keeps for all rollouts of the process, and its sandbox is its own. How it is reached is in `mcp_pool`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, ToolError, ToolResponseError, ToolUnavailableError, nearest
from ..lookup import described
from ..protocol import Action, ToolSpec
from ..retrieval.base import encodable
from ..trajectory import Origin, Outcome
from .base import Context, Observation
from .mcp_pool import attach, detach
from .mcp_session import IDLE_S, Place, canonical, check_sdk
from .tools import arguments_of

MAX_TOOLS = 64
"""Tools that are offered without being chosen; each of them stands in every prompt."""


class McpTools:
    """Tools of one MCP server as an environment; `specs` says what they take, `answer` calls them.

    `command`: how the server is started, as a shell would split it, or a list; `url`: where it listens. One of both.
    `env`: variables for the process, by name; one without a value (null) is passed on from this process. It otherwise
    sees HOME, LOGNAME, PATH, SHELL, TERM, USER and nothing else. `headers_env` names the environment variable that
    holds a bearer token. `only`: the server's names of the tools to offer, in this order. `prefix` goes before every
    name; a character that is no letter, digit, "_", "-" or "." becomes "_". `timeout_s` bounds one call and, before
    it, the wait for a connection; `connect_timeout_s` one attempt to connect, of which a call makes `max_attempts`.
    `max_in_flight` bounds the calls that this process has at the server at once; others wait. `max_response_bytes`
    bounds one answer. `price_per_1000` answered calls is in the currency of the recipe.
    Raises `ConfigError` when the server cannot be used: not started, not reached, no tools, a tool that is not there.
    """

    stops_at_observation = True

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        url: str | None = None,
        env: Mapping[str, str | None] | None = None,
        headers_env: str | None = None,
        only: Sequence[str] | None = None,
        prefix: str = "",
        timeout_s: float = 20.0,
        max_in_flight: int = 16,
        connect_timeout_s: float = 30.0,
        max_attempts: int = 3,
        max_response_bytes: int = 32_000_000,
        price_per_1000: float = 0.0,
    ) -> None:
        check_sdk()
        limits = {
            "connect_timeout_s": connect_timeout_s,
            "max_attempts": max_attempts,
            "max_in_flight": max_in_flight,
            "max_response_bytes": max_response_bytes,
        }
        for name, value in {"timeout_s": timeout_s, **limits}.items():
            if not isinstance(value, int | float if name.endswith("_s") else int) or not 0 < value < float("inf"):
                raise ConfigError(f"{name} must be {'' if name.endswith('_s') else 'whole and '}> 0, got {value!r}")
        if not isinstance(price_per_1000, int | float) or not 0 <= price_per_1000 < float("inf"):
            raise ConfigError(f"price_per_1000 must be >= 0, got {price_per_1000!r}")
        if url is not None and timeout_s > IDLE_S:
            raise ConfigError(f"timeout_s must be <= {IDLE_S:g} for a server at a url, got {timeout_s!r}")
        if isinstance(only, str) or (only is not None and not only):
            raise ConfigError(f"only must be a list of names of tools, got {only!r}")
        if not re.fullmatch(r"[\w.-]*", prefix, re.ASCII):
            raise ConfigError(f"prefix must be made of letters, digits, '_', '-' and '.', got {prefix!r}")
        self._timeout_s, self._price = timeout_s, price_per_1000 / 1000
        self._place = _place(command, url, env, headers_env, limits)
        self._worker, self._connection = attach(self._place)
        self._is_closed = False
        try:
            session = self._worker.wait(self._connection.begin())
            self._tools = _offered(session.listed, only, prefix, self._place)
        except BaseException as error:
            self.close()
            if isinstance(error, ToolError):
                raise ConfigError(str(error)) from error
            raise
        self.specs = tuple(tool.spec for tool in self._tools.values())
        self._server = session.server

    async def answer(self, action: Action, context: Context) -> Observation:
        """Call one tool: its texts are the observation, an image or a file is named in it.

        Raises the `ToolError` that the picture of this module says.
        """
        tool = self._tools.get(action.tool)
        if tool is None:
            raise ToolError(f"{self._place} offers no tool {action.tool!r}{nearest(action.tool, self._tools)}")
        text = await self._ask(tool, _arguments(tool, action))
        if not text.strip():
            notice = context.codec.protocol.notices.empty_result
            return Observation(notice, Origin.REAL, Outcome.EMPTY, cost=self._price)
        return Observation(text, Origin.REAL, cost=self._price)

    async def _ask(self, tool: _Offered, arguments: dict[str, Any]) -> str:
        if self._is_closed:
            raise ToolUnavailableError(f"{self._place} was closed")
        if self._worker.pid != os.getpid():  # a forked child has none of its parent's threads
            self._worker, self._connection = attach(self._place)
        call = self._connection.call(tool.name, tool.schema, arguments, self._timeout_s)
        result = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._worker.loop))
        text = spelled(result)
        if result.is_error:
            raise ToolResponseError(f"{tool.spec.name}: {text.strip() or 'the server says that it failed'}")
        if len(text.encode("utf-8", "replace")) > self._place.max_response_bytes:
            raise ToolResponseError(f"{tool.spec.name}: answer larger than {self._place.max_response_bytes} bytes")
        return text

    def identity(self) -> dict[str, str]:
        """Name and version that the server gives itself, and a digest of the tools offered; not where it is."""
        offered = json.dumps([[each.name, each.description, each.schema] for each in self.specs], sort_keys=True)
        return {"server": self._server, "tools": f"sha256:{hashlib.sha256(offered.encode()).hexdigest()}"}

    def close(self) -> None:
        """End the session, the server's process and the thread, once nobody else in this process uses them."""
        if not self._is_closed and self._worker.pid == os.getpid():
            detach(self._worker, self._connection)
        self._is_closed = True


# ---------------------------------------------------------------------------------------------------- what is offered


@dataclass(frozen=True)
class _Offered:
    """A tool as it was when the environment was built; `name` is the server's, `spec.name` the policy's."""

    name: str
    spec: ToolSpec
    schema: str
    validator: Any


def _offered(listed: Sequence[Any], only: Sequence[str] | None, prefix: str, place: Place) -> dict[str, _Offered]:
    by_name = {tool.name: tool for tool in listed}
    if not listed:
        raise ConfigError(f"{place} offers no tools")
    if len(by_name) < len(listed):
        twice = next(name for name in by_name if sum(tool.name == name for tool in listed) > 1)
        raise ConfigError(f"{place} lists the tool {twice!r} twice")
    if only is None and len(listed) > MAX_TOOLS:
        some = ", ".join([*by_name][:3])
        raise ConfigError(f"{place} lists {len(listed)} tools: name those to offer, as in only: [{some}]")
    for name in only or ():
        if name not in by_name:
            hint = nearest(str(name), by_name) or f"; it has {sorted(by_name)[:10]}"
            raise ConfigError(f"only: {place} has no tool {name!r}{hint}")
    found: dict[str, _Offered] = {}
    for tool in listed if only is None else [by_name[name] for name in dict.fromkeys(only)]:
        name = prefix + re.sub(r"[^\w.-]", "_", tool.name, flags=re.ASCII)
        if name in found:
            raise ConfigError(f"{place}: the tools {found[name].name!r} and {tool.name!r} would both be {name!r}")
        spec = ToolSpec(name, tool.description or "", tool.input_schema)
        found[name] = _Offered(tool.name, spec, canonical(tool.input_schema), _validator(tool, place))
    return found


def _validator(tool: Any, place: Place) -> Any:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    kind = validator_for(tool.input_schema, default=Draft202012Validator)
    try:
        kind.check_schema(tool.input_schema)
    except SchemaError as error:
        raise ConfigError(f"{place}: what {tool.name!r} takes is no JSON schema: {error.message:.200}") from error
    # an empty registry: a "$ref" that leads out of the schema is not fetched from anywhere
    return kind(tool.input_schema, registry=Registry())


# ------------------------------------------------------------------------------------------- what is asked and answered


def _arguments(tool: _Offered, action: Action) -> dict[str, Any]:
    """Arguments of a call as JSON that the server's schema accepts; raises `ToolResponseError`."""
    from jsonschema.exceptions import best_match

    given = arguments_of(action, tool.spec)
    try:
        arguments = json.loads(encodable(json.dumps(given, ensure_ascii=False, allow_nan=False)))
        error = best_match(tool.validator.iter_errors(arguments))
    except Exception as failure:  # NaN, a hundred thousand brackets, a "$ref" of the schema that leads nowhere
        raise ToolResponseError(f"{tool.spec.name}: arguments that cannot be checked: {described(failure)}") from None
    if error is not None:
        raise ToolResponseError(f"{tool.spec.name}: {error.json_path}: {error.message:.300}")
    return arguments


def spelled(result: Any) -> str:
    """Spell an answer of the SDK: its texts, a line each, and the names of what is no text.

    Structured content is spelled as JSON where there is no text, which servers are asked to send along with it.
    """
    parts, has_text = [], False
    for block in result.content:
        body = getattr(block, "resource", block)
        text = getattr(body, "text", None)
        if text is None:  # an image, a sound, a file, a link to one
            kind = "resource" if block.type.startswith("resource") else block.type
            parts.append(f"[{kind} omitted: {getattr(body, 'uri', None) or body.mime_type}]")
        else:
            has_text = True
            parts.append(text)
    if not has_text and result.structured_content is not None:
        parts.insert(0, json.dumps(result.structured_content, ensure_ascii=False))
    return "\n".join(parts)


# --------------------------------------------------------------------------------------------------------- where it is


def _place(
    command: str | Sequence[str] | None,
    url: str | None,
    env: Mapping[str, str | None] | None,
    headers_env: str | None,
    limits: Mapping[str, Any],
) -> Place:
    if (command is None) == (url is None):
        raise ConfigError("an MCP server needs either command or url")
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"url must start with http:// or https://, got {url!r}")
        if env is not None:
            raise ConfigError("env is for a server that command starts; this one is at a url")
        return Place((), url, (), "" if headers_env is None else _variable(headers_env, "headers_env"), **limits)
    if headers_env is not None:
        raise ConfigError("headers_env is for a server at a url; this one is started by command")
    try:
        words = tuple(shlex.split(command) if isinstance(command, str) else [str(each) for each in command or ()])
    except ValueError as error:
        raise ConfigError(f"command cannot be split into words: {error}: {command!r}") from error
    if not words:
        raise ConfigError(f"command must name a program, got {command!r}")
    given = {name: _variable(name, "env") if value is None else str(value) for name, value in (env or {}).items()}
    if shutil.which(words[0], path=given.get("PATH")) is None:
        raise ConfigError(f"command: there is no program {words[0]!r} on this machine")
    return Place(words, "", tuple(sorted(given.items())), "", **limits)


def _variable(name: str, where: str) -> str:
    if name not in os.environ:
        raise ConfigError(f"{where}: the environment variable {name} is not set{nearest(name, os.environ)}")
    return os.environ[name]
