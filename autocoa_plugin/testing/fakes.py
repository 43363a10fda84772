"""Fakes that we ship, so that users test as we do: a tokenizer whose ids one can read, an engine that never ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import repeat

from ..engines.scripted import ScriptedEngine
from ..protocol import Protocol
from ..tokenization import Codec

EOS_ID, BOS_ID = 2_000_000, 2_000_001
_FIRST_MERGE = 3_000_000


class CharTokenizer:
    """One id per character (its code point), except for `merges`: strings that are one token each.

    Merges get the ids 3,000,000, 3,000,001, ... in the given order and are found greedily, longest first, in text that
    is encoded; `<eos>` is 2,000,000 and `<bos>` 2,000,001, both special. Ids decode to what they were made from.
    """

    eos_token_id, bos_token_id = EOS_ID, BOS_ID
    all_special_tokens = ("<eos>", "<bos>")

    def __init__(self, merges: Sequence[str] = ()) -> None:
        self._ids = {"<eos>": EOS_ID, "<bos>": BOS_ID, **{text: _FIRST_MERGE + i for i, text in enumerate(merges)}}
        self._texts = {token: text for text, token in self._ids.items()}
        self._longest_first = sorted(self._ids, key=len, reverse=True)

    def get_added_vocab(self) -> dict[str, int]:
        """The special tokens only: merges are ordinary vocabulary."""
        return {"<eos>": EOS_ID, "<bos>": BOS_ID}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Encode text; `add_special_tokens` puts `<bos>` in front."""
        ids = [BOS_ID] if add_special_tokens else []
        position = 0
        while position < len(text):
            merge = next((each for each in self._longest_first if text.startswith(each, position)), None)
            ids.append(self._ids[merge] if merge else ord(text[position]))
            position += len(merge) if merge else 1
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Decode ids; `skip_special_tokens` leaves `<eos>` and `<bos>` out."""
        special = {EOS_ID, BOS_ID} if skip_special_tokens else set()
        return "".join(self._texts.get(token) or chr(token) for token in ids if token not in special)


def readable(protocol: Protocol, merges: Sequence[str] = ()) -> CharTokenizer:
    """A tokenizer that spells a protocol: the words of a chat template that it writes are one token each."""
    frame = protocol.observation_before + protocol.observation_after
    return CharTokenizer([*re.findall(r"<\|[^|<>]+\|>", frame), *merges])


def endless_engine(codec: Codec, text: str) -> ScriptedEngine:
    """An engine that samples `text` whenever it is asked, cut at `max_tokens` and after a stop string."""
    return ScriptedEngine(repeat(text), encode=codec.encode, decode=codec.decode)
