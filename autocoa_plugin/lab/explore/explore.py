"""Write the explorer page of trajectories: one self-contained HTML file; what cannot be done is refused beforehand.

The file is the page's template with its styles and scripts, and the data in blocks that cannot run:

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
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any

from ...answering import SearchSettings
from ...errors import ConfigError, DataError, nearest
from ...retrieval.base import encodable
from ...runs.files import replacing
from .entry import Entry
from .page_rows import give_advantages, index_of, record_of, text_of
from .read import Choice, Reader
from .read_foreign import readable_protocol
from .real_answers import compare_with_real
from .sources import Source, find_source, run_names


@dataclass(frozen=True)
class ExploreJob:
    """Job of `autocoa explore`: which trajectories go into which file.

    `runs` are what `sources` describes. `tokenizer` is a folder or a name (None: what a run is known to have),
    `protocol` how bare text is spelled (None: by the tags that occur). `limit` bounds the trajectories of all runs
    together. `search` is asked each imagined query. `title` None: the runs' names.
    """

    runs: tuple[Path, ...]
    output: Path
    tokenizer: str | None = None
    protocol: str | None = None
    split: str | None = None
    step: int | None = None
    limit: int | None = None
    search: SearchSettings | None = None
    has_tokens: bool = True
    title: str | None = None

    def check(self) -> None:
        """Refuse what cannot be done, before a file is read: raises `ConfigError` or `DataError`."""
        if not self.runs:
            raise ConfigError("explore needs a RUN: results, a folder of trajectory dumps, or a file")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be >= 1, got {self.limit}")
        if self.protocol is not None:
            readable_protocol(self.protocol)
        if self.output.is_dir():
            raise ConfigError(f"-o must name a file, {self.output} is a folder: {self.output / 'explorer.html'}?")


@dataclass(frozen=True)
class Written:
    """Written page: the file, how many trajectories, its size in bytes, and what was left out or is missing."""

    path: Path
    trajectories: int
    size: int
    notes: tuple[str, ...]


def write_explorer(job: ExploreJob, *, report: Callable[[str], object] = lambda _: None) -> Written:
    """Read the runs, compare, write the file; `report` is called with each step. Raises the errors of ours."""
    job.check()
    sources = [find_source(path) for path in job.runs]
    notes: list[str] = []
    choice = Choice(job.split, job.step, job.limit)
    entries = _read(job, sources, choice, notes, report)
    if not entries:
        raise DataError("; ".join([_nothing(job, choice), *notes]))
    give_advantages(entries)
    report("asking the real tool" if job.search else "comparing")
    compare_with_real(entries, job.search, notes.append)
    report(f"writing {len(entries):,} trajectories")
    kinds = {source.kind for source in sources}
    index = index_of(
        entries,
        title=job.title or ", ".join(_title(path) for path in job.runs),
        kind=kinds.pop() if len(kinds) == 1 else "mixed",
        files=[str(path) for path in job.runs],
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        notes=list(dict.fromkeys(notes)),
    )
    size = write_page(job.output, index, map(record_of, entries), [text_of(each) for each in entries])
    return Written(job.output, len(entries), size, tuple(index["notes"]))


def _read(
    job: ExploreJob, sources: Sequence[Source], choice: Choice, notes: list[str], report: Callable[[str], object]
) -> list[Entry]:
    reader = Reader(
        choice,
        protocol=readable_protocol(job.protocol) if job.protocol else None,
        tokenizer=job.tokenizer,
        has_tokens=job.has_tokens,
        report=notes.append,
    )
    for run, source in zip(run_names(job.runs), sources, strict=True):
        report(f"reading {source.path}")
        reader.read(source, run)
    reader.report_missed_tokens()
    return reader.entries


def _nothing(job: ExploreJob, choice: Choice) -> str:
    """Say why there is no trajectory."""
    where = ", ".join(map(str, job.runs))
    for name, wanted, seen in (("split", job.split, choice.splits), ("step", job.step, choice.steps)):
        if wanted is not None and wanted not in seen:
            hint = nearest(str(wanted), map(str, seen))
            return f"{where}: no {name} {wanted!r}{hint}; there is {sorted(seen) or 'none'}"
    chosen = f" of split {job.split!r} at step {job.step}" if job.split is not None and job.step is not None else ""
    return f"{where}: no trajectory{chosen}"


def _title(path: Path) -> str:
    nameless = ("checkpoints", "trajectories")
    parts = [part for part in path.absolute().parts if part not in nameless]
    return parts[-1]


# ------------------------------------------------------------------------------------------------------------ the file


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
    """Text of the page before the data and after it."""
    page = resources.files("autocoa_plugin.lab.explore") / "page"
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
    """Hash of the page's one script for its policy (CSP); no other runs, an `onerror` in an element neither."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _write_packed(file: IO[Any], name: str, value: Any) -> None:
    file.write(f'<script type="application/octet-stream" id="{name}">{packed(value)}</script>\n')


def _joined(page: Any, suffix: str) -> str:
    """Every file of a kind, in the order of the names."""
    files = sorted((each for each in page.iterdir() if each.name.endswith(suffix)), key=lambda each: each.name)
    return "\n".join(each.read_text(encoding="utf-8") for each in files)
