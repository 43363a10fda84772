"""Training rows of a supervised stage: records are read, mixed, played, fitted; every row left out is counted.

files ──> records ──mix──> trajectories ──fit──> TokenRow | PairRows        Report: what happened to how many
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import DataError
from ..prompts import prompt_ids
from ..protocol import get_protocol
from ..tokenization import Codec
from ..trajectory import Trajectory
from .play import pair_to_trajectories, text_ids, to_trajectory
from .record_files import read_records
from .records import CoaRecord, CotRecord, PairRecord, Record, TextRecord
from .rows import TokenRow, continuation_row, fit, observation_weight, take_mix, text_row, token_row
from .settings import SftSettings

Progress = Callable[[Iterable[Record]], Iterable[Record]]


@dataclass
class Report:
    """Counts of a corpus: rows taken by kind, rows left out by reason, and tokens.

    `trained_tokens` are those with a loss weight above 0. `acts` counts pairs by the side that acts.
    """

    rows: Counter[str] = field(default_factory=Counter)
    left_out_by_mix: Counter[str] = field(default_factory=Counter)
    dropped_overlong: int = 0
    cut_overlong: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    acts: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        # not dataclasses.asdict: it makes a Counter of a Counter's items
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    def __str__(self) -> str:
        parts = [f"{sum(self.rows.values()):,} rows ({_counted(self.rows)})"]
        if self.acts:
            parts.append(f"pairs in which the acting side is {_counted(self.acts)}")
        if self.left_out_by_mix:
            parts.append(f"left out by the mix {_counted(self.left_out_by_mix)}")
        if self.dropped_overlong or self.cut_overlong:
            parts.append(f"too long: {self.dropped_overlong} dropped, {self.cut_overlong} cut")
        return "; ".join([*parts, f"{self.tokens:,} tokens, {self.trained_tokens:,} with loss"])


@dataclass(frozen=True)
class PairRows:
    """Training rows of a pair's two sides; only tokens after the shared prefix have weights."""

    chosen: TokenRow
    rejected: TokenRow


class Corpus:
    """Turns records into rows for one tokenizer and one set of settings.

    `template_options` go to the chat template, as verl's data.apply_chat_template_kwargs do in RL.
    """

    def __init__(
        self, tokenizer: Any, settings: SftSettings, *, max_length: int, template_options: dict[str, Any] | None = None
    ) -> None:
        self.tokenizer, self.settings, self.max_length = tokenizer, settings, max_length
        self.codec = Codec(tokenizer, get_protocol(settings.protocol))
        self.report = Report()
        self._weight = observation_weight(settings.observation_loss)
        self._template_options = template_options or {}

    def rows(self, files: Sequence[str], *, progress: Progress = iter, limit: int = -1) -> list[TokenRow]:
        """Read CoT, CoA and text records; raises `DataError` for a pair, or when no row is left."""
        rows = [self._row(record) for record in progress(self._mixed(list(read_records(files)), limit))]
        return self._kept(rows, files)

    def pairs(self, files: Sequence[str], *, progress: Progress = iter, limit: int = -1) -> list[PairRows]:
        """Read pair records; raises `DataError` for any other kind, or when no pair is left.

        A pair is never cut: a side without its end would be compared by another length.
        """
        records = list(read_records(files))
        pairs = [self._pair(record) for record in progress(records[:limit] if limit > 0 else records)]
        return self._kept(pairs, files)

    def _mixed(self, records: list[Record], limit: int) -> list[Record]:
        kinds = [record.kind for record in records]
        kept = take_mix(kinds, self.settings.mix or {}, self.settings.seed)
        taken = [records[index] for index in kept]
        self.report.left_out_by_mix += Counter(kinds) - Counter(record.kind for record in taken)
        return taken[:limit] if limit > 0 else taken

    def _row(self, record: Record) -> TokenRow | None:
        if isinstance(record, TextRecord):
            return self._fitted_text(record)
        if not isinstance(record, CotRecord | CoaRecord):
            raise DataError(f"row {record.id!r} has kind {record.kind!r}; this stage reads cot, coa and text")
        whole = to_trajectory(record, self.codec, self._prompt(record))
        fitted = self._fit(whole, record.id)
        return None if fitted is None else token_row(fitted, self._weight, id=record.id, kind=record.kind)

    def _fitted_text(self, record: TextRecord) -> TokenRow | None:
        ids = text_ids(record, self.codec)
        if len(ids) > self.max_length:
            if self.settings.overlong == "refuse":
                raise DataError(f"row {record.id!r} has {len(ids)} tokens, more than data.max_length={self.max_length}")
            self.report.dropped_overlong += self.settings.overlong == "drop"
            self.report.cut_overlong += self.settings.overlong == "cut"
            return text_row(ids[: self.max_length], id=record.id) if self.settings.overlong == "cut" else None
        return text_row(ids, id=record.id)

    def _pair(self, record: Record) -> PairRows | None:
        if not isinstance(record, PairRecord):
            raise DataError(f"row {record.id!r} has kind {record.kind!r}; the contrastive stage reads kind 'pair'")
        played = pair_to_trajectories(record, self.codec, self._prompt(record))
        rule = "refuse" if self.settings.overlong == "refuse" else "drop"
        sides = [fit(each, self.max_length, rule, id=record.id) for each in (played.chosen, played.rejected)]
        if None in sides:
            self.report.dropped_overlong += 1
            return None
        self.report.acts[record.acts] += 1
        chosen, rejected = (continuation_row(each, played.n_shared, id=record.id) for each in sides if each)
        return PairRows(chosen, rejected)

    def _prompt(self, record: CotRecord | CoaRecord | PairRecord) -> list[int]:
        if record.prompt_ids is not None:
            return list(record.prompt_ids)
        messages = [{"role": message.role, "content": message.content} for message in record.messages]
        return prompt_ids(
            self.tokenizer,
            messages,
            system_prompt=self.settings.system_prompt,
            protocol=self.codec.protocol,
            template_options=self._template_options,
        )

    def _fit(self, trajectory: Trajectory, id: str) -> Trajectory | None:
        fitted = fit(trajectory, self.max_length, self.settings.overlong, id=id)
        self.report.dropped_overlong += fitted is None
        self.report.cut_overlong += fitted is not None and fitted is not trajectory
        return fitted

    def _kept(self, rows: list[Any], files: Sequence[str]) -> list[Any]:
        kept = [row for row in rows if row is not None]
        if not kept:
            raise DataError(f"no row is left of {', '.join(files)}: {self.report}")
        for row in kept:
            for each in (row.chosen, row.rejected) if isinstance(row, PairRows) else (row,):
                self.report.tokens += len(each.input_ids)
                self.report.trained_tokens += each.trained_tokens
            self.report.rows["pair" if isinstance(row, PairRows) else row.kind] += 1
        return kept


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counter.items()))
