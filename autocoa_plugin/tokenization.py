"""Encode injected text, decode sampled ids, find the token of a character; check that the tokenizer is the saved one.

    injected text  ── cleaned, tags broken, encoded ──> ids      `Codec.spell_observation`, `forced_answer`
    sampled ids    ── decoded, never encoded again ───> text     `Codec.decode`; a character back to its token:
                                                                 `Codec.tokens_covering`

Injected text cannot speak as the policy or the template (invariant 5): tags and special tokens in it are broken before
it is encoded. Sampled ids are exact (invariant 1): encode(decode(ids)) may give other ids, so it is never done.

The check at the end (`check_tokenizer`, `fingerprint`) is needed because transformers 5.10 replaces any saved fast
tokenizer by its own class when config.json says `qwen2`, which includes the paper's DeepSeek-R1-Distill-Qwen; ids then
differ from the ones the model was trained with, without a word. Data that was born with ids carries the `fingerprint`
of the tokenizer that made them.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import TokenizerError
from .protocol import Protocol, Tool

# A token of running text is rarely longer; bounds the work on a 10 MB document before anything is encoded.
_MAX_CHARS_PER_TOKEN = 32
_TEMPLATE_TOKEN = re.compile(r"<\|[^|<>]+\|>")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all of category Cc but tab and newline


@dataclass(frozen=True)
class Injected:
    """Text that the loop appends without sampling it: its ids, its text, and whether it was cut to fit."""

    ids: tuple[int, ...]
    text: str
    is_truncated: bool = False


class Codec:
    """Tokenizer wrapper for one protocol: encodes what is injected, decodes and locates what was sampled.

    Accepts a transformers tokenizer, or anything with `encode(text, add_special_tokens=False) -> list[int]`,
    `decode(ids, skip_special_tokens=False) -> str`, `eos_token_id` and `get_added_vocab()`.
    Build it once per process: it caches every fixed string. `end_ids` adds further end-of-sequence ids.
    Raises `TokenizerError` when a tag of the protocol does not survive encoding and decoding.
    """

    def __init__(self, tokenizer: Any, protocol: Protocol, *, end_ids: Iterable[int] = ()) -> None:
        self.tokenizer, self.protocol = tokenizer, protocol
        # the Rust tokenizer itself: several times faster than its Python wrapper, and it never cleans up spaces
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        # chat models end a turn with a token of their own that is not the tokenizer's eos: hence `end_ids`
        eos = tokenizer.eos_token_id
        self.end_ids = frozenset(end_ids) | (frozenset() if eos is None else {eos})
        added: dict[str, int] = dict(tokenizer.get_added_vocab())
        special = set(getattr(tokenizer, "all_special_tokens", ()))
        # every added token, special or not: tokenizers match all of them in plain text before anything else
        self._tags = tag_pattern({*protocol.tags(), *added, *special})
        # what may never come out of an observation, should a normaliser turn harmless text into a special token
        self._forbidden = frozenset(added[token] for token in added if token in special or token in protocol.tags())
        self._bos = getattr(tokenizer, "bos_token_id", None)
        self._lengths: dict[int, int] = {}  # characters of each token seen, decoded alone
        # before anything is spelled: a lost tag would only show as a policy that never acts
        self._check_tags()
        self._check_template_tokens()
        self._trims_body = not (protocol.body_before or protocol.body_after)
        # Fixed strings are encoded once and on their own, so their ids are the same in every context.
        self._frames = {tool.name: self._frame(tool) for tool in protocol.tools}
        self._forced = {
            closed: self._injected(protocol.forced_answer if closed else protocol.forced_answer_in_thought)
            for closed in (False, True)
        }
        self._invalid_turn = self._injected(protocol.invalid_turn)

    def encode(self, text: str) -> list[int]:
        """Encode template text: tags become their tokens, no BOS is added."""
        if self._backend is not None:
            # "fast" computes no offsets, which are not read here; a batch of one is encoded in this very thread
            ids = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        else:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
        # some tokenizers add a BOS whatever they are asked; in the middle of a context it would begin a new one
        return ids[1:] if ids and ids[0] == self._bos else ids

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids with every special token spelled out and no clean-up of spaces."""
        # skipping special tokens would hide the tags of a protocol that has them as special tokens, and clean-up would
        # move every character after it: both break the way from a character back to its token
        source = self._backend if self._backend is not None else self.tokenizer
        return source.decode(list(ids), skip_special_tokens=False)

    def tokens_covering(self, ids: Sequence[int], char: int) -> int:
        """Count the tokens up to the one that spells character `char` of the decoded ids: its position plus one.

        It is the smallest number of tokens whose text reaches beyond the offset `char`.
        Lengths of single tokens give a guess, and the decoded prefixes on both sides of it prove it. Where tokens
        change each other's text (SentencePiece spaces, split UTF-8) bisection over prefixes finds the count instead.
        The cost depends on the turn, never on the context.
        """
        guess = self._guess(ids, char)
        # proved, not trusted: a guess that is off by one would give a token of the thought to the action
        if self._reach(ids[:guess]) > char and (guess == 0 or self._reach(ids[: guess - 1]) <= char):
            return guess
        # a longer prefix never reaches less far, so bisection may be used; offset tables of the tokenizer may not,
        # because they exist for encoded text only, and these ids were sampled
        return bisect_left(range(len(ids)), True, key=lambda count: self._reach(ids[:count]) > char)

    def _guess(self, ids: Sequence[int], char: int) -> int:
        reached = 0
        for count, token in enumerate(ids, 1):
            if token not in self._lengths:
                self._lengths[token] = len(self.decode([token]))
            reached += self._lengths[token]
            if reached > char:
                return count
        return len(ids)

    def _reach(self, ids: Sequence[int]) -> int:
        # an unfinished UTF-8 character decodes to a replacement character that would count too early
        return len(self.decode(ids).rstrip("\ufffd"))

    def opens_thought(self, prompt_ids: Sequence[int]) -> bool:
        """True when the prompt ends inside an opened thought."""
        return self.protocol.opens_thought(self.decode(prompt_ids[-16:]))

    def spell_observation(self, tool: Tool, text: str, *, max_tokens: int, is_opened: bool = False) -> Injected:
        """Spell an observation in at most `max_tokens` tokens, tags included; the body is cut, never the frame.

        `is_opened`: the policy wrote the opening tag already.
        """
        head, tail = self._frames[tool.name]
        head_ids, head_text = ((), "") if is_opened else (head.ids, head.text)
        # an observation that is not closed would swallow the policy's next turn, so the body pays for the closing tag
        body = self._body(text, max(0, max_tokens - len(head_ids) - len(tail.ids)))
        return Injected(
            ids=(*head_ids, *body.ids, *tail.ids),
            text=head_text + body.text + tail.text,
            is_truncated=body.is_truncated,
        )

    def observation_frame(self, tool: Tool) -> tuple[Injected, Injected]:
        """The opening and the closing tag of an observation with the white space around them, without a body."""
        return self._frames[tool.name]

    def after_observation(self, tool: Tool, text: str) -> Injected:
        """The white space that still has to follow a sampled observation whose closing tag was sampled, too."""
        # the token that completes the tag may carry some of it: ">\n\n" is one token in many vocabularies
        written, after = text.rpartition(tool.observation.close)[2], self.protocol.observation_after
        if written and not after.startswith(written):  # other text than ours follows: sampled, so it stays as it is
            return Injected((), "")
        return self._injected(after.removeprefix(written)) if after != written else Injected((), "")

    def forced_answer(self, *, thought_closed: bool) -> Injected:
        """The opening of an answer that is appended when a limit ended the loop without one."""
        return self._forced[thought_closed]

    def invalid_turn(self) -> Injected:
        """What a policy is shown whose turn ended with neither a call nor an answer; its tags are not broken."""
        return self._invalid_turn

    def _body(self, text: str, max_tokens: int) -> Injected:
        """Clean and encode an observation's body, and cut it to `max_tokens`."""
        limit = max_tokens * _MAX_CHARS_PER_TOKEN
        text = text.strip() if self._trims_body else text
        # White space in front, so that the first word is the token that it is in running text. Cleaned before tags are
        # broken: a control character becomes a space, which could complete a tag that has one ("Action Input:").
        clean = self.protocol.body_before + neutralise(printable(text[:limit]), self._tags)
        ids = self.encode(clean)
        if not self._forbidden.isdisjoint(ids):
            ids = [token for token in ids if token not in self._forbidden]
        if len(ids) <= max_tokens and len(text) <= limit:
            return Injected(tuple(ids), clean)
        # Ids are cut, not text: how many tokens a shorter text has is only known after encoding it again. The text is
        # then decoded from what is left, so that it is exactly what the engine is shown.
        ids = ids[:max_tokens]
        while ids and self.decode(ids).endswith("\ufffd"):  # do not end inside a character
            ids.pop()
        return Injected(tuple(ids), self.decode(ids), is_truncated=True)

    def _frame(self, tool: Tool) -> tuple[Injected, Injected]:
        # encoded apart from the body: no document can merge with a tag into a token of its own making
        before, after = self.protocol.observation_before, self.protocol.observation_after
        return (
            self._injected(f"{before}{tool.observation.open}"),
            self._injected(f"{self.protocol.body_after}{tool.observation.close}{after}"),
        )

    def _injected(self, text: str) -> Injected:
        return Injected(tuple(self.encode(text)), text)

    def _check_tags(self) -> None:
        for tag in self.protocol.tags():
            # `in`, not equal: SentencePiece puts a space in front, which loses nothing
            seen = self.decode(self.encode(tag))
            if tag not in seen:
                raise TokenizerError(
                    f"the tokenizer cannot spell {tag!r} of protocol {self.protocol.name!r}, it gives back {seen!r}: "
                    f"add it with tokenizer.add_tokens([{tag!r}]) and resize the model's embeddings"
                )

    def _check_template_tokens(self) -> None:
        # around an observation a protocol may speak as the chat template; spelled in letters, the words of another
        # model's template would be read as text
        protocol = self.protocol
        frame = protocol.observation_before + protocol.observation_after
        for token in dict.fromkeys(_TEMPLATE_TOKEN.findall(frame)):
            if len(self.encode(token)) != 1:
                raise TokenizerError(
                    f"the tokenizer has no token {token!r}, which protocol {protocol.name!r} writes around an "
                    "observation as a chat template does: take a model with such a template, or another protocol"
                )


