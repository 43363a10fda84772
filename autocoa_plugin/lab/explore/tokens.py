"""Align tokens with the characters of a stored text.

    ids   17      402    9         text   "naïve 🙂"
    spell "na" "ïve"  " 🙂"        a character of several tokens is spelled by the one that completes it

Tokens are decoded one by one, and the stored text says where they lie. Where tokenizers lose white space it goes
to the token that follows it. Text that these ids do not spell has no tokens here: another tokenizer's, or words that
became <unk>.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

from ...engines.text_tokenizer import TEXT_V1, TextTokenizer
from ...errors import ConfigError
from ...trajectory import Segment, Source
from .entry import Tokens

Decode = Callable[[Sequence[int]], str]
_UNFINISHED = "\ufffd"
_CHARACTER_TOKENS = 4  # a character of UTF-8 is four bytes at most


class TokenSpeller:
    """Finds the characters of tokens; `anchor` are ids of an ordinary word, after which a word begins with its space.

    `segments` and `missed` count what was asked for, and what could not be found.
    """

    def __init__(self, decode: Decode, anchor: Sequence[int] = ()) -> None:
        self.decode = decode
        self.segments = self.missed = 0
        self._anchor, self._anchor_text = tuple(anchor), decode(anchor) if anchor else ""
        self._pieces: dict[tuple[int, ...], str] = {}
        self._of_token: dict[int, str] = {}

    def tokens(self, segments: Sequence[Segment]) -> list[Tokens | None]:
        """Tokens of each segment of a response; None where the ids do not spell the text.

        Of a token that straddles two segments, the characters in the other one count as its neighbour's there.
        """
        found = [tokens for run in _runs(segments) for tokens in self._tokens_of_run(run)]
        # white space that the tokenizer cannot spell has no ids, so there is nothing to find
        asked = [each for each, segment in zip(found, segments, strict=True) if segment.ids]
        self.segments += len(asked)
        self.missed += asked.count(None)
        return found

    def ends(self, ids: Sequence[int], text: str) -> list[int] | None:
        """Number of characters of the text that are spelled after each token; None when the ids do not spell it."""
        self._of_token |= {token: self._piece((token,)) for token in set(ids) - self._of_token.keys()}
        pieces = [self._of_token[token] for token in ids]
        if "".join(pieces) == text:
            return list(accumulate(map(len, pieces)))
        ends: list[int] = []
        position = 0
        while len(ends) < len(ids):
            piece = pieces[len(ends)]
            if _UNFINISHED not in piece and text.startswith(piece, position):  # nearly always, so not a call
                position += len(piece)
                ends.append(position)
                continue
            count, end = self._next(ids[len(ends) : len(ends) + _CHARACTER_TOKENS], text, position)
            if end is None:
                return None
            ends += [position] * (count - 1) + [end]
            position = end
        return [*ends[:-1], len(text)] if ends and not text[position:].strip() else None

    def _next(self, ids: Sequence[int], text: str, position: int) -> tuple[int, int | None]:
        """Find how many tokens spell the next characters of the text, and where these end; None when none do."""
        best: tuple[int, int | None] = (1, None)
        for count in range(1, len(ids) + 1):
            piece = self._piece(tuple(ids[:count]))
            end = _find(piece, text, position)
            if _UNFINISHED not in piece:
                return (count, end) if end is not None else best
            # the text may hold this very character: it takes all tokens that spell no more than it
            if end is not None and (best[1] is None or end <= best[1]):
                best = count, end
        return best

    def _tokens_of_run(self, run: Sequence[Segment]) -> list[Tokens | None]:
        text, ids = "".join(each.text for each in run), [token for each in run for token in each.ids]
        ends = self.ends(ids, text) if ids else None if text else []
        return [None] * len(run) if ends is None else _cut(run, text, ends)

    def _piece(self, ids: tuple[int, ...]) -> str:
        """Spell tokens as they stand inside a text."""
        if ids not in self._pieces:
            spelled = self.decode((*self._anchor, *ids))
            is_kept = spelled.startswith(self._anchor_text)
            self._pieces[ids] = spelled[len(self._anchor_text) :] if is_kept else self.decode(ids)
        return self._pieces[ids]


def load_speller(name: str | Path) -> TokenSpeller:
    """Load the tokenizer of a model folder, of a name that transformers knows, or of text (`TEXT_V1`).

    Raises `ConfigError` when there is none, or its library is not installed.
    """
    try:
        tokenizer = TextTokenizer() if str(name) == TEXT_V1 else _load(Path(name))
    except ImportError as error:
        raise ConfigError(f"tokens need the extra local: pip install 'autocoa-plugin[local]' ({error})") from error
    anchor = tokenizer.encode("a", add_special_tokens=False)
    return TokenSpeller(
        # nothing is left out: a token that is not shown has no log-probability to look at
        lambda ids: tokenizer.decode(list(ids), skip_special_tokens=False),
        anchor if isinstance(anchor, list) else anchor.ids,
    )


def _load(folder: Path) -> Any:
    saved = folder / "tokenizer.json"
    if saved.is_file():
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_file(str(saved))
        except Exception as error:  # the library raises nothing more specific
            raise ConfigError(f"{saved} is no tokenizer: {error}") from error
    from ...engines.model_folder import load_tokenizer

    return load_tokenizer(folder)


def _runs(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Group the segments that may share tokens at their borders, those sampled in one go; all others stand alone."""
    key = [(segment.source is Source.POLICY) or (None, index) for index, segment in enumerate(segments)]
    grouped = groupby(zip(key, segments, strict=True), key=lambda pair: pair[0])
    return [[segment for _, segment in group] for _, group in grouped]


def _find(piece: str, text: str, position: int) -> int | None:
    """Find where a piece ends that stands at a position; only white space before it may be missing or too much."""
    if text.startswith(piece, position):
        return position + len(piece)
    piece = piece.strip()
    while position < len(text) and text[position].isspace() and not text.startswith(piece, position):
        position += 1
    return position + len(piece) if text.startswith(piece, position) else None


def _cut(run: Sequence[Segment], text: str, ends: Sequence[int]) -> list[Tokens | None]:
    """Share the characters of a run out to the tokens of its segments."""
    units = _utf16_offsets(text)
    found: list[Tokens | None] = []
    start = low = 0
    for segment in run:
        stop, high = start + len(segment.ids), low + len(segment.text)
        # what a token spells beyond its segment counts there, with the token next to the border
        bounds = [low, *ends[start:stop]]
        bounds[1:] = [high if bound > high else bound if bound > low else low for bound in bounds[1:-1]] + [high]
        lengths = tuple([units[b] - units[a] for a, b in pairwise(bounds)])
        is_told = bool(segment.ids) or not segment.text
        found.append(Tokens(segment.ids, lengths[: len(segment.ids)], segment.logprobs) if is_told else None)
        start, low = stop, high
    return found


def _utf16_offsets(text: str) -> Sequence[int]:
    """The UTF-16 code units before each character, and before the end."""
    if text.isascii() or max(text) <= "\uffff":
        return range(len(text) + 1)
    return [0, *accumulate(1 + (character > "\uffff") for character in text)]
