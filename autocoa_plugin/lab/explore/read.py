"""Read the trajectories of runs for the explorer: files in order, rows chosen by split and step, each by its kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...engines.text_tokenizer import TEXT_V1
from ...errors import ConfigError, DataError, TokenizerError
from ...protocol import Protocol
from .entry import Entry, Report, Row, object_of, rows_of
from .read_foreign import entry_of_file, entry_of_text, entry_of_verl, judge_by_score
from .read_rollouts import entry_of_rollout
from .sources import Source, SourceFile
from .tokens import TokenSpeller, load_speller


@dataclass
class Choice:
    """Choice of rows by split and step; None: all. `splits` and `steps` are those that were seen, taken or not."""

    split: str | None = None
    step: int | None = None
    limit: int | None = None
    splits: set[str] = field(default_factory=set)
    steps: set[int] = field(default_factory=set)

    def takes(self, split: str | None, step: int | None) -> bool:
        """True when rows of this split and step are asked for; remembers both."""
        self._remember(split, step)
        return (self.split is None or split == self.split) and (self.step is None or step == self.step)

    def may_hold(self, file: SourceFile) -> bool:
        """True when a file's name does not rule out that it holds such rows; remembers what it says."""
        self._remember(file.split, file.step)
        is_split = None in (self.split, file.split) or file.split == self.split
        return is_split and (None in (self.step, file.step) or file.step == self.step)

    def _remember(self, split: str | None, step: int | None) -> None:
        self.splits |= set() if split is None else {split}
        self.steps |= set() if step is None else {step}


class Reader:
    """Reads runs one after the other into `entries`; `report` is called with what was dropped or cannot be shown.

    `protocol` None: bare text is split at the tags that occur in it. `tokenizer` None: what each run is known to have.
    """

    def __init__(
        self,
        choice: Choice,
        *,
        protocol: Protocol | None = None,
        tokenizer: str | None = None,
        has_tokens: bool = True,
        report: Report,
    ) -> None:
        self.choice, self.protocol, self.report = choice, protocol, report
        self.entries: list[Entry] = []
        self._tokenizer, self._has_tokens = tokenizer, has_tokens
        self._spellers: dict[str, TokenSpeller | None] = {}

    def read(self, source: Source, run: str) -> None:
        """Read one run under a name.

        Raises `DataError` naming file and line of a broken row, `ConfigError` for a tokenizer that cannot be loaded.
        """
        if source.note:
            self.report(source.note)
        speller = self._speller(source) if source.kind in ("results", "dump") else None
        start = len(self.entries)
        for file in filter(self.choice.may_hold, source.files):
            for place, row in self._rows(file):
                if self.choice.limit is not None and len(self.entries) >= self.choice.limit:
                    break
                self._take(row, place, source, file, speller)
        for entry in self.entries[start:]:
            entry.run = run
        if source.kind == "verl":
            judge_by_score(self.entries[start:])

    def report_missed_tokens(self) -> None:
        """Report how many segments have no tokens, and why."""
        for name, speller in self._spellers.items():
            if speller and speller.missed:
                self.report(
                    f"the tokens of {speller.missed:,} of {speller.segments:,} segments are not shown: tokenizer "
                    f"{name} does not spell their text (another tokenizer's ids, or words it does not know)"
                )

    def _take(self, row: Row | str, place: str, source: Source, file: SourceFile, speller: TokenSpeller | None) -> None:
        own = {} if isinstance(row, str) else row
        split = own.get("split") if file.split is None else file.split
        step = own.get("step") if file.step is None and source.kind != "results" else file.step
        step = step if isinstance(step, int) else None
        if not self.choice.takes(split if isinstance(split, str) else None, step):
            return
        try:
            entry = self._entry(row, place, source.kind, speller)
        except RecursionError as error:
            raise DataError(f"{place}: its lists are nested too deeply") from error
        entry.step = step
        self.entries.append(entry)

    def _entry(self, row: Row | str, place: str, kind: str, speller: TokenSpeller | None) -> Entry:
        if isinstance(row, str):
            return entry_of_file(row, place, self.protocol)
        if kind == "verl":
            return entry_of_verl(row, place, self.protocol)
        return entry_of_text(row, place, self.protocol) if kind == "text" else entry_of_rollout(row, place, speller)

    def _rows(self, file: SourceFile) -> Iterable[tuple[str, Row | str]]:
        """Read what a file holds, with its place: rows, or the text of a text file."""
        if file.path.suffix == ".jsonl":
            return rows_of(file.path, self.report)
        if file.path.suffix == ".json":
            return _listed(file.path)
        text = file.path.read_text(encoding="utf-8", errors="replace")
        return [(file.path.name, text)] if text.strip() else []

    def _speller(self, source: Source) -> TokenSpeller | None:
        """The speller of a run, None with a note where there is none; a tokenizer that was asked for must load."""
        name = self._tokenizer or source.tokenizer
        if not self._has_tokens:
            return None
        if name is None:
            self.report("no token view: give --tokenizer FOLDER, the folder of the model that sampled this")
            return None
        if name not in self._spellers:
            self._spellers[name] = load_speller(name) if self._tokenizer else self._known_speller(Path(name))
        return self._spellers[name]

    def _known_speller(self, folder: Path) -> TokenSpeller | None:
        """The speller of a run's own model, which may be gone; a name is not looked up, that might take a network."""
        try:
            if folder.is_dir() or str(folder) == TEXT_V1:
                return load_speller(folder)
            reason = "is no folder"
        except (ConfigError, TokenizerError) as error:
            reason = f"cannot be loaded: {error}"
        self.report(f"no token view: the run's tokenizer {folder} {reason}; give one with --tokenizer FOLDER")
        return None


def _listed(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a JSON file: a list of them, or one."""
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}; was it written completely?") from error
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        place = f"{path}: row {number}"
        yield place, object_of(row, place)
