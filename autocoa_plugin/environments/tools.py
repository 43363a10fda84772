"""Tools of the policy: search and calculator as environments, and the toolbox that sends each action to its tool.

    <begin_search> q </end_search>            Toolbox ──> SearchEnvironment ──> retriever    spelled documents
    <begin_calculate> 2 * 21 </end_calculate> Toolbox ──> CalculatorEnvironment              42

Reading on in a document is `open_page`. Ranking belongs to the retriever, spelling to the protocol, failures to the
boundary in `base`.

`calculate` evaluates one expression in bounded time and memory. It is own code: the well-kept simpleeval would be a
dependency of a core that has none, and does not bound what matters here (it admits 4,000,000 ** 4,000,000; its strings,
names and attributes would have to be switched off one by one).
"""

from __future__ import annotations

import ast
import asyncio
import functools
import inspect
import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..errors import ConfigError, ToolError, ToolResponseError, nearest
from ..protocol import Action, ToolSpec
from ..retrieval.base import Document
from ..trajectory import Origin, Outcome
from .base import Composite, Context, Environment, Observation
from .open_page import with_id


class Toolbox(Composite):
    """A mapping of tool name to environment; a tool that is missing is a failed call, not a crash.

    `tools` maps the name of an entry to its environment; an environment with `specs` answers the tools that they name,
    another one the tool of its entry's name. Without any tool a policy that opens an observation is inventing one, as
    with real tools. Raises `ConfigError` when two entries offer one tool.
    """

    def __init__(self, tools: Mapping[str, Environment]) -> None:
        self.parts = dict(tools)
        self._entries = _entries(self.parts)
        self.stops_at_observation = not tools or any(tool.stops_at_observation for tool in self.parts.values())

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """Specifications of all tools, in the order of the recipe."""
        return tuple(
            spec for name, tool in self.parts.items() for spec in (getattr(tool, "specs", None) or [ToolSpec(name)])
        )

    async def answer(self, action: Action, context: Context) -> Observation:
        """Let the tool's environment answer; raises `ToolError` for a tool that is not provided."""
        if action.tool not in self._entries:
            hint = nearest(action.tool, self._entries)
            raise ToolError(f"no environment answers tool {action.tool!r}{hint}; configured: {sorted(self._entries)}")
        return await self.parts[self._entries[action.tool]].answer(action, context)


def _entries(tools: Mapping[str, Environment]) -> dict[str, str]:
    """Map every tool to the entry that answers it."""
    entries: dict[str, str] = {}
    for entry, environment in tools.items():
        for tool in [spec.name for spec in getattr(environment, "specs", None) or [ToolSpec(entry)]]:
            if tool in entries:
                raise ConfigError(f"tools: {entries[tool]!r} and {entry!r} both offer a tool {tool!r}: rename one")
            entries[tool] = entry
    return entries


class FunctionTool:
    """Plain Python function as a tool: its parameters are the tool's, the text it returns is the observation.

    `def tide(port: str, day: int = 0) -> str`, asynchronous or not; one that is not runs in a thread, so it may block.
    The first line of its docstring is the description. Errors it raises are counted as failures of the tool.
    """

    stops_at_observation = True

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._function = function
        self.specs = (ToolSpec(name, _first_line(function), schema_of(function)),)

    async def answer(self, action: Action, context: Context) -> Observation:
        """Call the function with the action's arguments; raises `ToolResponseError` for arguments that do not fit."""
        arguments = arguments_of(action, self.specs[0])
        if inspect.iscoroutinefunction(_unbound(self._function)):
            return await self._function(**arguments)
        return await asyncio.to_thread(self._function, **arguments)


