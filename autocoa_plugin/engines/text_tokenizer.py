"""Tokenizer without a vocabulary, for models that only speak text: ids that are the text itself, and decode exactly.

    " Paris" ──> 6 bytes ──> 6 << 48 | 0x205061726973        one id, the same in every process
    "<|user|>" ──> pieces of text, as everything that is encoded; the mark itself is put by `apply_chat_template` only

Text is split as byte-pair encodings begin to (words with the space before them, digits, marks, white space), and each
part is cut into pieces of at most six bytes of UTF-8, never inside a character. So a count of pieces is roughly a count
of tokens. Measured on 1,500 passages each of 2WikiMultihopQA and HotpotQA, and on 400 HotpotQA questions: 1.01, 1.08
and 1.10 pieces per token of Mistral's Tekken (131,000 tokens), 0.93, 0.99 and 1.01 per token of its SentencePiece model
(32,768).

Every id is 2**48 or more and below 2**51: whole as a float and as JSON, and never one of a model's vocabulary. That is
how training tells that there is nothing to train on (`is_text`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import TokenizerError

TEXT_V1 = "text-v1"
"""Fingerprint of this tokenizer: what stands in results where a model's tokenizer has 16 hexadecimal digits."""
TEXT_NOTE = "asked as text, not token ids: token counts are approximate, no log-probabilities, no ids to train on"
"""What is said of results that a chat server gave, wherever they are shown."""
NO_BORN_IDS = (
    "its ids are text that a chat server gave (text-v1), and no model can be trained on them: leave out prompt_ids, "
    "tokenizer and all ids to have the text encoded, as autocoa synthesize does"
)
"""What training says of them."""

_PART = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s")
_MAX_BYTES = 6
_SHIFT = 8 * _MAX_BYTES
_MARKS = (_MAX_BYTES + 1) << _SHIFT  # the marks have seven where pieces have their number of bytes
_END = "<|end|>"
_ROLES = ("system", "user", "assistant")


def is_text(ids: Sequence[int]) -> bool:
    """True when one of the ids is text (`TextTokenizer`), which no model's vocabulary has."""
    return bool(ids) and max(ids) >= 1 << _SHIFT


class TextTokenizer:
    """Tokenizer of text that no model's tokenizer is known for; what `Codec` and `prompts.prompt_ids` need of one.

    A conversation is a mark for each message's role and the text after it; text that spells a mark stays text.
    """

    fingerprint = TEXT_V1
    bos_token_id = None
    eos_token_id = _MARKS

    def __init__(self) -> None:
        self._roles = {_MARKS + number: role for number, role in enumerate(_ROLES, 1)}
        self._marks = {self.eos_token_id: _END, **{mark: f"<|{role}|>" for mark, role in self._roles.items()}}
        self.all_special_tokens = tuple(self._marks.values())

    def get_added_vocab(self) -> dict[str, int]:
        """Ids of the marks."""
        return {text: mark for mark, text in self._marks.items()}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Encode text, none of it as a mark; of a lone surrogate, which is no character, a question mark is left."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        return [_id(piece) for part in _PART.findall(text) for piece in _pieces(part)]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Decode ids; `skip_special_tokens` leaves the marks out. Raises `TokenizerError` for an id of a vocabulary."""
        marks = dict.fromkeys(self._marks, b"") if skip_special_tokens else self._spelled_marks()
        return b"".join([marks[token] if token in marks else _bytes(token) for token in ids]).decode("utf-8", "replace")

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, str]],
        *,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
        tools: Sequence[Any] | None = None,
        **options: Any,
    ) -> list[int] | str:
        """Spell a conversation: a mark and the content of each message, then the assistant's mark if asked.

        Raises `TokenizerError` for another role than system, user and assistant, for tools and for any other option:
        a chat server applies its own template, which is not told of them here.
        """
        if given := [*options, *(["tools"] if tools else [])]:
            raise TokenizerError(f"a chat server applies its own template: it cannot be given {', '.join(given)}")
        ids: list[int] = []
        for message in conversation:
            ids += [self._mark(message["role"]), *self.encode(message["content"])]
        ids += [self._mark("assistant")] if add_generation_prompt else []
        return ids if tokenize else self.decode(ids)

    def conversation(self, ids: Sequence[int]) -> list[tuple[str, str]]:
        """Read role and text of each message back, ends of sequence left out.

        Raises `TokenizerError` for ids that do not begin with a mark of a role.
        """
        if not ids or ids[0] not in self._roles:
            raise TokenizerError("a conversation begins with the mark of a role: make its ids by apply_chat_template")
        begins = [number for number, token in enumerate(ids) if token in self._roles]
        spans = zip(begins, [*begins[1:], len(ids)], strict=True)
        return [(self._roles[ids[begin]], self.decode(ids[begin:end], True)) for begin, end in spans]

    def _mark(self, role: str) -> int:
        if role not in _ROLES:
            raise TokenizerError(f"a message's role must be one of {list(_ROLES)}, got {role!r}")
        return _MARKS + 1 + _ROLES.index(role)

    def _spelled_marks(self) -> dict[int, bytes]:
        return {mark: text.encode() for mark, text in self._marks.items()}


def _pieces(part: str) -> Iterator[bytes]:
    if part.isascii():
        data = part.encode()
        yield from (data[begin : begin + _MAX_BYTES] for begin in range(0, len(data), _MAX_BYTES))
        return
    piece = b""
    for character in part:
        data = character.encode()
        if len(piece) + len(data) > _MAX_BYTES:
            yield piece
            piece = b""
        piece += data
    yield piece


def _id(piece: bytes) -> int:
    return len(piece) << _SHIFT | int.from_bytes(piece, "big")


def _bytes(token: int) -> bytes:
    length, value = token >> _SHIFT, token & ((1 << _SHIFT) - 1)
    if not 1 <= length <= _MAX_BYTES or value >> 8 * length:
        raise TokenizerError(f"{token} is no id of text: a model's vocabulary has it, and cannot be read without it")
    return value.to_bytes(length, "big")
