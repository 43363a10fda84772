"""Training records for supervised fine-tuning: CoT, CoA, pairs and text, as text or with the ids they were born with.

    CotRecord    prompt, thought .. answer                                       no tool
    CoaRecord    prompt, thought, action, observation, thought .. answer         trajectory
    PairRecord   prompt, prefix ─┬─ chosen                                       step level: when to act
                                 └─ rejected
    TextRecord   plain text, replayed so that earlier skills are kept

Files are read and written in `record_files.py`; a record is turned into a `Trajectory` in `play.py`.
Source: AutoCoA (arXiv:2503.06580), section 3.2.1: CoT data, CoA data, CoT+A pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ..errors import DataError
from ..trajectory import Role, Source

SCHEMA_VERSION = 1
Acts = Literal["chosen", "rejected", "both", "neither"]


@dataclass(frozen=True)
class Message:
    """One message of the conversation that the chat template turns into the prompt."""

    role: str
    content: str


@dataclass(frozen=True)
class Piece:
    """Consecutive text with one role and one source.

    `text` has the tags: concatenated texts are the response. `ids` are the token ids it was sampled or injected as,
    () where a neighbour's token covers its text; None when the row was written without a tokenizer.
    Raises `DataError` when there is neither text nor an id.
    """

    role: Role
    source: Source
    text: str
    ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.text and not self.ids:
            raise DataError(f"text: a piece with role {self.role} has neither text nor ids")

    @property
    def is_trained(self) -> bool:
        """True when the policy wrote it, and not as an observation (as `trajectory.Segment.is_trained`)."""
        return self.source is Source.POLICY and self.role is not Role.OBSERVATION


@dataclass(frozen=True)
class _Prompted:
    """Fields of every record with a prompt.

    The prompt is `messages`, or `prompt_ids` where the row was born with ids. `tokenizer` is the fingerprint
    (`tokenization.fingerprint`) of the tokenizer that made the ids. `golds` are accepted answers, `meta` is free.
    Raises `DataError` that begins with the field's name.
    """

    kind: ClassVar[str] = ""

    id: str
    protocol: str
    messages: tuple[Message, ...] = ()
    prompt_ids: tuple[int, ...] | None = None
    tokenizer: str | None = None
    golds: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            raise DataError("id: must not be empty")
        if not self.messages and not self.prompt_ids:
            raise DataError("messages: there is neither a message nor prompt_ids")
        pieces = self.pieces()
        with_ids = [piece.ids is not None for piece in pieces]
        if any(with_ids) and not all(with_ids):
            missing = with_ids.index(False)
            raise DataError(f"segments[{missing}].ids: missing, while other segments have ids; give all or none")
        if pieces and all(with_ids) and self.prompt_ids is None:
            raise DataError("prompt_ids: missing, while the segments have ids")
        if self.prompt_ids is not None and not all(with_ids):
            raise DataError("segments[0].ids: missing, while the prompt has ids")

    def pieces(self) -> tuple[Piece, ...]:
        """Every piece of the record."""
        return ()

    @property
    def has_ids(self) -> bool:
        """True when the row was born with ids, which are then kept whatever their text would be tokenised as."""
        return self.prompt_ids is not None


@dataclass(frozen=True)
class _Response(_Prompted):
    segments: tuple[Piece, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pieces(self.segments, "segments")

    def pieces(self) -> tuple[Piece, ...]:
        """Every piece of the record."""
        return self.segments


@dataclass(frozen=True)
class CotRecord(_Response):
    """A chain of thought: thoughts and an answer; raises `DataError` for an action or an observation."""

    kind: ClassVar[str] = "cot"

    def __post_init__(self) -> None:
        super().__post_init__()
        for index, piece in enumerate(self.segments):
            if piece.role in (Role.ACTION, Role.OBSERVATION):
                raise DataError(f"segments[{index}].role: {piece.role} in a record of kind cot; expected kind coa")


@dataclass(frozen=True)
class CoaRecord(_Response):
    """A chain of action: at least one action with its observation; raises `DataError` for a chain without one.

    A rollout whose only observation answers one that the policy invented has no action; its row, with ids, is a chain
    of action too.
    """

    kind: ClassVar[str] = "coa"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(piece.role in (Role.ACTION, Role.OBSERVATION) for piece in self.segments):
            raise DataError("segments: no action in a record of kind coa; expected kind cot")


@dataclass(frozen=True)
class PairRecord(_Prompted):
    """Two continuations of the same prefix, of which `chosen` is preferred.

    The prefix is stored once, so both sides share it token for token. Raises `DataError` for an empty prefix, an empty
    side, equal sides, or a side that the policy wrote nothing of.
    """

    kind: ClassVar[str] = "pair"

    prefix: tuple[Piece, ...] = ()
    chosen: tuple[Piece, ...] = ()
    rejected: tuple[Piece, ...] = ()

    def __post_init__(self) -> None:
        if not self.prefix:
            raise DataError("prefix: chosen and rejected have no common prefix; a pair diverges inside the response")
        for name in ("chosen", "rejected"):
            if not any(piece.is_trained for piece in getattr(self, name)):
                raise DataError(f"{name}: empty, the policy wrote nothing in it")
        if _content(self.chosen) == _content(self.rejected):
            raise DataError("rejected: equal to chosen; a pair must differ after its prefix")
        super().__post_init__()
        check_pieces(self.chosen, "chosen", after=self.prefix)
        check_pieces(self.rejected, "rejected", after=self.prefix)

    def pieces(self) -> tuple[Piece, ...]:
        """Every piece of the record."""
        return (*self.prefix, *self.chosen, *self.rejected)

    @property
    def acts(self) -> Acts:
        """The direction of the pair: the side that acts sooner after the prefix; "both" when they act alike."""
        chosen, rejected = (_pieces_before_action(side) for side in (self.chosen, self.rejected))
        if chosen is None and rejected is None:
            return "neither"
        if chosen == rejected:
            return "both"
        if chosen is None or rejected is None:
            return "rejected" if chosen is None else "chosen"
        return "chosen" if chosen < rejected else "rejected"


@dataclass(frozen=True)
class TextRecord:
    """Plain text without prompt or roles; every token but the first carries loss."""

    kind: ClassVar[str] = "text"

    id: str
    text: str
    ids: tuple[int, ...] | None = None
    tokenizer: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            raise DataError("id: must not be empty")
        if not self.text and not self.ids:
            raise DataError("text: must not be empty")


Record = CotRecord | CoaRecord | PairRecord | TextRecord
RECORDS: dict[str, type[CotRecord] | type[CoaRecord] | type[PairRecord] | type[TextRecord]] = {
    each.kind: each for each in (CotRecord, CoaRecord, PairRecord, TextRecord)
}


def check_pieces(pieces: Sequence[Piece], where: str, *, after: Sequence[Piece] = ()) -> None:
    """Raise `DataError` unless the pieces can be a trajectory: each observation after an action, and each action
    followed by one; the last piece written by the policy (invariant 7).

    `after` are the pieces before them, the prefix of a pair. Pieces with ids come from a rollout, which may have ended
    inside an action: only their end is checked.
    """
    if not pieces:
        raise DataError(f"{where}: empty")
    places = [f"prefix[{index}]" for index in range(len(after))] + [f"{where}[{index}]" for index in range(len(pieces))]
    before: Role | None = None
    for place, piece in zip(places, (*after, *pieces), strict=True):
        if piece.ids is None:
            _check_order(before, piece.role, place)
        before = piece.role
    if not pieces[-1].is_trained:
        raise DataError(f"{places[-1]}.role: the last piece must be the policy's, got {pieces[-1].role}")


def _check_order(before: Role | None, role: Role, place: str) -> None:
    if role is Role.OBSERVATION and before not in (Role.ACTION, Role.OBSERVATION):
        raise DataError(f"{place}.role: an observation must follow an action, got it after {before or 'the prompt'}")
    if before is Role.ACTION and role not in (Role.OBSERVATION, Role.ACTION):
        raise DataError(f"{place}.role: an observation must follow an action, got {role}")


def _content(pieces: Sequence[Piece]) -> list[tuple[str, tuple[int, ...] | None]]:
    return [(piece.text, piece.ids) for piece in pieces]


def _pieces_before_action(pieces: Sequence[Piece]) -> int | None:
    return next((index for index, piece in enumerate(pieces) if piece.role is Role.ACTION), None)