def printable(text: str) -> str:
    """Replace lone surrogates and control characters, which tokenizers refuse or pass through unseen."""
    return _CONTROL.sub(" ", text.encode("utf-8", "replace").decode("utf-8"))


def tag_pattern(strings: Iterable[str]) -> re.Pattern[str]:
    """Compile strings into one pattern for `neutralise`.

    Single characters and white space are ordinary text and left out: a space would break "  " into itself for ever.
    """
    ordered = sorted({each for each in strings if len(each) > 1 and not each.isspace()}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


def neutralise(text: str, pattern: re.Pattern[str]) -> str:
    """Break every match by a space after its first character: readable, but no longer a tag to parser or tokenizer."""
    while pattern.search(text):  # breaking "<<b>b>" can bring a new "<b>" together: repeat until none is left
        text = pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text


# ----------------------------------------------------------------------------------------- the identity of a tokenizer

# Where tokenizers of the same vocabulary differ: digits, contractions, spaces, newlines, accents, scripts, code, tags.
PROBES = (
    "Hello world, it's 12345 o'clock!",
    "  two  spaces\n\nand\ttabs \r\n end ",
    "naïve café Ünïcode 北京大学 日本語 العربية",
    "<think>\nx</think>\n\n<begin_search> q </end_search>\\boxed{42}",
    "def f(x):\n    return x**2  # 3.14",
)


def fingerprint(tokenizer: Any) -> str:
    """Fingerprint of a tokenizer: 16 hexadecimal digits, the same in every process.

    Hashed are the whole vocabulary, added tokens included, and the ids of `PROBES`; not the chat template and not which
    token ends a sequence. Two tokenizers with one fingerprint give the same ids. A tokenizer without a vocabulary says
    its fingerprint itself, by an attribute of that name (`engines.text_tokenizer`).
    """
    if isinstance(named := getattr(tokenizer, "fingerprint", None), str):
        return named
    vocabulary = getattr(tokenizer, "get_vocab", tokenizer.get_added_vocab)()
    ids = [list(tokenizer.encode(probe, add_special_tokens=False)) for probe in PROBES]
    made = json.dumps([sorted(vocabulary.items()), ids])
    return hashlib.sha256(made.encode("ascii")).hexdigest()[:16]


def check_tokenizer(tokenizer: Any, folder: str | Path, *, mode: Literal["error", "warn", "off"] = "error") -> None:
    """Check that the loaded tokenizer gives the ids of `tokenizer.json` in the model folder.

    Nothing happens when the folder has no such file. Raises `TokenizerError`, or warns, naming both classes and the
    first string on which they differ.
    """
    path = Path(folder).expanduser() / "tokenizer.json"
    if mode == "off" or not path.is_file():
        return
    from tokenizers import Tokenizer

    saved = Tokenizer.from_file(str(path))
    # by ids, not by class names: a replaced class that gives the same ids is harmless
    for probe in PROBES:
        expected = saved.encode(probe, add_special_tokens=False).ids
        seen = list(tokenizer.encode(probe, add_special_tokens=False))
        if seen != expected:
            message = _describe(tokenizer, path, probe, seen, expected)
            if mode == "error":
                raise TokenizerError(message)
            warnings.warn(message, stacklevel=2)
            return


def _describe(tokenizer: Any, path: Path, probe: str, seen: list[int], expected: list[int]) -> str:
    config = path.with_name("tokenizer_config.json")
    named = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class") if config.is_file() else None
    return (
        f"{path.parent} was saved with tokenizer class {named or 'unknown'}, but {type(tokenizer).__name__} was loaded:"
        f" {probe[:24]!r}... gives ids {seen[:6]}... instead of {expected[:6]}...; save the model with another"
        " model_type, or set autocoa.tokenizer_check=warn if you accept this"
    )
