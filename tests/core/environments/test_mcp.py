"""MCP servers as tools: real servers, over stdio and HTTP, made with the SDK or misbehaving by hand."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin import AUTOCOA, Codec, Limits, StopReason, rollout
from autocoa_plugin.assembly import build_environment, protocol_of
from autocoa_plugin.cassette.header import Header
from autocoa_plugin.cassette.tape import Tape
from autocoa_plugin.config import from_mapping
from autocoa_plugin.environments import mcp_pool
from autocoa_plugin.environments.base import Context, answer_safely
from autocoa_plugin.environments.cassette import CassetteEnvironment
from autocoa_plugin.environments.mcp import McpTools
from autocoa_plugin.environments.tools import Toolbox
from autocoa_plugin.errors import ConfigError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from autocoa_plugin.ledger import entry_of
from autocoa_plugin.protocol import Action, TagPair, Tool
from autocoa_plugin.retrieval.server import serving
from autocoa_plugin.settings import Settings
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine
from autocoa_plugin.trajectory import Origin, Outcome

pytest.importorskip("mcp")  # the extra

ROOT = Path(__file__).parents[3]
WILD = ROOT / "tests" / "mcp_wild_server.py"
TIDES = [sys.executable, str(ROOT / "examples" / "tide_server.py")]
CODEC = Codec(CharTokenizer(), AUTOCOA)


def wild(options: dict[str, Any] | None = None, **arguments: Any) -> McpTools:
    """Tools of the server that misbehaves, with these options of its own; alike ones share it."""
    command = [sys.executable, "-I", "-S", str(WILD), json.dumps(options or {})]
    return McpTools(command=command, **{"timeout_s": 30.0, **arguments})


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test closes what it opens: no session, no process, no thread."""
    for name in ("PROCESS_TERMINATION_TIMEOUT", "FORCE_KILL_TIMEOUT"):  # 2 s each: seconds for every stubborn server
        monkeypatch.setattr(f"mcp.client.stdio.{name}", 0.2)
    yield
    assert mcp_pool._WORKERS == [] and "mcp" not in {thread.name for thread in threading.enumerate()}


HASTY_S = 0.2
"""For calls that are to be too late; all others have time, also where other tests run beside them."""


@contextmanager
def used(tools: McpTools) -> Iterator[McpTools]:
    try:
        yield tools
    finally:
        tools.close()


def context() -> Context:
    return Context([], CODEC, ScriptedEngine([]), None, 100)


def action(tool: str, parameters: str = "{}", /, **arguments: Any) -> Action:
    return Action(tool, parameters, 0, 1, arguments=arguments)


async def answer(tools: McpTools, tool: str, parameters: str = "{}", /, **arguments: Any) -> str:
    return (await tools.answer(action(tool, parameters, **arguments), context())).text