def _unbound(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _first_line(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return (inspect.getdoc(function) or "").partition("\n")[0]


_JSON_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """JSON schema of a function's parameters; a parameter without a plain annotation takes any value."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    bound = function.keywords if isinstance(function, functools.partial) else {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in bound:
            continue
        kind = parameter.annotation
        word = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
        properties[name] = {"type": _JSON_TYPES[word]} if word in _JSON_TYPES else {}
        if parameter.default is parameter.empty:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def arguments_of(action: Action, spec: ToolSpec) -> dict[str, Any]:
    """Arguments of a call: those of a JSON call, the whole text for a tool that needs one text, else JSON in the text.

    Raises `ToolResponseError` for text that is no JSON object where several arguments are asked for.
    """
    if action.arguments or action.parameters == "{}":  # a call in JSON without arguments
        return dict(action.arguments)
    properties = spec.schema.get("properties", {})
    wanted = list(spec.schema.get("required", ())) or list(properties)[:1]
    if len(wanted) == 1 and _is_text(properties.get(wanted[0])):
        return {wanted[0]: action.parameters}
    try:
        found = json.loads(action.parameters)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ToolResponseError(
            f"{spec.name} takes a JSON object with {', '.join(properties)}, got {action.parameters!r:.80}"
        )
    return found


def _is_text(schema: Any) -> bool:
    """True for a parameter that is a text; one that says nothing of its type (a plain function's) takes one as well."""
    return isinstance(schema, Mapping) and (schema.get("type") == "string" or not schema)


class CountingRetriever(Protocol):
    """A retriever that says whether each answer came from its cache (`retrieval.base.CachedRetriever`)."""

    async def search_counted(self, queries: Sequence[str], top_k: int) -> Sequence[tuple[list[Document], bool]]:
        """Return (documents, True when no call was made for them) for each query."""
        ...


class SearchEnvironment:
    """Search tool: the parameters are a query, the observation spells the `top_k` best documents.

    An empty result is an observation of its own kind. `price` is money per real call. `shows_ids` adds its id to the
    title of each document, "Title [id 17]", for `open_page` to be asked with.
    """

    stops_at_observation = True

    def __init__(
        self, retriever: CountingRetriever, *, top_k: int = 3, price: float = 0.0, shows_ids: bool = False
    ) -> None:
        self._retriever, self._top_k, self._price, self._shows_ids = retriever, top_k, price, shows_ids

    async def answer(self, action: Action, context: Context) -> Observation:
        """Search for the action's parameters; raises the retriever's `ToolError`."""
        ((documents, is_hit),) = await self._retriever.search_counted([action.parameters], self._top_k)
        origin, cost = (Origin.CACHE, 0.0) if is_hit else (Origin.REAL, self._price)
        protocol = context.codec.protocol
        if not documents:
            return Observation(protocol.notices.empty_result, origin, Outcome.EMPTY, cost=cost)
        title_of = with_id if self._shows_ids else _title
        body = protocol.spell_documents([(title_of(document), document.text) for document in documents])
        return Observation(body, origin, cost=cost)


def _title(document: Document) -> str:
    return document.title


class CalculatorEnvironment:
    """Calculator tool: the parameters are an arithmetic expression, the observation its value; free, never cached."""

    stops_at_observation = True

    async def answer(self, action: Action, context: Context) -> Observation:
        """Evaluate the action's parameters; raises `ToolResponseError` for what is not arithmetic."""
        return Observation(calculate(action.parameters), Origin.REAL)


# ---------------------------------------------------------------------------------------------------------- arithmetic

MAX_CHARS = 200
MAX_DEPTH = 100  # "1+1+...+1" of 200 characters nests 99 deep
MAX_BITS = 1024  # of a whole number: about 308 digits, as far as a float reaches

_SPELLINGS = str.maketrans({"×": "*", "÷": "/", "−": "-", "^": "**"})  # noqa: RUF001
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)")
_TOKEN = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?P<name>[A-Za-z_]+)|[-+*/%(), ]", re.ASCII)


def _power(base: float, exponent: float) -> Any:
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and abs(base) > 1
        and base.bit_length() * exponent > MAX_BITS
    ):
        raise OverflowError
    return base**exponent


def _round(value: float, digits: int = 0) -> float:
    if abs(digits) > MAX_BITS:  # Python would compute 10 ** digits
        raise OverflowError
    return round(value, digits) if digits else round(value)


_OPERATORS: dict[type[ast.operator] | type[ast.unaryop], Callable[..., Any]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv},
    **{ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power},
    **{ast.UAdd: operator.pos, ast.USub: operator.neg},
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{"abs": abs, "ceil": math.ceil, "floor": math.floor, "max": max, "min": min, "round": _round, "sqrt": math.sqrt}
}


def calculate(expression: str) -> str:
    """Evaluate + - * / // % ** ( ) and the functions abs, ceil, floor, max, min, round, sqrt.

    Numbers are whole or decimal; "1,234" is one number unless a function is called; `^` is a power. Whole results are
    written out, others with 15 significant digits. Raises `ToolResponseError`, one sentence, for everything else: more
    than 200 characters, a number beyond about 10^308, a division by zero.
    """
    try:
        value = _evaluate(ast.parse(_checked(expression), mode="eval").body, MAX_DEPTH)
    except ToolResponseError:
        raise
    except ZeroDivisionError:
        raise ToolResponseError("division by zero") from None
    except OverflowError:
        raise ToolResponseError("the result is too large") from None
    except (SyntaxError, MemoryError, RecursionError):
        raise ToolResponseError("this is not an arithmetic expression") from None
    except (TypeError, ValueError):  # a domain error, or a wrong number of arguments
        raise ToolResponseError("there is no result for these numbers") from None
    return str(value) if isinstance(value, int) else format(value + 0.0, ".15g")  # + 0.0: no "-0"


def _checked(expression: str) -> str:
    """Let nothing but arithmetic reach Python's parser, which knows strings and keywords and warns about some."""
    if len(expression) > MAX_CHARS:
        raise ToolResponseError(f"an expression has at most {MAX_CHARS} characters, this one has {len(expression)}")
    text, position = " ".join(expression.split()).translate(_SPELLINGS), 0
    if not re.search("[A-Za-z] ?[(]", text):  # otherwise a comma separates arguments
        text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ToolResponseError(f"unexpected character {text[position]!r} in an arithmetic expression")
        if token["name"] and token["name"] not in _FUNCTIONS:
            hint = nearest(token["name"], _FUNCTIONS)
            raise ToolResponseError(f"unknown name {token['name']!r}{hint}; known: {', '.join(_FUNCTIONS)}")
        position = token.end()
    return text


def _evaluate(node: ast.expr, depth: int) -> Any:
    if depth == 0:
        raise ToolResponseError(f"the expression nests deeper than {MAX_DEPTH} levels")
    match node:
        case ast.Constant(value=int() | float() as value):
            pass
        case ast.BinOp(left=left, op=op, right=right):
            value = _OPERATORS[type(op)](_evaluate(left, depth - 1), _evaluate(right, depth - 1))
        case ast.UnaryOp(op=op, operand=operand):
            value = _OPERATORS[type(op)](_evaluate(operand, depth - 1))
        case ast.Call(func=ast.Name(id=name), args=args):
            value = _FUNCTIONS[name](*[_evaluate(arg, depth - 1) for arg in args])
        case _:
            raise ToolResponseError("this is not an arithmetic expression")
    if isinstance(value, complex):
        raise ValueError  # a negative number to a broken power
    if value.bit_length() > MAX_BITS if isinstance(value, int) else not math.isfinite(value):
        raise OverflowError
    return value
