"""Scorecard of one model: what was measured, against which real tool; as JSON with a schema version.

ScoreCard ── groups ── "train" ── measures ── "holds_gold" ── mean 0.93, n 150, 95 % interval 0.89 to 0.97
                    └─ "held"  ── ...
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...answering import SearchSettings
from ...cassette.header import corpus_identity
from ...errors import DataError
from ...ledger import LedgerEntry
from ...runs.files import write_json
from ...runs.identity import file_sha256, flatten
from ...trajectory import CALLS

SCHEMA_VERSION = 1
# what a card says of its cost: key of the file -> field of the ledger
_SPENT = {**{name: name for name in CALLS}, "cost": "cost", "sampled_tokens": "sampled_observation_tokens"}


@dataclass(frozen=True)
class Estimate:
    """Estimate of a mean over `n` queries with its 95 % bootstrap interval; None where nothing was measured."""

    mean: float | None
    n: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class GroupCard:
    """Measures of one group of queries.

    `compared` queries have both observations; `failed_imagined` and `failed_real` count those that lack one and are
    left out of every measure. `repairs` counts what had to be mended in imagined observations (`trajectory.Counts`).
    """

    group: str
    queries: int
    compared: int
    failed_imagined: int
    failed_real: int
    measures: Mapping[str, Estimate]
    repairs: Mapping[str, int]


@dataclass(frozen=True)
class ScoreCard:
    """Scorecard of one model: imagined against real observations.

    `real` identifies the real tool (backend, top_k, SHA-256 of the corpus or URL), `queries` the file or dump;
    `sampling` says how observations were sampled; `scored_by` which engine gave log-probabilities, None: none could, so
    that cross_entropy is null. `step` is the training step, None outside training. `created` is UTC, ISO 8601.
    `first_error` is one message of a failed query. `spent` is what was asked and imagined for the card.
    """

    model: str
    protocol: str
    sampling: Mapping[str, Any]
    real: Mapping[str, Any]
    queries: Mapping[str, Any]
    groups: tuple[GroupCard, ...]
    spent: LedgerEntry = field(default_factory=LedgerEntry)
    scored_by: str | None = None
    step: int | None = None
    created: str = ""
    first_error: str | None = None

    def group(self, name: str) -> GroupCard | None:
        """Find the group of this name; None when there is none."""
        return next((each for each in self.groups if each.group == name), None)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping with the schema version."""
        spent = {key: getattr(self.spent, name) for key, name in _SPENT.items()}
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "spent": spent}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ScoreCard:
        """Rebuild a card; raises `DataError` for another schema version or a field that is missing."""
        if row.get("schema_version") != SCHEMA_VERSION:
            raise DataError(f"schema_version must be {SCHEMA_VERSION}, got {row.get('schema_version')!r}")
        values = {name: value for name, value in row.items() if name != "schema_version"}
        try:
            values["groups"] = tuple(_group(each) for each in row["groups"])
            values["spent"] = LedgerEntry(**{_SPENT[key]: value for key, value in row["spent"].items()})
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not a stored scorecard: {type(error).__name__}: {error}") from error


def save_cards(cards: Iterable[ScoreCard], path: str | Path) -> None:
    """Write cards as {"cards": [...]}; the file appears whole or not at all."""
    write_json(Path(path), {"cards": [each.to_dict() for each in cards]}, allow_nan=False)


def read_cards(path: str | Path) -> list[ScoreCard]:
    """Read what `save_cards` wrote; raises `DataError` naming the file."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["cards"]
        return [ScoreCard.from_dict(row) for row in rows]
    except OSError as error:
        raise DataError(f"{path}: no readable file of scorecards ({error.strerror})") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a file of scorecards: {type(error).__name__}: {error}") from error


def _group(row: Mapping[str, Any]) -> GroupCard:
    return GroupCard(**{**row, "measures": {name: Estimate(**each) for name, each in row["measures"].items()}})


# --------------------------------- what a card was measured with, so that two can be known to answer the same questions


def real_identity(
    search: SearchSettings | None, dump: str | None = None, others: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Name the real tool: backend, top_k, and the SHA-256 of the indexed corpus or the server's URL.

    `others` identifies tools beside search (`Settings.foreign`). Without search settings the observations recorded in
    `dump` are the real ones.
    """
    if others:
        return {**(real_identity(search, dump) if search else {"backend": "tools"}), "tools": flatten(others)}
    if search is None:
        return {"backend": "recorded", "dump": dump}
    corpus = corpus_identity(search)
    if search.is_foreign:
        return {"backend": search.backend_name, "corpus": corpus, "top_k": search.top_k}
    if search.backend != "index":
        return {"backend": search.backend, "url": search.url and corpus, "top_k": search.top_k}
    from ...retrieval.index import load

    manifest = load(search.index_folder)
    return {
        "backend": "index",
        "corpus": search.corpus,
        "sha256": corpus.removeprefix("sha256:"),
        "passages": manifest.passages if manifest else None,
        "top_k": search.top_k,
    }


def file_identity(path: str) -> dict[str, Any]:
    """A query file and its SHA-256."""
    return {"file": path, "sha256": file_sha256(path)}