def ask(tools: McpTools, tool: str, parameters: str = "{}", /, **arguments: Any) -> str:
    return asyncio.run(answer(tools, tool, parameters, **arguments))


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        # a process that ended and was not waited for by its parent is a zombie
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def eventually(condition: Any, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


# -------------------------------------------------------------------------------------------- servers made with the SDK


def test_a_server_of_the_sdk_over_stdio_offers_its_tools_and_answers_tags_and_json():
    with used(McpTools(command=TIDES)) as tools:
        tide, distance = tools.specs
        assert (tide.name, tide.description) == ("tide", "Hours of high water in a port today.")
        assert tide.schema["required"] == ["port"]
        assert list(distance.schema["properties"]) == ["start", "end", "unit"]
        assert ask(tools, "tide", "Brest") == "High water at Brest: 04:12 and 16:37."
        assert (
            ask(tools, "distance", '{"start": "Brest", "end": "Dover"}') == "From Brest to Dover: 287 nautical miles."
        )
        assert ask(tools, "distance", start="Brest", end="Dover", unit="nm") == "From Brest to Dover: 287 nm."
        with pytest.raises(ToolResponseError, match=r"^tide: Error executing tool tide: no such port: Atlantis$"):
            ask(tools, "tide", "Atlantis")
        identity = tools.identity()
        assert identity["server"] == "tides 1.0" and len(identity["tools"]) == len("sha256:") + 64
        assert "python" not in str(identity) and "tide_server" not in str(identity)
        with used(McpTools(command=TIDES, only=["tide"], prefix="sea_")) as fewer:
            assert [spec.name for spec in fewer.specs] == ["sea_tide"] and ask(fewer, "sea_tide", "Dover")
            assert fewer.identity() != identity  # what is offered is another thing


@pytest.fixture
def http() -> Iterator[Any]:
    from mcp_http_server import HttpServer

    server = HttpServer()
    server.start()
    yield server
    server.stop()


def test_a_server_of_the_sdk_over_http_answers_with_a_bearer_token_that_no_message_holds(http, monkeypatch):
    monkeypatch.setenv("WIKI_TOKEN", "open-sesame")
    place = {"url": http.url + "?key=secret", "headers_env": "WIKI_TOKEN"}
    with used(McpTools(**place)) as tools, used(McpTools(**place, timeout_s=HASTY_S)) as hasty:
        assert ask(tools, "echo", "hello") == "hello"
        assert http.authorizations == {"Bearer open-sesame"}
        assert ask(tools, "many", n=3_000_000) == "m" * 3_000_000
        with pytest.raises(ToolTimeoutError) as raised:
            ask(hasty, "wait", n=1000)
        assert str(raised.value) == f"MCP server {http.url}: no answer to wait within 0.2 s"
        assert "sesame" not in repr(tools._place) and http.url not in str(tools.identity())


def test_an_answer_over_http_beyond_the_limit_fails_its_call_only(http):
    with used(McpTools(url=http.url, max_response_bytes=50_000)) as tools:
        with pytest.raises(ToolResponseError, match="50000 byte"):
            ask(tools, "many", n=60_000)
        assert ask(tools, "echo", "hello") == "hello"


def test_a_server_over_http_that_goes_away_fails_the_calls_in_flight_and_is_asked_again_when_it_is_back(http):
    with used(McpTools(url=http.url, max_attempts=1)) as tools:

        async def interrupted() -> None:
            call = asyncio.create_task(answer(tools, "wait", n=20_000))
            await asyncio.to_thread(http.is_waiting.wait, 5.0)
            await asyncio.to_thread(http.stop)
            with pytest.raises(ToolUnavailableError, match="connection lost, wait: "):
                await call

        asyncio.run(interrupted())
        with pytest.raises(ToolUnavailableError, match="cannot be used: ConnectError: "):
            ask(tools, "echo", "gone")
        assert eventually(lambda: " (asked again in 0." in failure(tools, "echo", "gone"))  # at once, nobody is asked
        http.start()
        assert eventually(lambda: not failure(tools, "echo", "back"))


def test_a_tool_that_a_server_over_http_takes_away_fails_and_the_others_go_on(http):
    with used(McpTools(url=http.url)) as tools:
        assert ask(tools, "many", n=1) == "m"
        gone = "changed its tools since the run began: 'many' is gone"
        assert eventually(lambda: ask(tools, "change") and gone in failure(tools, "many", n=1))
        assert ask(tools, "echo", "here") == "here"


class OldHttpServer:
    """A server of the handshake era, which keeps sessions and answers in plain JSON; it can forget and refuse."""

    def __init__(self) -> None:
        self.sessions: list[str] = []
        self.status = 200  # of the next calls

    async def handle(self, request: web.Request) -> web.Response:
        message = await request.json() if request.method == "POST" else {}
        method, result = message.get("method"), None
        if method == "initialize":
            self.sessions.append(f"session {len(self.sessions)}")
            info = {"name": "old", "version": "1"}
            result = {"protocolVersion": "2025-03-26", "capabilities": {"tools": {}}, "serverInfo": info}
        elif method is None or method == "server/discover":
            return web.Response(status=405)
        elif request.headers.get("Mcp-Session-Id") not in self.sessions[-1:]:
            return web.Response(status=404)
        elif method == "tools/list":
            result = {"tools": [{"name": "session", "inputSchema": {"type": "object"}}]}
        elif method == "tools/call":
            if self.status != 200:
                return web.Response(status=self.status)
            result = {"content": [{"type": "text", "text": self.sessions[-1]}]}
        if "id" not in message:
            return web.Response(status=202)
        headers = {"Mcp-Session-Id": self.sessions[-1]}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)


def test_what_a_server_over_http_answers_instead_is_told_apart():
    async def main() -> None:
        server, app = OldHttpServer(), web.Application()
        app.router.add_route("*", "/mcp", server.handle)
        async with serving(app) as url:
            tools = await asyncio.to_thread(McpTools, url=url + "/mcp")
            assert await answer(tools, "session") == "session 0"
            for server.status, kind in (
                (400, ToolResponseError),
                (429, ToolUnavailableError),
                (503, ToolUnavailableError),
            ):
                with pytest.raises(
                    kind, match=rf"session: Server returned an error response \(HTTP {server.status}\)$"
                ):
                    await answer(tools, "session")
            server.status = 200
            assert await answer(tools, "session") == "session 0"  # refusals of calls are no lost connection
            server.sessions.append("of somebody else: ours is forgotten")
            with pytest.raises(
                ToolUnavailableError, match=r"connection lost, session: Session terminated \(HTTP 404\)"
            ):
                await answer(tools, "session")
            assert await answer(tools, "session") == "session 2"
            await asyncio.to_thread(tools.close)

    asyncio.run(main())


