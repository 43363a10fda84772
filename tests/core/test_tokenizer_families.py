"""The tokenizers that other tests rely on have the traits they are named after."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tokenizer_families import ASSISTANT, EOS, FAMILIES, LOSSLESS, OPENS_THOUGHT, TAGS
from transformers import PreTrainedTokenizerFast

TokenizerOf = Callable[[str], PreTrainedTokenizerFast]
HARD_TEXT = "so <think> Kipling's naïve 🙂\t<begin_search> x  y</end_search>\n\n\\boxed{New York}</think>\n\n end "


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def tokens_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(ids_of(tokenizer, text))  # type: ignore[return-value]


def test_every_family_has_an_end_and_encodes_words(any_tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids_of(any_tokenizer, EOS) == [any_tokenizer.eos_token_id]
    assert any_tokenizer.decode(ids_of(any_tokenizer, "New York was built in")) == "New York was built in"


def test_chat_templates_end_in_the_assistants_marker_and_some_open_the_thought() -> None:
    for name, family in FAMILIES.items():
        prompt = family().apply_chat_template(
            [{"role": "user", "content": "q"}], tokenize=False, add_generation_prompt=True
        )
        assert prompt == f"<bos><|user|>q{ASSISTANT}" + ("<think>\n" if name in OPENS_THOUGHT else "")


@pytest.mark.parametrize("family", LOSSLESS)
def test_byte_level_families_give_back_every_text(family: str, tokenizer_of: TokenizerOf) -> None:
    tokenizer = tokenizer_of(family)
    assert tokenizer.decode(ids_of(tokenizer, HARD_TEXT), skip_special_tokens=False) == HARD_TEXT


def test_a_closing_bracket_and_its_newlines_are_one_token_of_the_fused_family(tokenizer_of: TokenizerOf) -> None:
    # byte-level vocabularies spell a newline "Ċ"
    assert tokens_of(tokenizer_of("byte_bpe_fused"), "</end_search>\n\n")[-1] == ">ĊĊ"
    assert tokens_of(tokenizer_of("byte_bpe"), "</end_search>\n\n")[-3:] == [">", "Ċ", "Ċ"]


@pytest.mark.parametrize("family", ["byte_bpe_added_tags", "byte_bpe_special_tags"])
def test_each_tag_is_one_added_token(family: str, tokenizer_of: TokenizerOf) -> None:
    tokenizer = tokenizer_of(family)
    assert [len(ids_of(tokenizer, f"a{tag}b")) for tag in TAGS] == [3] * len(TAGS)
    assert set(TAGS) <= set(tokenizer.get_added_vocab())


def test_only_special_tags_vanish_when_special_tokens_are_skipped(tokenizer_of: TokenizerOf) -> None:
    added, special = tokenizer_of("byte_bpe_added_tags"), tokenizer_of("byte_bpe_special_tags")
    assert added.decode(ids_of(added, "a<think>b"), skip_special_tokens=True) == "a<think>b"
    assert special.decode(ids_of(special, "a<think>b"), skip_special_tokens=True) == "ab"


def test_only_the_bos_family_puts_bos_before_a_bare_encode(any_tokenizer: PreTrainedTokenizerFast, request) -> None:
    begins = any_tokenizer.encode("New York")[0] == any_tokenizer.bos_token_id
    assert begins == ("byte_bpe_bos" in request.node.callspec.id)


def test_sentencepiece_spells_unknown_characters_in_bytes_and_drops_a_first_space(tokenizer_of: TokenizerOf) -> None:
    tokenizer = tokenizer_of("sentencepiece_bpe")
    assert tokens_of(tokenizer, "\n") == ["▁", "<0x0A>"]
    assert tokenizer.decode(ids_of(tokenizer, "a") + ids_of(tokenizer, "b")) == "a b"  # every encode starts a word
    assert tokenizer.decode(ids_of(tokenizer, "a")) == "a"


def test_word_level_knows_no_tag(tokenizer_of: TokenizerOf) -> None:
    tokenizer = tokenizer_of("word_level")
    assert {token for tag in TAGS for token in tokens_of(tokenizer, tag)} == {"<unk>"}


def test_wordpiece_loses_how_a_tag_was_spelled(tokenizer_of: TokenizerOf) -> None:
    tokenizer = tokenizer_of("wordpiece")
    assert tokenizer.decode(ids_of(tokenizer, "<think>")) == "< think >"


def test_building_all_families_takes_less_than_five_seconds() -> None:
    started = time.process_time()
    for family in FAMILIES.values():
        family.cache_clear()  # type: ignore[attr-defined]
        family()
    assert time.process_time() - started < 5
