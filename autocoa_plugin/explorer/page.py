"""One self-contained file: the page's template with its styles and scripts, and the data in blocks that cannot run.

    <script type="application/json" id="index">          plain JSON, every "<" as \\u003c
    <script type="application/octet-stream" id="r0">     gzip and base64, unpacked when it is shown; one per trajectory
    <script type="application/octet-stream" id="texts">  the same, unpacked at the first search

All of it is ASCII, so that no text from a document can end a block, open a comment, or be read in another encoding.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import IO, Any

from ..atomic import replacing
from ..retrieval.base import encodable

_GZIP_LEVEL = 6
_PLACEHOLDERS = ("{{script_hash}}", "{{title}}", "/*{{css}}*/", "/*{{js}}*/", "<!--{{data}}-->")


def write_page(path: Path, index: Mapping[str, Any], records: Iterable[Mapping[str, Any]], texts: Sequence[str]) -> int:
    """Write the file, whole or not at all; returns its size in bytes. `records` are taken one by one."""
    head, tail = page_frame(str(index["title"]))
    with replacing(path) as file:
        file.write(head)
        file.write(f'<script type="application/json" id="index">{json_text(index)}</script>\n')
        for number, record in enumerate(records):
            _write_packed(file, f"r{number}", record)
        _write_packed(file, "texts", texts)
        file.write(tail)
    return path.stat().st_size


def page_frame(title: str) -> tuple[str, str]:
    """What stands before the data and after it."""
    page = resources.files("autocoa_plugin.explorer") / "page"
    rest = (page / "explorer.html").read_text(encoding="utf-8")
    script = _joined(page, ".js")
    contents = (_script_hash(script), html.escape(encodable(title)), _joined(page, ".css"), script, None)
    before: list[str] = []
    # cut at each placeholder in turn: what was put in is never searched for the next one
    for placeholder, content in zip(_PLACEHOLDERS, contents, strict=True):
        part, _, rest = rest.partition(placeholder)
        before += [part, content or ""]
    return "".join(before), rest


def json_text(value: Any) -> str:
    """JSON in ASCII without "<": lone surrogates and U+2028 are escaped as well."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def packed(value: Any) -> str:
    """JSON as gzip and base64; the same value gives the same text."""
    return base64.b64encode(gzip.compress(json_text(value).encode("ascii"), _GZIP_LEVEL, mtime=0)).decode("ascii")


def _script_hash(script: str) -> str:
    """What the page's policy calls its one script by; no other runs, an `onerror` in an element neither."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _write_packed(file: IO[Any], name: str, value: Any) -> None:
    file.write(f'<script type="application/octet-stream" id="{name}">{packed(value)}</script>\n')


def _joined(page: Any, suffix: str) -> str:
    """Every file of a kind, in the order of the names."""
    files = sorted((each for each in page.iterdir() if each.name.endswith(suffix)), key=lambda each: each.name)
    return "\n".join(each.read_text(encoding="utf-8") for each in files)