def failure(tools: McpTools, tool: str, parameters: str = "{}", /, **arguments: Any) -> str:
    """Class and message of a call that fails, as a trajectory keeps them; "" for one that does not."""
    observation = asyncio.run(answer_safely(tools, action(tool, parameters, **arguments), context(), timeout_s=20.0))
    return observation.error or ""


# ---------------------------------------------------------------------------------------------- what is refused at once


ODD = {"type": "object", "properties": {"a": {"type": "strange"}}}


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"version": "1999-01-01"}, {}, "protocol version from the server: 1999-01-01; known are 2024-11-05, "),
        ({"last_words": "no license: set TIDE_KEY"}, {}, "cannot be used.*; its last words: no license: set TIDE_KEY$"),
        ({"only": []}, {}, "offers no tools$"),
        ({"only": [], "names": [f"t{i}" for i in range(500)]}, {}, r"lists 500 tools: name .* only: \[t0, t1, t2\]$"),
        ({}, {"only": ["ecko"]}, r"only: MCP server .* has no tool 'ecko' \(did you mean 'echo'\?\)$"),
        ({"only": ["echo"]}, {"only": ["x"]}, r"has no tool 'x'; it has \['echo'\]$"),
        ({"only": ["echo"], "names": ["twice"]}, {}, "lists the tool 'echo' twice$"),
        ({"names": ["a/b", "a:b"]}, {}, "the tools 'a/b' and 'a:b' would both be 'a_b'$"),
        ({"names": ["odd"], "schema": ODD}, {}, "what 'odd' takes is no JSON schema: 'strange' is not valid"),
        ({"endless": True}, {}, "its list of tools does not end after 100 pages"),
        ({"silent": True}, {"connect_timeout_s": 0.2}, "did not list its tools within 0.2 s$"),
        ({}, {"only": "echo"}, "only must be a list of names of tools, got 'echo'$"),
        ({}, {"only": []}, r"only must be a list of names of tools, got \[\]$"),
        ({}, {"prefix": "my tools "}, "prefix must be made of letters, .* got 'my tools '$"),
        ({}, {"timeout_s": 0}, "timeout_s must be > 0, got 0$"),
        ({}, {"max_in_flight": "many"}, "max_in_flight must be whole and > 0, got 'many'$"),
        ({}, {"max_attempts": 1.5}, "max_attempts must be whole and > 0, got 1.5$"),
        ({}, {"price_per_1000": float("nan")}, "price_per_1000 must be >= 0, got nan$"),
        (
            {},
            {"env": {"TIDE_KEI": None}},
            r"env: the environment variable TIDE_KEI is not set \(did you mean 'TIDE_KEY",
        ),
        ({}, {"headers_env": "TOKEN"}, "headers_env is for a server at a url"),
        ({}, {"url": "http://127.0.0.1:1/mcp"}, "needs either command or url$"),
    ],
    ids=str.split(
        "version exits no_tools 500_tools near_miss miss twice one_name schema endless silent "
        "only_a_text only_nothing prefix time-out number half price variable token two_places"
    ),
)
def test_a_server_that_cannot_be_used_is_refused_in_one_sentence(options, arguments, message, monkeypatch):
    monkeypatch.setenv("TIDE_KEY", "secret")
    with pytest.raises(ConfigError, match=message) as raised:
        wild(options, **arguments)
    assert "\n" not in str(raised.value) and "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "an MCP server needs either command or url"),
        ({"command": "no-such-program --stdio"}, "command: there is no program 'no-such-program' on this machine"),
        ({"command": "uvx 'mcp"}, 'command cannot be split into words: No closing quotation: "uvx \'mcp"'),
        ({"command": []}, "command must name a program, got []"),
        ({"url": "127.0.0.1:9000"}, "url must start with http:// or https://, got '127.0.0.1:9000'"),
        ({"url": "http://127.0.0.1:9000", "timeout_s": 900}, "timeout_s must be <= 300 for a server at a url, got 900"),
        ({"url": "http://127.0.0.1:9000", "env": {}}, "env is for a server that command starts; this one is at a url"),
    ],
    ids=["nothing", "no program", "quotes", "no words", "no url", "patience", "env at a url"],
)
def test_a_place_that_is_none_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(ConfigError) as raised:
        McpTools(**arguments)
    assert str(raised.value) == message


