"""Tools of every shape, and arguments that fit them; without tags, for a call ends at the first closing one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from autocoa_plugin.tool_calls import ToolSpec

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=30),
    "integer": st.integers(),
    "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    "boolean": st.booleans(),
    "array": st.lists(_JSON, max_size=3),
    "object": st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
    "null": st.none(),
}


def _spec(name: str, kinds: dict[str, str], n_required: int) -> ToolSpec:
    properties = {key: {"type": kind} for key, kind in kinds.items()}
    return ToolSpec(name, "", {"type": "object", "properties": properties, "required": list(kinds)[:n_required]})


_NAMES = st.from_regex(r"[A-Za-z0-9_./:-]{1,12}", fullmatch=True)
_KINDS = st.dictionaries(st.text(min_size=1, max_size=6), st.sampled_from(list(_VALUES)), max_size=3)
SPECS = st.lists(
    st.builds(_spec, _NAMES, _KINDS, st.integers(0, 3)), min_size=1, max_size=3, unique_by=lambda spec: spec.name
)
_TAGS = ("<tool_call>", "</tool_call>")


def arguments_of(spec: ToolSpec) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments that fit a tool's schema, and quote no tag."""
    kinds = {name: kind["type"] for name, kind in spec.schema["properties"].items()}
    required = {name: _VALUES[kinds[name]] for name in spec.schema["required"]}
    optional = {name: _VALUES[kind] for name, kind in kinds.items() if name not in required}
    fitting = st.fixed_dictionaries(required, optional=optional)
    return fitting.filter(lambda each: not any(tag in json.dumps(each) for tag in _TAGS))


def expected_call(spec: ToolSpec, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Tool and arguments of the action that a rendered call must become: of an empty text, none."""
    text = spec.text_name and arguments.get(spec.text_name, "x").strip()
    return spec.name, {} if text == "" else arguments
