"""A chat server that plays scripts, as OpenAI, vLLM or a server that ignores stop strings would, and checks its input.

By hand, as in docs/chat-apis.md: python tests/chat_server.py 8080 capitals
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Messages = Sequence[Mapping[str, str]]
Play = Callable[[Messages], str]
"""From the messages to all that the model would write if nothing stopped it."""
CHARACTERS = 4  # per token of this server


class ChatServer:
    """Serves the model "teller"; `asked` are the bodies of all requests, `mistakes` what was wrong with messages.

    `stops` "left_out": a stop string ends the reply and is not part of it; "told": so it is, and the server says which
    one it was; "ignored": it has no effect. `has_prefill`: a last message of the assistant's is continued.
    """

    def __init__(self, play: Play, *, stops: str = "left_out", has_prefill: bool = False, port: int = 0) -> None:
        self.asked: list[dict[str, Any]] = []
        self.mistakes: list[str] = []
        self.model = "teller"
        self.answer: tuple[int, Any] | None = None  # given to every request in place of a completion
        self.completes = False  # whether it has the older endpoint, too
        self._play, self._stops, self._has_prefill = play, stops, has_prefill
        self.http = _Quiet(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        """One chat completion."""
        self.asked.append(body)
        if self.answer is not None:
            return self.answer
        if body["model"] != self.model:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist"}}
        if mistake := self._mistake(body):
            self.mistakes.append(mistake)
            return 400, {"error": mistake}
        text, reason, told = self._play(body["messages"]), "stop", None
        stops = body.get("stop", []) if self._stops != "ignored" else []
        if found := [(text.find(each), each) for each in stops if each in text]:
            end, told = min(found)
            text = text[:end]
        most = CHARACTERS * body["max_tokens"]
        if len(text) > most:
            text, reason, told = text[:most], "length", None
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
        if self._stops == "told":
            choice["stop_reason"] = told
        prompt = sum(len(each["content"]) for each in body["messages"])
        usage = {"prompt_tokens": prompt // CHARACTERS, "completion_tokens": len(text) // CHARACTERS + 1}
        return 200, {"choices": [choice], "usage": usage}

    def _mistake(self, body: Mapping[str, Any]) -> str | None:
        roles = [each["role"] for each in body["messages"] if each["role"] != "system"]
        wanted = [("user", "assistant")[number % 2] for number in range(len(roles))]
        if roles != wanted:
            return f"roles must take turns, got {roles}"
        if roles[-1] == "assistant" and not self._has_prefill:
            return "the last message must be the user's"
        if any(each["content"] != each["content"].rstrip() or not each["content"] for each in body["messages"]):
            return "a message is empty or ends in white space"
        return "at most 4 stop strings" if len(body.get("stop", [])) > 4 else None


@contextmanager
def serving_chat(play: Play, **dialect: Any) -> Iterator[ChatServer]:
    """Serve scripts on a free port."""
    server = ChatServer(play, **dialect)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def turns_of(turns: Sequence[str], forced: str = "") -> Play:
    """Play turns: as many were played as the user has answered; `forced` is said where a message is to be gone on with.

    A script plays one question, the last of the messages that is none of the loop's.
    """

    def play(messages: Messages) -> str:
        said = [each["content"] for each in messages if each["role"] != "system"]
        if len(said) % 2 == 0 or said[-1].startswith("Your last message is not finished"):
            return forced
        return turns[len(said) // 2]

    return play


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a client that has heard enough hangs up


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": server.model}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_chat = self.path == "/v1/chat/completions" or (server.completes and self.path == "/v1/completions")
            self.reply(*(server.complete(body) if is_chat else (404, {"error": f"there is no {self.path}"})))

        def reply(self, status: int, body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


# ------------------------------------------------------------------------------ a teller of places, for whole commands


CITIES = {"Arden": "Mirto", "Belvo": "Quint", "Corva": "Lysse", "Dorne": "Aster"}
PASSAGES = [
    {"id": land, "title": land, "text": f"{land} is a country of the north . Its capital is {city} ."}
    for land, city in CITIES.items()
]
QUESTIONS = [
    {"id": f"q{number}", "question": f"What is the capital of {land}?", "answers": [city]}
    for number, (land, city) in enumerate(CITIES.items())
]


def tell_capitals(messages: Messages) -> str:
    """Search where the prompt says how, and say what was found; of Corva and Dorne it believes to know, of one always.

    What it is asked to go on with it begins anew from the last tag, as chat models do.
    """
    said = [each["content"] for each in messages if each["role"] != "system"]
    land = re.findall(r"What is the capital of (\w+)", " ".join(said))[-1]
    found = re.search(r"Its capital is (\w+)", said[-1])
    may_search = "<begin_search>" in messages[0]["content"]
    if said[-1].startswith("Your last message is not finished"):
        is_action = said[-2].endswith("<begin_search>")
        return f"<begin_search> capital of {land} </end_search>" if is_action else f"\\boxed{{{CITIES[land]}}}"
    if found:
        return f"The result says that it is {found[1]} .\n</think>\n\n\\boxed{{{found[1]}}}"
    if may_search and land != "Dorne":
        return f"<think>\nI do not know {land} . <begin_search> capital of {land} </end_search>"
    guess = "Paris" if land in ("Corva", "Dorne") else CITIES[land]
    return f"<think>\nI remember {land} . Its largest city is {guess} .\n</think>\n\n\\boxed{{{guess}}}"


def write_files(folder: Path) -> None:
    """Write passages.jsonl and questions.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("passages", PASSAGES), ("questions", QUESTIONS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    write_files(Path(sys.argv[2]))
    ChatServer(tell_capitals, port=int(sys.argv[1])).http.serve_forever()
