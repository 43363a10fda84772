"""Calls in JSON are read against the schema of their tool, or named as faulty; no text of a policy raises anything."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_strategies import SPECS, arguments_of, expected_call

from autocoa_plugin.errors import ProtocolError
from autocoa_plugin.protocol import AUTOCOA, HERMES, PRESETS, REACT, SEARCH_R1, TagPair, Tool
from autocoa_plugin.tool_calls import MAX_CHARS, Defect, ToolCall, ToolSpec, one_text, read_arguments, read_call

SEARCH = ToolSpec("search")
TIDE = ToolSpec(
    "tide",
    "The tide in a port.",
    {
        "type": "object",
        "properties": {
            "port": {"type": "string", "minLength": 1},
            "hours": {"type": "integer", "minimum": 0},
            "spots": {"type": "array", "items": {"$ref": "#/$defs/spot"}},
        },
        "required": ["port"],
        "additionalProperties": False,
        "$defs": {"spot": {"type": "number"}},
    },
)
KNOWN = {spec.name: spec for spec in (SEARCH, TIDE)}


@given(st.data(), SPECS)
def test_arguments_that_fit_are_read_as_they_are_in_any_spelling(data, specs):
    spec = data.draw(st.sampled_from(specs))
    arguments = data.draw(arguments_of(spec))
    known = {each.name: each for each in specs}
    for options in ({}, {"indent": 2}, {"ensure_ascii": False}, {"separators": (",", ":")}):
        call = read_call(f"\n {json.dumps({'arguments': arguments, 'name': spec.name}, **options)}\t\n", known)
        if isinstance(call, Defect):
            assert call is Defect.EMPTY and expected_call(spec, arguments) == (spec.name, {})
            continue
        assert (call.tool, call.arguments) == (spec.name, arguments)
        canonical = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
        assert call.parameters == (arguments[spec.text_name].strip() if spec.text_name else canonical)


ANYTHING = st.text(st.characters(exclude_categories=()), max_size=60)
PIECES = (
    '{"name": "search", "arguments": {"query": ',
    '"q"',
    "}",
    "{",
    "[",
    "]",
    ",",
    ":",
    "NaN",
    "\\ud800",
    '"',
    "1e999",
)


@given(ANYTHING | st.lists(st.sampled_from(PIECES) | ANYTHING, max_size=9).map("".join))
def test_no_text_raises_anything(text):
    assert isinstance(read_call(text, KNOWN), ToolCall | Defect)
    assert isinstance(read_arguments(text, TIDE), ToolCall | Defect)
    action = HERMES.find_action(f"a<tool_call>{text}</tool_call>b")
    assert action is not None and action.start >= 0
    action.parameters.encode()


def test_one_required_text_is_the_parameters_and_anything_else_is_canonical_json():
    assert read_call('{"name": "search", "arguments": {"query": " where is Omagh? "}}', KNOWN) == ToolCall(
        "search", "where is Omagh?", {"query": " where is Omagh? "}
    )
    read = read_call('{"arguments": {"port": "Zürich", "hours": 3}, "name": "tide"}', KNOWN)
    assert read == ToolCall("tide", '{"hours": 3, "port": "Zürich"}', {"port": "Zürich", "hours": 3})
    # a key that the schema does not forbid is not dropped
    more = read_call('{"name": "search", "arguments": {"query": "q", "lang": "de"}}', KNOWN)
    assert isinstance(more, ToolCall) and more.parameters == '{"lang": "de", "query": "q"}'


def call(arguments: str, name: str = '"tide"') -> str:
    return f'{{"name": {name}, "arguments": {arguments}}}'


@pytest.mark.parametrize(
    "text",
    [
        "where is Omagh?",
        call('{"port": "Dover"}') + " please",  # text after it
        call('{"port": "Dover"}') * 2,
        call('{"port": "Dover",}'),
        "{'name': 'tide', 'arguments': {'port': 'Dover'}}",
        '["tide", {"port": "Dover"}]',
        '"tide"',
        '{"name": "tide", "name": "search", "arguments": {"port": "Dover"}}',  # a key twice
        call('{"port": "Dover", "port": "Deal"}'),
        '{"arguments": {"port": "Dover"}}',  # no name
        '{"name": "tide"}',  # no arguments
        '{"name": "tide", "arguments": {"port": "Dover"}, "id": 1}',  # more than a call has
        call('{"port": "Dover"}', "null"),
        call('{"port": "Dover"}', '["tide"]'),
        call('{"port": "Dover"}', '"Tide"'),  # no such tool
        call('{"port": "Dover"}', '"tides"'),
        call('"Dover"'),  # arguments that are no object
        call('["Dover"]'),
        call('"{\\"port\\": \\"Dover\\"}"'),  # JSON in a text, as OpenAI's own servers give it
        call("null"),
        call("{}"),  # what is required is missing
        call('{"port": 1}'),  # other types
        call('{"port": null}'),
        call('{"port": "Dover", "hours": "3"}'),
        call('{"port": "Dover", "hours": true}'),
        call('{"port": "Dover", "hours": 3.5}'),
        call('{"port": "Dover", "hours": -1}'),
        call('{"port": "Dover", "spots": [1, "2"]}'),
        call('{"port": ""}'),
        call('{"port": "Dover", "depth": 1}'),  # nothing of the tool's
        call('{"port": "Dover", "hours": NaN}'),
        call('{"port": "Dover", "spots": [Infinity]}'),
        call('{"port": "Dover", "spots": [1e999]}'),  # read as infinity
        call('{"port": "Dover", "hours": ' + "9" * 5000 + "}"),  # more digits than Python reads
        call('{"port": "\\ud800"}'),  # half a surrogate pair, in a value and in a key
        call('{"port": "Dover", "\\udfff": 1}'),
        call('{"port": "a\nb"}'),  # a line break must be escaped in JSON
        call('{"port": "Dover", "spots": ' + "[" * 10_000 + "]" * 10_000 + "}"),
        call('{"port": "' + "x" * MAX_CHARS + '"}'),
        "[" * 50_000,
    ],
    ids=lambda text: f"{text[:50]!a} of {len(text)}",
)
def test_what_is_no_call_of_a_known_tool_is_malformed(text):
    assert read_call(text, KNOWN) is Defect.MALFORMED


def test_a_surrogate_pair_is_a_character_as_any_other():
    assert read_call('{"name": "search", "arguments": {"query": "\\ud83d\\ude00"}}', KNOWN) == ToolCall(
        "search", "\U0001f600", {"query": "\U0001f600"}
    )


def test_arguments_nested_deeper_than_a_validator_reaches_are_malformed():
    tree: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    deep = '{"next": ' * 700 + "{}" + "}" * 700
    assert read_arguments(deep, ToolSpec("tree", "", tree)) is Defect.MALFORMED
    assert isinstance(read_arguments('{"next": {"next": {}}}', ToolSpec("tree", "", tree)), ToolCall)


def test_a_blank_text_is_empty():
    assert read_call('{"name": "search", "arguments": {"query": " \\n"}}', KNOWN) is Defect.EMPTY
    action = HERMES.find_action("<tool_call>\n</tool_call>")
    assert action is not None and action.defect is Defect.EMPTY


# -------------------------------------------------------------------------------------------------- tools of a protocol


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ToolSpec("two words"), "tool 'two words': a name has up to 128 letters"),
        (ToolSpec(""), "tool '': a name has up to 128 letters"),
        (ToolSpec("<t>"), "a name has up to 128 letters"),
        (ToolSpec("n" * 129), "a name has up to 128 letters"),
        (ToolSpec("t", "", {}), r'its schema must describe an object \("type": "object"\), got \{\}'),
        (ToolSpec("t", "", {"type": "string"}), "its schema must describe an object"),
        (ToolSpec("t", "", {"type": "object", "required": "q"}), "cannot be used: SchemaError: 'q' is not of type"),
        (ToolSpec("t", "", {"type": "object", "properties": {"q": {"type": "text"}}}), "cannot be used: SchemaError"),
        (ToolSpec("t", "", {"type": "object", "properties": {"q": {"pattern": "("}}}), "cannot be used: SchemaError"),
        (ToolSpec("t", "", {"type": "object", "x": {1, 2}}), "cannot be used: TypeError"),
        (
            ToolSpec("t", "", {"type": "object", "properties": {"q": {"$ref": "#/no"}}}),
            "cannot be used: PointerToNowhere",
        ),
        # nothing is fetched
        (ToolSpec("t", "", {"type": "object", "$ref": "http://127.0.0.1:9/schema"}), "cannot be used: .*Unresolvable"),
        (ToolSpec("t", "", {"type": "object", "$ref": "#"}), "cannot be used: RecursionError"),
    ],
    ids=lambda each: None if isinstance(each, ToolSpec) else each[:40],
)
def test_a_tool_that_no_call_can_be_checked_against_is_refused_when_it_is_made_known(spec, message):
    for protocol in (HERMES, AUTOCOA):
        with pytest.raises(ProtocolError, match=message) as caught:
            protocol.with_tools([spec])
        assert "\n" not in str(caught.value)


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(ProtocolError, match="two tools have the name 'tide'"):
        HERMES.with_tools([TIDE, ToolSpec("tide")])
    with pytest.raises(ProtocolError, match="'autocoa' has two tools of the name 'search'"):
        replace(AUTOCOA, tools=(AUTOCOA.tools[0], replace(AUTOCOA.tools[1], name="search")))


def test_in_json_exactly_the_tools_that_are_given_are_known():
    protocol = HERMES.with_tools([TIDE])
    assert [tool.name for tool in protocol.tools] == ["tide"]
    assert HERMES.with_tools([]) == HERMES
    with pytest.raises(ProtocolError, match="has no tool 'search'"):
        protocol.tool("search")
    (told,) = protocol.template_tools()
    function = {"name": "tide", "description": "The tide in a port.", "parameters": TIDE.schema}
    assert told == {"type": "function", "function": function}


@pytest.mark.parametrize("protocol", PRESETS.values(), ids=list(PRESETS))
def test_a_spec_that_says_no_more_than_a_name_changes_nothing_of_a_tool_that_is_there(protocol):
    names = [tool.name for tool in protocol.tools]
    assert protocol.with_tools([ToolSpec(name) for name in names]) == protocol
    asks = ToolSpec("search", "Ask.", one_text("question"))
    assert protocol.with_tools([asks]).tool("search") == replace(protocol.tool("search"), spec=asks)


def test_tools_that_call_in_json_share_their_tags():
    other = Tool("b", TagPair("<b>", "</b>"), TagPair("<r>", "</r>"))
    with pytest.raises(ProtocolError, match="calls tools in JSON, so they share their tags: those of 'b' differ"):
        replace(HERMES, tools=(*HERMES.tools, other))


def test_tags_are_added_by_a_protocols_pattern_and_those_that_are_there_stay():
    protocol = AUTOCOA.with_tools([SEARCH, TIDE])
    assert [tool.name for tool in protocol.tools] == ["search", "calculate", "tide"]
    assert protocol.tool("search") == AUTOCOA.tool("search")
    assert protocol.tool("tide") == Tool(
        "tide", TagPair("<begin_tide>", "</end_tide>"), TagPair("<tide_result>", "</tide_result>"), TIDE
    )
    assert [each["function"]["name"] for each in protocol.template_tools()] == ["search", "calculate", "tide"]


@pytest.mark.parametrize("protocol", [SEARCH_R1, REACT], ids=lambda each: each.name)
def test_a_protocol_without_pattern_refuses_a_tool_that_it_lacks(protocol):
    assert protocol.with_tools([SEARCH]).tags() == protocol.tags()
    with pytest.raises(ProtocolError, match="has no tool 'tide', and no tags to add it: take a protocol that calls"):
        protocol.with_tools([TIDE])


def test_between_tags_a_tool_that_takes_more_than_one_text_is_called_in_json():
    protocol = AUTOCOA.with_tools([SEARCH, TIDE])
    action = protocol.find_action('<begin_tide> {"port": "Dover", "hours": 3} </end_tide>')
    assert action is not None and action.arguments == {"port": "Dover", "hours": 3}
    # where one text is all that is needed it may stand alone, and is never taken for JSON that went wrong
    bare = protocol.find_action("<begin_tide> Dover </end_tide>")
    assert bare is not None and (bare.parameters, bare.arguments, bare.defect) == ("Dover", {}, None)
    wrong = protocol.find_action('<begin_tide> {"port": 3} </end_tide>')
    assert wrong is not None and wrong.defect is Defect.MALFORMED
    text = protocol.find_action('<begin_search> {"query": "q"} </end_search>')
    assert text is not None and (text.parameters, text.arguments) == ('{"query": "q"}', {})


def test_tools_and_actions_can_be_hashed_and_sent_to_another_process():
    protocol = HERMES.with_tools([TIDE])
    assert len({*protocol.tools, protocol.tool("tide")}) == 1 and len({protocol, HERMES}) == 2
    action = protocol.find_action('<tool_call>{"name": "tide", "arguments": {"port": "Dover"}}</tool_call>')
    assert pickle.loads(pickle.dumps((protocol, action))) == (protocol, action) and len({action}) == 1


@pytest.mark.parametrize("protocol", PRESETS.values(), ids=list(PRESETS))
def test_an_identity_names_tools_that_were_added_and_not_how_their_tags_were_made(protocol):
    identity = protocol.identity()
    assert json.loads(json.dumps(identity))["name"] == protocol.name
    assert replace(protocol, tool_tags=None).identity() == identity
    if protocol.tool_tags or protocol.call_format == "json":
        assert protocol.with_tools([TIDE]).identity() != identity


def test_a_protocol_that_an_earlier_version_has_spelled_has_its_identity():
    later = {"call_format", "body_before", "body_after", "invalid_turn", "tool_tags"}
    assert not later & AUTOCOA.identity().keys() and "spec" not in AUTOCOA.identity()["tools"][0]
    assert later & SEARCH_R1.identity().keys() == {"body_before", "body_after", "invalid_turn"}
