"""Rows and files that several tests of the explorer need, and the data of a written page read back."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from autocoa_plugin.trajectory import Call, Counts, Origin, Outcome, Role, Segment, Source, StopReason, Trajectory


def ids_of(text: str) -> tuple[int, ...]:
    """The ids of `testing.CharTokenizer`: code points."""
    return tuple(map(ord, text))


def said(role: Role, text: str, source: Source = Source.POLICY, call: Call | None = None) -> Segment:
    """A segment; what the policy wrote has a log-probability of -0.5 per token."""
    logprobs = (-0.5,) * len(text) if source is Source.POLICY else None
    return Segment(role, source, ids_of(text), text, logprobs, call)


def answered(origin: str, query: str = "q", outcome: str = "ok") -> Call:
    return Call("search", query, Outcome(outcome), Origin(origin), 0.25)


def searched(query: str, body: str, origin: str = "real") -> tuple[Segment, ...]:
    """Thought, action, observation, answer in the protocol autocoa."""
    source = Source.POLICY if origin == "world_model" else Source.ENVIRONMENT
    return (
        said(Role.THOUGHT, "<think> "),
        said(Role.ACTION, f"<begin_search> {query} </end_search>"),
        said(Role.OBSERVATION, f"<search_result> {body} </search_result>", source, answered(origin, query)),
        said(Role.ANSWER, "</think> \\boxed{Bombay}"),
    )


def rollout_row(*segments: Segment, uid: str = "u", reward: float = 1.0, **changed: Any) -> dict[str, Any]:
    """A row as training dumps it; `changed` are fields of the row."""
    trajectory = Trajectory(ids_of("Q?"), segments, StopReason.ANSWERED, "autocoa", Counts(actions=1))
    row = {
        "step": 3,
        "split": "train",
        "uid": uid,
        "answer": "Bombay",
        "reward": reward,
        "reward_parts": {"exact_match": reward, "format": 1.0},
        "format_errors": [],
        "info": {"question": "Where?", "golds": ["Bombay", "Mumbai"], "data_source": "2hop"},
        "trajectory": trajectory.to_dict(),
    }
    return json.loads(json.dumps({**row, **changed}))


def counts_of(**counts: int) -> dict[str, Any]:
    return asdict(Counts(**counts))


def write_rows(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Blocks(HTMLParser):
    """The blocks of a page by id, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: dict[str, str] = {}
        self.scripts = 0  # of any kind
        self.title = ""
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self._inside = str(dict(attrs).get("id") or tag) if tag in ("script", "title") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def json(self, name: str) -> Any:
        """The content of a block, unpacked where it is packed."""
        text = self.texts[name]
        return json.loads(text if name == "index" else gzip.decompress(base64.b64decode(text)))


def read_page(path: Path) -> Blocks:
    return Blocks(path.read_text(encoding="utf-8"))
