"""An MCP server over stdio, written by hand so that it can misbehave: what no SDK lets a server do.

    python mcp_wild_server.py '{"version": "1999-01-01"}'

It speaks the handshake of 2025-06-18 and starts in milliseconds. The options are the defaults below; `state` is a file
that changes what it offers while it runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

OPTIONS = {
    "version": "2025-06-18",
    "last_words": "",  # written to stderr before it exits at once
    "names": [],  # of tools beside the usual ones
    "only": None,  # of the usual ones
    "state": "",  # a file whose text is the description's and the schema's of the tool `changing`; gone with "gone"
    "silent": False,  # answers nothing at all
    "endless": False,  # its list of tools has always one more page
    "schema": {"type": "object"},  # of the additional tools
    "noise": "",  # printed to stdout before every answer
    "stderr": 0,  # characters written to stderr before every answer
    "deaf_to_sigterm": False,
} | json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}")

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}, "required": ["n"]}
USUAL = {
    "echo": TEXT,
    "pid": {"type": "object"},
    "die": {"type": "object"},
    "hang": {"type": "object"},  # no answer, and goes on
    "block": {"type": "object"},  # no answer to anything from then on
    "wait": NUMBER,  # milliseconds
    "many": NUMBER,  # characters
    "raw": TEXT,  # the text is written as it is, as bytes of Latin-1, instead of an answer
    "fail": TEXT,
    "blocks": {"type": "object", "properties": {"content": {}, "structured": {}}, "required": ["content"]},
    "refuse": {"type": "object"},  # an error of the protocol, not of the tool
    "variable": TEXT,
}
BYTES_OUT = sys.stdout.buffer


def send(message: dict) -> None:
    if OPTIONS["noise"]:
        BYTES_OUT.write(OPTIONS["noise"].encode() + b"\n")
    sys.stderr.write("x" * OPTIONS["stderr"])
    BYTES_OUT.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    BYTES_OUT.flush()


def tools() -> list[dict]:
    usual = USUAL if OPTIONS["only"] is None else {name: USUAL[name] for name in OPTIONS["only"]}
    found = {**usual, **dict.fromkeys(OPTIONS["names"], OPTIONS["schema"])}
    listed = [{"name": name, "description": f"The tool {name}.", "inputSchema": found[name]} for name in found]
    state = Path(OPTIONS["state"]).read_text() if OPTIONS["state"] else "gone"
    if state != "gone":
        schema = {"type": "object", "properties": {state: {"type": "string"}}, "required": [state]}
        listed.append({"name": "changing", "description": "Changes.", "inputSchema": schema})
    return listed + listed[:1] * OPTIONS["names"].count("twice")


def call(name: str, arguments: dict) -> dict | None:
    """The result of a call; None when there is none."""
    text = ""
    match name:
        case "echo" | "changing":
            text = next(iter(arguments.values()))
        case "pid":
            text = str(os.getpid())
        case "die":
            sys.stderr.write("Traceback ...\nOutOfPortError: no port left\n  ---\n")
            sys.stderr.flush()
            os._exit(3)
        case "hang":
            return None
        case "block":
            time.sleep(600)
        case "wait":
            time.sleep(arguments["n"] / 1000)
        case "many":
            text = "m" * arguments["n"]
        case "raw":
            BYTES_OUT.write(arguments["text"].encode("latin-1") + b"\n")
            BYTES_OUT.flush()
            return None
        case "fail":
            return {"content": [{"type": "text", "text": arguments["text"]}], "isError": True}
        case "blocks":
            structured = {"structuredContent": arguments["structured"]} if "structured" in arguments else {}
            return {"content": arguments["content"], **structured}
        case "variable":
            text = os.environ.get(arguments["text"], "(not set)")
    return {"content": [{"type": "text", "text": text}]}


def answer(message: dict) -> None:
    result = None
    match message["method"]:
        case "initialize":
            capabilities = {"tools": {"listChanged": True}}
            info = {"name": "wild", "version": "0.1"}
            result = {"protocolVersion": OPTIONS["version"], "capabilities": capabilities, "serverInfo": info}
        case "tools/list":
            result = {"tools": tools(), **({"nextCursor": "more"} if OPTIONS["endless"] else {})}
        case "tools/call" if message["params"]["name"] != "refuse":
            result = call(message["params"]["name"], message["params"].get("arguments", {}))
            if result is None:
                return
        case _:
            send({"id": message["id"], "error": {"code": -32601, "message": "there is no such method"}})
            return
    send({"id": message["id"], "result": result})


def main() -> None:
    if OPTIONS["last_words"]:
        sys.exit(OPTIONS["last_words"])
    if OPTIONS["deaf_to_sigterm"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    before = tools()
    for line in sys.stdin:
        message = json.loads(line)
        if tools() != before:
            before = tools()
            send({"method": "notifications/tools/list_changed"})
        if "id" in message and not OPTIONS["silent"]:
            answer(message)


main()