def test_a_program_that_is_none_is_named(tmp_path):
    program = tmp_path / "server"
    program.write_text("print('this line says no interpreter')")
    program.chmod(0o755)
    with pytest.raises(ConfigError, match=r"last words: it cannot be started: \[Errno 8\] Exec format error"):
        McpTools(command=[str(program)])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda: web.Response(status=401, text="who are you"), r"cannot be used: .* \(HTTP 401\)$"),
        (lambda: web.Response(status=404), r"cannot be used: Not Found \(HTTP 404\)$"),
        (lambda: web.Response(status=503), r"cannot be used: .* \(HTTP 503\)$"),
        (
            lambda: web.Response(text="<html>", content_type="text/html"),
            "cannot be used: Unexpected content type: text",
        ),
        (lambda: web.Response(text="{", content_type="application/json"), "cannot be used: Failed to parse JSON"),
    ],
    ids=["401", "404", "503", "a web page", "broken json"],
)
def test_what_is_no_mcp_server_at_a_url_is_named(reply, message):
    async def handler(request: web.Request) -> web.Response:
        return reply()

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/mcp", handler)
        async with serving(app) as url:
            with pytest.raises(ConfigError, match=f"^MCP server {url}/mcp {message}"):
                await asyncio.to_thread(McpTools, url=url + "/mcp", max_attempts=1)

    asyncio.run(run())


def test_nobody_at_a_url_is_named():
    with pytest.raises(ConfigError, match=r"^MCP server http://127\.0\.0\.1:1/mcp cannot be used: ConnectError: "):
        McpTools(url="http://127.0.0.1:1/mcp", max_attempts=2)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigError, match=r"an MCP server needs the extra mcp: pip install 'autocoa-plugin\[mcp\]'"):
        McpTools(command=TIDES)


# ------------------------------------------------------------------------------------------- what is asked and answered

PICTURE = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
LETTER = {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "dear"}}
FILE = {"type": "resource", "resource": {"uri": "file:///a.bin", "blob": "aGk="}}
LINK = {"type": "resource_link", "uri": "file:///b.txt", "name": "b"}
SOUND = {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}


def test_texts_are_joined_structures_are_json_and_what_is_no_text_is_named():
    text, others = {"type": "text", "text": "one"}, "[image omitted: image/png]\n[resource omitted: file:///a.bin]"
    with used(wild()) as tools:

        def spelled(*content: Any, **structured: Any) -> str:
            return ask(tools, "blocks", content=[*content], **structured)

        assert spelled(text, LETTER) == "one\ndear"
        assert spelled(PICTURE, FILE) == others
        assert spelled(SOUND, text, LINK) == "[audio omitted: audio/wav]\none\n[resource omitted: file:///b.txt]"
        assert spelled(structured={"höhe": 4}) == '{"höhe": 4}'
        assert spelled(text, structured={"höhe": 4}) == "one"
        assert spelled(PICTURE, structured={"höhe": 4}) == '{"höhe": 4}\n[image omitted: image/png]'


def test_an_answer_without_text_is_an_empty_result():
    with used(wild(price_per_1000=2.0)) as tools:
        for content in ([], [{"type": "text", "text": " \n"}]):
            observation = asyncio.run(tools.answer(action("blocks", content=content), context()))
            assert (observation.outcome, observation.text) == (Outcome.EMPTY, AUTOCOA.notices.empty_result)
            assert (observation.origin, observation.cost) == (Origin.REAL, 0.002)


