"""Small tokenizers of every kind a policy may come with, trained here and now, each in a fraction of a second.

    byte_bpe               GPT-2: bytes, its pre-tokenizer pattern; every text comes back as it went in
    byte_bpe_fused         Qwen's pattern, under which `>` and the newlines after it may be one token, and are
    byte_bpe_added_tags    the tags are added tokens, not special
    byte_bpe_special_tags  the tags are special tokens
    byte_bpe_bos           a bare encode puts BOS in front, as R1-Distill's does
    sentencepiece_bpe      Llama 2: word-boundary mark, bytes for what the vocabulary lacks; decode drops a first space
    unigram                T5: word-boundary mark, no bytes
    wordpiece              BERT with case: white space and the spelling of tags are lost
    word_level             words only: the tags are <unk>

`byte_bpe_fused` and `byte_bpe_bos` have R1-Distill's kind of chat template, which opens the thought itself. A tokenizer
is built once per process: copy it before changing it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from autocoa_plugin.protocol import AUTOCOA

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
USER, ASSISTANT = "<|user|>", "<|assistant|>"
SPECIAL = (PAD, BOS, EOS, UNK, USER, ASSISTANT)
TAGS = tuple(tag for tag in AUTOCOA.tags() if tag != AUTOCOA.answer.open)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>OPENED' }}{% endif %}"
)
_VOCABULARY = 600
_QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NAMES = ("the river", "a castle", "Rudyard Kipling", "New York", "the old king", "Just So Stories", "an island")
_VERBS = ("was built in", "lies near", "was born in", "wrote", "is the capital of", "ended before", "is older than")


def corpus(*, newlines: bool = True, lines: int = 400) -> Iterator[str]:
    """English-like lines, the same in every run."""
    chance = random.Random(0)
    for _ in range(lines):
        subject, verb, place = chance.choice(_NAMES), chance.choice(_VERBS), chance.choice(_NAMES)
        line = f'{subject} {verb} {place} ({chance.randrange(1000, 2100)}), so "{verb}" \\boxed{{{place}}}.'
        yield f"<p>{line}</p>\n\n{subject}:\n" if newlines else line


def _byte_bpe(pre_tokenizer: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=_VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def _byte_bpe_fused() -> Tokenizer:
    split = pre_tokenizers.Split(Regex(_QWEN_PATTERN), behavior="isolated")
    return _byte_bpe(
        pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    )


def _byte_bpe_tags(*, special: bool) -> Tokenizer:
    tokenizer = _byte_bpe()
    tokens: list[str | AddedToken] = [AddedToken(tag, special=special, normalized=False) for tag in TAGS]
    tokenizer.add_special_tokens(tokens) if special else tokenizer.add_tokens(tokens)
    return tokenizer


def _byte_bpe_bos() -> Tokenizer:
    tokenizer = _byte_bpe()
    bos = (BOS, tokenizer.token_to_id(BOS))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[bos])
    return tokenizer


def _sentencepiece_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=UNK, byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(
        corpus(newlines=False),
        trainers.BpeTrainer(vocab_size=_VOCABULARY, special_tokens=list(SPECIAL), show_progress=False),
    )
    # byte tokens are in the vocabulary without being special, which no trainer can say
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary.update({f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)})
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.train_from_iterator(
        corpus(),
        trainers.UnigramTrainer(
            vocab_size=_VOCABULARY,
            special_tokens=list(SPECIAL),
            unk_token=UNK,
            show_progress=False,
            initial_alphabet=[chr(code) for code in range(33, 127)],
        ),
    )
    return tokenizer


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    tokenizer.train_from_iterator(
        corpus(),
        trainers.WordPieceTrainer(
            vocab_size=_VOCABULARY,
            special_tokens=list(SPECIAL),
            show_progress=False,
            initial_alphabet=[chr(code) for code in range(33, 127)],
        ),
    )
    return tokenizer


def _word_level() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(
        corpus(), trainers.WordLevelTrainer(special_tokens=list(SPECIAL), show_progress=False)
    )
    return tokenizer


def _wrapped(build: Callable[[], Tokenizer], *, opens_thought: bool = False) -> Callable[[], PreTrainedTokenizerFast]:
    @cache
    def family() -> PreTrainedTokenizerFast:
        from transformers import PreTrainedTokenizerFast  # seconds, which tests without a tokenizer do not pay

        return PreTrainedTokenizerFast(
            tokenizer_object=build(),
            pad_token=PAD,
            bos_token=BOS,
            eos_token=EOS,
            unk_token=UNK,
            additional_special_tokens=[USER, ASSISTANT],
            chat_template=CHAT_TEMPLATE.replace("OPENED", "<think>\\n" if opens_thought else ""),
        )

    return family


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte_bpe": _wrapped(_byte_bpe),
    "byte_bpe_fused": _wrapped(_byte_bpe_fused, opens_thought=True),
    "byte_bpe_added_tags": _wrapped(lambda: _byte_bpe_tags(special=False)),
    "byte_bpe_special_tags": _wrapped(lambda: _byte_bpe_tags(special=True)),
    "byte_bpe_bos": _wrapped(_byte_bpe_bos, opens_thought=True),
    "sentencepiece_bpe": _wrapped(_sentencepiece_bpe),
    "unigram": _wrapped(_unigram),
    "wordpiece": _wrapped(_wordpiece),
    "word_level": _wrapped(_word_level),
}
"""Every family by name; call it for the tokenizer."""

LOSSLESS = tuple(name for name in FAMILIES if name.startswith("byte_bpe"))
"""Families that give back every text exactly."""

OPENS_THOUGHT = ("byte_bpe_fused", "byte_bpe_bos")
"""Families whose chat template ends in `<think>\\n`."""
