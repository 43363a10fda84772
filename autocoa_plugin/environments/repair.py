"""Cut an imagined observation to what may stand in a trajectory: no action, no answer, no text after the closing tag.

    Kipling was born in Bombay. </search_result> and so on   1  kept up to the token that completes the closing tag
    Kipling was <begin_search>where</end_search>             2  kept up to the token in which the other tag begins
    Kipling was born in Bombay. <eos>                        2  kept up to the end of the sequence
    Kipling was born in Bombay. He was born in Bombay. He    3  a length limit: all kept but an unfinished character
    (nothing, or only white space)                           4  nothing kept: the policy reads the empty result's notice

"Other" are all tags of the protocol, a boxed answer however it is spaced, and special tokens, as ids or spelled out;
nested actions are thus never executed and nested answers never stand in a trajectory. The loop adds a closing tag where
it is missing (2 and 3). Sampled ids are only cut, with their log-probabilities, never encoded again (invariant 1).
Each observation counts for one repair at most: `tagged_observations` (2, a tag), `unclosed_observations` (2, the end of
the sequence, and 3), `empty_observations` (4); what is cut away is `discarded_observation_tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..protocol import Tool
from ..tokenization import Codec
from ..trajectory import Counts

_BOX = r"\\boxed\s*\{"  # what `answers` reads as a box, which is more than the tag
_REPLACEMENT = "\ufffd"
_CHARACTER_TOKENS = 4  # a character of UTF-8 is four bytes at most


@dataclass(frozen=True)
class Repaired:
    """Kept ids and exactly their text; `counts` has the repair that was needed and the tokens that were cut away.

    `is_closed`: the closing tag was written; its token may carry text after it. Nothing is kept of an empty body.
    """

    ids: tuple[int, ...]
    text: str
    is_closed: bool
    counts: Counts


@dataclass(frozen=True)
class Ends:
    """Ends of an observation's body: strings, its own closing tag `close` among them, and ids."""

    close: str
    strings: re.Pattern[str]
    ids: frozenset[int]


@lru_cache(maxsize=8)
def ends_of(codec: Codec, tool: Tool) -> Ends:
    """Collect what ends an observation of `tool`; ordinary words and white space in the added vocabulary do not."""
    protocol, close = codec.protocol, tool.observation.close
    special = set(getattr(codec.tokenizer, "all_special_tokens", ()))
    added = {
        text: token
        for text, token in codec.tokenizer.get_added_vocab().items()
        if text in special or text in protocol.tags() or not (text.isspace() or text[:1].isalnum())
    }
    spelled = {*added, *special, *protocol.tags()}
    spelled = {text for text in spelled if len(text) > 1 and text not in close and close not in text}
    strings = [re.escape(text) for text in sorted({*spelled, close}, key=len, reverse=True)]
    strings += [_BOX] if protocol.answer_kind == "boxed" else []
    others = (token for text, token in added.items() if close not in text)
    return Ends(close, re.compile("|".join(strings)), codec.end_ids.union(others))


def repair_ids(codec: Codec, tool: Tool, ids: Sequence[int]) -> Repaired:
    """Keep what may stand in a trajectory of the ids that were sampled as the body of an observation of `tool`."""
    ends = ends_of(codec, tool)
    end = next((position for position, token in enumerate(ids) if token in ends.ids), len(ids))
    before = tuple(ids[:end])
    found = ends.strings.search(codec.decode(before))
    if found and found[0] == ends.close:
        kept = before[: codec.tokens_covering(before, found.end() - 1)]
        text = codec.decode(kept)
        # the token that completes the tag may carry another one after it
        if ends.strings.findall(text) == [ends.close]:
            return _repaired(ids, kept, text, text.partition(ends.close)[0], is_closed=True)
        before = kept[:-1]
    is_tagged = bool(found) or (end < len(ids) and ids[end] not in codec.end_ids)
    kept, text = _harmless(codec, ends, before)
    repair = "tagged_observations" if is_tagged else "unclosed_observations"
    return _repaired(ids, kept, text, text, repair=repair)


def repair_text(codec: Codec, tool: Tool, text: str) -> Repaired:
    """Keep what may stand in a trajectory of a body that came as text, which needs no closing tag; `ids` is empty."""
    ends = ends_of(codec, tool)
    found = ends.strings.search(text)
    body = text[: found.start()].strip() if found else text.strip()
    if not body:
        return Repaired((), "", False, Counts(empty_observations=1))
    return Repaired((), body, False, Counts(tagged_observations=int(bool(found and found[0] != ends.close))))


def _repaired(
    ids: Sequence[int], kept: tuple[int, ...], text: str, body: str, *, is_closed: bool = False, repair: str = ""
) -> Repaired:
    if not body.strip():
        kept, text, is_closed, repair = (), "", False, "empty_observations"
    counts = Counts(**({repair: 1} if repair else {}), discarded_observation_tokens=len(ids) - len(kept))
    return Repaired(kept, text, is_closed, counts)


def _harmless(codec: Codec, ends: Ends, ids: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """The longest beginning of `ids` in which nothing ends the body, and its text."""
    text = codec.decode(ids)
    # a loop, because where tokens change each other's text the shorter one may read differently
    while found := ends.strings.search(text):
        ids = ids[: codec.tokens_covering(ids, found.start()) - 1]
        text = codec.decode(ids)
    return _whole_characters(codec, ids, text)


def _whole_characters(codec: Codec, ids: tuple[int, ...], text: str) -> tuple[tuple[int, ...], str]:
    """Leave out the tokens of a last character that is not finished; what cannot become a character is kept."""
    shorter, spelled = ids, text
    for _ in range(_CHARACTER_TOKENS):
        if not spelled.endswith(_REPLACEMENT):
            return shorter, spelled
        shorter = shorter[:-1]
        spelled = codec.decode(shorter)
    return ids, text