def test_what_the_server_refuses_is_its_own_words():
    with used(wild()) as tools:
        assert failure(tools, "fail", "the tide is out") == "ToolResponseError: fail: the tide is out"
        assert failure(tools, "fail", " ") == "ToolResponseError: fail: the server says that it failed"
        assert failure(tools, "refuse").endswith(": refuse: there is no such method")
        assert failure(tools, "blocks", content=[{"type": "hologram"}]).startswith("ToolResponseError: ")
        assert ask(tools, "echo", "still here") == "still here"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (action("ecko", "x"), r"ToolError: MCP server .* offers no tool 'ecko' \(did you mean 'echo'\?\)"),
        (action("wait", "soon"), "ToolResponseError: wait takes a JSON object with n, got 'soon'"),
        (action("wait", "[1]"), "ToolResponseError: wait takes a JSON object with n, got "),
        (action("wait", '{"n": "1"}'), r"ToolResponseError: wait: \$\.n: '1' is not of type 'integer'"),
        (action("wait", n=-1), r"ToolResponseError: wait: \$\.n: -1 is less than the minimum of 0"),
        (action("wait", m=1), r"ToolResponseError: wait: \$: 'n' is a required property"),
        (
            action("wait", n=float("nan")),
            "ToolResponseError: wait: arguments that cannot be checked: ValueError: Out of",
        ),
        (action("wait", n=10**5000), "ToolResponseError: wait: arguments that cannot be checked: ValueError: Exceeds"),
        (action("wait", "[" * 100_000), "ToolResponseError: wait takes a JSON object with n, got "),
        (action("odd", x=1), "ToolResponseError: odd: arguments that cannot be checked: .*http://127.0.0.1:1/x"),
    ],
    ids=["name", "no json", "no object", "type", "value", "missing", "nan", "digits", "brackets", "reference"],
)
def test_arguments_that_do_not_fit_are_not_sent(call, error, wild_once):
    observation = asyncio.run(answer_safely(wild_once, call, context(), timeout_s=5.0))
    assert observation.outcome is Outcome.ERROR and observation.text == AUTOCOA.notices.tool_failed
    assert re.match(error, str(observation.error)) and "\n" not in str(observation.error)


@pytest.fixture
def wild_once() -> Iterator[McpTools]:
    with used(wild({"names": ["odd"], "schema": {"type": "object", "$ref": "http://127.0.0.1:1/x"}})) as tools:
        yield tools


def test_any_text_reaches_the_server_and_comes_back():
    with used(wild()) as tools:

        @given(st.text(alphabet=st.characters(exclude_categories=()), min_size=1))
        def check(text: str) -> None:
            expected = text.encode("utf-8", "replace").decode()  # what UTF-8 cannot spell is "?", as everywhere
            assert ask(tools, "echo", text) == (expected if expected.strip() else AUTOCOA.notices.empty_result)

        check()


def test_ten_megabytes_are_an_answer_and_more_than_the_limit_is_not():
    with used(wild()) as tools:
        assert len(ask(tools, "many", n=10_000_000)) == 10_000_000
    with used(wild(max_response_bytes=1000)) as tools:
        assert len(ask(tools, "many", n=1000)) == 1000
        assert failure(tools, "many", n=1001) == "ToolResponseError: many: answer larger than 1000 bytes"


@pytest.mark.parametrize(
    ("line", "noise"),
    [
        (
            '{"jsonrpc": "2.0", "id": 3, "result": {"content": [{"type": "text", "text": "\\ud800"}]}}',
            "unexpected end of hex",
        ),
        ("debug: here I am", "expected value at line 1"),
        ("\xff\xfe", "expected value at line 1"),
        ('{"jsonrpc": "2.0", "id": 77, "result": {}}', None),
    ],
    ids=["lone surrogate", "print", "no utf-8", "nobody's answer"],
)
def test_a_line_that_is_no_message_costs_its_call_the_time_limit_and_is_named(line, noise):
    with used(wild()) as tools, used(wild(timeout_s=HASTY_S)) as hasty:
        error = failure(hasty, "raw", line)
        assert error.startswith("ToolTimeoutError: ") and "no answer to raw within 0.2 s" in error
        assert ("; it wrote what is no message: " in error and noise in error) if noise else error.endswith("0.2 s")
        assert ask(tools, "echo", "still here") == "still here"


def test_what_a_server_prints_beside_its_messages_neither_disturbs_nor_floods(capfd, caplog):
    with used(wild({"noise": "[info] calling a tool", "stderr": 300_000})) as tools:
        pid = ask(tools, "pid")
        assert ask(tools, "pid") == pid
    assert capfd.readouterr() == ("", "") and caplog.text == ""


def test_a_server_sees_the_variables_that_are_named_and_no_others(monkeypatch):
    monkeypatch.setenv("TIDE_KEY", "open-sesame")
    monkeypatch.setenv("OTHER_KEY", "hidden")
    with used(wild(env={"TIDE_KEY": None, "TIDE_UNIT": "metre"})) as tools:
        assert [ask(tools, "variable", name) for name in ("TIDE_KEY", "TIDE_UNIT", "OTHER_KEY")] == [
            "open-sesame",
            "metre",
            "(not set)",
        ]
        assert "sesame" not in repr(tools._place) + str(tools.identity())


# -------------------------------------------------------------------------------------------- what hangs, dies, changes


def test_a_call_without_an_answer_costs_its_time_limit_and_no_other_call():
    with used(wild()) as tools, used(wild(timeout_s=HASTY_S)) as hasty:

        async def main() -> list[str]:
            pid = await answer(tools, "pid")
            hanging = asyncio.create_task(answer(hasty, "hang"))
            others = [await answer(tools, "echo", str(i)) for i in range(20)]
            with pytest.raises(ToolTimeoutError, match=r"no answer to hang within 0\.2 s$"):
                await hanging
            assert await answer(tools, "pid") == pid  # it lists its tools, so it is not given up
            return others

        assert asyncio.run(main()) == [str(i) for i in range(20)]


def test_a_server_that_answers_nothing_any_more_is_started_again():
    with used(wild(connect_timeout_s=1.0)) as tools, used(wild(connect_timeout_s=1.0, timeout_s=HASTY_S)) as hasty:
        pid = ask(tools, "pid")
        assert failure(hasty, "block").startswith("ToolTimeoutError: ")
        assert "connection lost, pid: " in failure(tools, "pid")  # it was asked before it was given up
        assert ask(tools, "pid") != pid
        assert eventually(lambda: not is_alive(int(pid)))


def test_a_server_that_does_not_even_read_costs_a_call_its_time_limit_and_a_second():
    # 200 kB fill the pipe, so that the call is written in part; the SDK would wait 5 s to write that it was given up
    with used(wild(timeout_s=HASTY_S)) as tools:
        ask(tools, "pid")

        async def main() -> float:
            blocked = asyncio.create_task(answer(tools, "block"))
            await asyncio.sleep(0.1)
            started = time.monotonic()
            with pytest.raises(ToolTimeoutError):
                await answer(tools, "echo", "x" * 200_000)
            waited_s = time.monotonic() - started
            with pytest.raises(ToolTimeoutError):
                await blocked
            return waited_s

        assert asyncio.run(main()) < 4.0


def test_at_most_max_in_flight_calls_are_at_a_server_and_the_wait_for_a_place_is_no_time_out(http):
    with used(McpTools(url=http.url, timeout_s=1.0, max_in_flight=2)) as tools:

        async def main() -> list[str]:
            # three times two of 0.4 s: the last ones are answered after 1.2 s
            return await asyncio.gather(*(answer(tools, "wait", n=400) for _ in range(6)))

        assert asyncio.run(main()) == ["waited"] * 6 and http.most_at_once == 2


def test_a_rollout_that_is_cancelled_leaves_the_server_to_the_others():
    with used(wild()) as tools:

        async def main() -> str:
            call = asyncio.create_task(answer(tools, "hang"))
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return await answer(tools, "echo", "here")

        assert asyncio.run(main()) == "here"


def test_a_server_that_dies_fails_the_calls_in_flight_with_its_last_words_and_comes_back():
    with used(wild()) as tools:

        async def main() -> None:
            hanging = asyncio.create_task(answer(tools, "hang"))
            dying = asyncio.create_task(answer(tools, "die"))
            for call, name in ((hanging, "hang"), (dying, "die")):
                with pytest.raises(ToolUnavailableError, match=f"lost, {name}: .*words: OutOfPortError: no port left$"):
                    await call
            assert await answer(tools, "echo", "back") == "back"

        asyncio.run(main())


def test_a_server_that_is_killed_between_two_calls_costs_no_call():
    with used(wild()) as tools:
        pid = int(ask(tools, "pid"))
        os.kill(pid, signal.SIGKILL)
        session = tools._connection._session
        assert session is not None and eventually(session.ended.is_set)
        assert int(ask(tools, "pid")) != pid


def test_a_server_that_cannot_be_started_again_is_not_started_by_every_call(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(WILD.read_text())
    with used(McpTools(command=[sys.executable, str(script)], max_attempts=1)) as tools:
        script.write_text("import sys; sys.exit('no disk')")
        assert "connection lost" in failure(tools, "die")
        errors = [failure(tools, "echo", str(i)) for i in range(50)]
        assert all(error.startswith("ToolUnavailableError: ") and "last words: no disk" in error for error in errors)
        assert sum("asked again in" in error for error in errors) >= 25  # a start takes 30 ms, the first pause 100
        script.write_text(WILD.read_text())
        assert eventually(lambda: not failure(tools, "echo", "back"))


@pytest.mark.parametrize("is_told", [True, False], ids=["told while it runs", "found when it is started again"])
def test_a_tool_whose_schema_changes_fails_its_calls_and_the_others_go_on(is_told, tmp_path):
    state = tmp_path / "state"
    state.write_text("port")
    with used(wild({"state": str(state)}, only=["echo", "changing"])) as tools:
        identity = tools.identity()
        assert ask(tools, "changing", "Dover") == "Dover"
        state.write_text("harbour")
        if is_told:
            ask(tools, "echo", "the next message that it reads makes it look")
        else:
            os.kill(next(iter(children())), signal.SIGKILL)
        changed = "changed its tools since the run began: 'changing' takes something else"
        assert eventually(lambda: changed in failure(tools, "changing", "Dover"))
        assert ask(tools, "echo", "here") == "here" and tools.identity() == identity
        state.write_text("gone")
        ask(tools, "echo", "again")
        assert eventually(lambda: "'changing' is gone" in failure(tools, "changing", "Dover"))
        state.write_text("port")
        ask(tools, "echo", "and back")
        assert eventually(lambda: not failure(tools, "changing", "Dover"))


def children() -> list[int]:
    tasks = Path(f"/proc/{os.getpid()}/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


# ----------------------------------------------------------------------------------- threads, event loops and processes


def test_two_event_loops_at_once_share_one_process_and_each_gets_its_own_answers():
    with used(wild()) as tools, used(wild()) as same:
        found: list[str] = []

        def run(tools: McpTools, name: str) -> None:
            async def main() -> None:
                found.append(await answer(tools, "pid"))
                texts = [f"{name}{i}" for i in range(50)]
                assert await asyncio.gather(*(answer(tools, "echo", text) for text in texts)) == texts
                found.append(name)

            asyncio.run(main())

        threads = [threading.Thread(target=run, args=(each, name)) for each, name in ((tools, "a"), (same, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 3 and {"a", "b"} < set(found)  # one process id


def test_it_is_built_inside_a_running_event_loop_and_closed_there():
    async def main() -> str:
        with used(wild()) as tools:
            return await answer(tools, "echo", "inside")

    assert asyncio.run(main()) == "inside"


def test_the_last_one_to_close_ends_the_process():
    first, second = wild(), wild()
    pid = int(ask(first, "pid"))
    first.close()
    first.close()  # twice is once
    assert is_alive(pid) and failure(first, "echo", "x") == f"ToolUnavailableError: {first._place} was closed"
    assert int(ask(second, "pid")) == pid
    second.close()
    assert not is_alive(pid)


def run_program(source: str) -> list[str]:
    """What a Python process prints that has `tools`, the wild server's; first of all the server's process id."""
    beginning = f"""
import asyncio, os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from autocoa_plugin.environments.mcp import McpTools
from autocoa_plugin.protocol import Action
def ask(tools, name):
    return asyncio.run(tools.answer(Action(name, "{{}}", 0, 1), None)).text
place = [sys.executable, "-I", "-S", {str(WILD)!r}]
tools, hasty = McpTools(command=place), McpTools(command=place, timeout_s=0.2)
print(ask(tools, "pid"), flush=True)
"""
    command = [sys.executable, "-c", beginning + source]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30).stdout.split()


def test_a_forked_child_starts_its_own_server_and_the_parents_goes_on():
    program = """
child = os.fork()
if child == 0:
    print(ask(tools, "pid"), flush=True)
    tools.close()
    os._exit(0)
os.waitpid(child, 0)
print(ask(tools, "pid"))
"""
    before, childs, after = run_program(program)
    assert before == after != childs
    assert not is_alive(int(before)) and not is_alive(int(childs))


@pytest.mark.parametrize(
    "source",
    ["", "try: ask(hasty, 'block')\nexcept TimeoutError: os.kill(os.getpid(), signal.SIGKILL)"],
    ids=["ends without closing", "killed while the server is busy"],
)
def test_no_server_outlives_the_process_that_started_it(source):
    (pid,) = run_program(source)
    assert eventually(lambda: not is_alive(int(pid)))


def test_a_server_that_does_not_want_to_end_is_killed():
    options = {"deaf_to_sigterm": True}
    with used(wild(options)) as tools, used(wild(options, timeout_s=HASTY_S)) as hasty:
        pid = int(ask(tools, "pid"))
        assert failure(hasty, "block")
    assert not is_alive(pid)


# --------------------------------------------------------------------------------------------------------- in a rollout

ECHO = Tool("echo", TagPair("<echo>", "</echo>"), TagPair("<echoed>", "</echoed>"))
DIE = Tool("die", TagPair("<die>", "</die>"), TagPair("<died>", "</died>"))
HANG = Tool("hang", TagPair("<hang>", "</hang>"), TagPair("<hung>", "</hung>"))
FAIL = Tool("fail", TagPair("<fail>", "</fail>"), TagPair("<failed>", "</failed>"))
PROTOCOL = replace(AUTOCOA, name="wild", tools=(ECHO, DIE, HANG, FAIL))
TURNS = [
    "<echo>one</echo>",
    "<die>{}</die>",
    "<echo>two</echo>",
    "<hang>{}</hang>",
    "<fail>no</fail>",
    "<echo> three </echo>",
    "</think> \\boxed{done}<eos>",
]


def roll_out(environment: Any, turns: list[str]) -> Any:
    codec = Codec(CharTokenizer(), PROTOCOL)
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    limits = Limits(max_response_tokens=4000, answer_reserve_tokens=100)
    return asyncio.run(
        rollout(codec.encode("q<think>"), engine=engine, environment=environment, codec=codec, limits=limits)
    )


def test_a_server_that_dies_hangs_and_fails_costs_no_trajectory_and_every_call_is_counted():
    most = wild(only=["echo", "die", "fail"], price_per_1000=1.0)
    with used(most), used(wild(only=["hang"], timeout_s=HASTY_S, price_per_1000=1.0)) as hasty:
        trajectory = roll_out(Toolbox({"wild": most, "hasty": hasty}), TURNS)
    assert trajectory.stop_reason is StopReason.ANSWERED
    outcomes = [(call.tool, call.outcome) for call in trajectory.calls()]
    assert outcomes == [
        ("echo", Outcome.OK),
        ("die", Outcome.ERROR),
        ("echo", Outcome.OK),
        ("hang", Outcome.TIMEOUT),
        ("fail", Outcome.ERROR),
        ("echo", Outcome.OK),
    ]
    counts, entry = trajectory.counts, entry_of(trajectory)
    assert (counts.actions, counts.real_calls, counts.tool_errors, counts.tool_timeouts) == (6, 6, 2, 1)
    assert (entry.real_calls, entry.tool_errors, entry.tool_timeouts) == (6, 2, 1)
    assert entry.cost == pytest.approx(0.003)  # the three that were answered
    assert "<echoed> three </echoed>" in trajectory.text()


def test_what_was_recorded_is_replayed_without_a_server(tmp_path):
    header, turns = Header("wild", "mcp", 1, "wild"), [TURNS[0], TURNS[4], TURNS[-1]]
    with used(wild()) as tools:
        recording = CassetteEnvironment(Tape.record(tmp_path / "tape", header), mode="record", tool=tools)
        recorded = roll_out(recording, turns)
        recording.close()
    replaying = CassetteEnvironment(Tape.play(tmp_path / "tape"), mode="replay")
    replayed = roll_out(replaying, turns)
    replaying.close()
    assert replayed.response_ids == recorded.response_ids
    assert (recorded.counts.real_calls, recorded.counts.tool_errors) == (2, 1)
    assert (replayed.counts.replayed_calls, replayed.counts.replay_misses) == (2, 1)  # a failure is not on the tape


def test_a_recipe_with_a_server_is_replayed_without_it(tmp_path):
    turns = ["<think>a <begin_echo> one </end_echo>", " </think> \\boxed{done}<eos>"]

    def play(mode: str, command: list[str], only: list[str]) -> Any:
        entry = {"use": "mcp", "arguments": {"command": command, "only": only}}
        recipe = {"tools": [{"wild": entry}], "cassette": {"path": str(tmp_path / "tape"), "mode": mode}}
        settings = from_mapping(Settings, recipe, where="autocoa")
        environment = build_environment(settings)
        codec = Codec(CharTokenizer(), protocol_of(settings, environment))
        engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
        try:
            return asyncio.run(rollout(codec.encode("q"), engine=engine, environment=environment, codec=codec))
        finally:
            environment.close()

    recorded = play("record", [sys.executable, "-I", "-S", str(WILD), "{}"], ["echo"])
    replayed = play("replay", ["/no/such/server"], ["echo"])
    assert replayed.response_ids == recorded.response_ids
    assert (recorded.counts.real_calls, replayed.counts.replayed_calls, replayed.counts.replay_misses) == (1, 1, 0)
    (tmp_path / "tape").unlink()
    with Tape.record(tmp_path / "tape", Header("autocoa", "tools", 0, "")):
        pass
    with pytest.raises(ConfigError, match="does not say which tools 'wild' offers: start the server and record it"):
        play("replay", ["/no/such/server"], ["echo"])
