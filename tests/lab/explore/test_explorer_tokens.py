"""Token lengths: they add up to the text in UTF-16 code units, for every kind of tokenizer."""

from __future__ import annotations

import pytest
from explorer_files import said
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES, LOSSLESS, TAGS

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.explore.tokens import TokenSpeller, load_speller
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.trajectory import Role, Segment, Source

HARD = "so <think> Kipling's naïve 🙂\t<begin_search> x  y</end_search>\n\n\\boxed{New York}</think>\n\n end "
WORDS = st.sampled_from([*TAGS, "the river", " ", "\n", "🙂", "é", "Kraków ", "日本", "12", "\u200d", "\ufffd", "."])


def speller_of(name: str) -> TokenSpeller:
    tokenizer = FAMILIES[name]()
    anchor = tokenizer.encode("a", add_special_tokens=False)
    return TokenSpeller(lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False)), anchor)


def encode(name: str, text: str) -> tuple[int, ...]:
    return tuple(FAMILIES[name]().encode(text, add_special_tokens=False))


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@pytest.mark.parametrize("name", LOSSLESS)
@given(text=st.lists(WORDS, min_size=1).map("".join))
def test_lengths_add_up_to_the_text_of_a_lossless_tokenizer(name, text):
    (tokens,) = speller_of(name).tokens([Segment(Role.THOUGHT, Source.POLICY, encode(name, text), text)])
    assert tokens is not None and sum(tokens.lengths) == utf16(text)
    assert min(tokens.lengths) >= 0 and len(tokens.lengths) == len(tokens.ids)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_tells_the_lengths_of_what_it_has_decoded(name):
    speller = speller_of(name)
    ids = encode(name, HARD)
    text = speller.decode(ids)
    (tokens,) = speller.tokens([Segment(Role.THOUGHT, Source.POLICY, ids, text)])
    assert tokens is not None and sum(tokens.lengths) == utf16(text)


def test_the_token_that_completes_a_character_spells_it():
    # GPT-2's bytes: the vocabulary has no token for any part of 🙂, which is 4 bytes and 2 UTF-16 code units
    (tokens,) = speller_of("byte_bpe").tokens([Segment(Role.THOUGHT, Source.POLICY, encode("byte_bpe", "🙂"), "🙂")])
    assert tokens is not None and tokens.lengths == (0, 0, 0, 2)


def test_injected_text_that_loses_white_space_still_has_tokens():
    # wordpiece knows neither line breaks nor doubled blanks, and puts one before a bracket
    text = "\n\n<New  York>(so)\n"
    ids = encode("wordpiece", text)
    (tokens,) = speller_of("wordpiece").tokens([Segment(Role.OBSERVATION, Source.ENVIRONMENT, ids, text)])
    assert tokens is not None and sum(tokens.lengths) == len(text)


def test_a_token_that_straddles_two_segments_is_told_where_it_belongs():
    # ".<" is one token and belongs to the action; the "." it spells in the thought goes to the token before it
    tokenizer = CharTokenizer(merges=[".<"])
    ids = tuple(tokenizer.encode("ab.<s>"))
    thought = Segment(Role.THOUGHT, Source.POLICY, ids[:2], "ab.", (-1.0, -2.0))
    action = Segment(Role.ACTION, Source.POLICY, ids[2:], "<s>", (-3.0, -4.0, -5.0))
    first, second = TokenSpeller(tokenizer.decode).tokens([thought, action])
    assert first is not None and (first.ids, first.lengths, first.logprobs) == (ids[:2], (1, 2), (-1.0, -2.0))
    assert second is not None and (second.lengths, second.logprobs) == ((1, 1, 1), (-3.0, -4.0, -5.0))


def test_another_tokenizers_ids_have_no_tokens_and_are_counted_by_segment():
    speller = TokenSpeller(CharTokenizer().decode)
    wrong = Segment(Role.OBSERVATION, Source.ENVIRONMENT, (1, 2, 3), "right")
    assert speller.tokens([said(Role.THOUGHT, "right"), wrong])[1] is None
    assert (speller.segments, speller.missed) == (2, 1)


def test_white_space_without_ids_is_not_counted_as_missed():
    speller = TokenSpeller(CharTokenizer().decode)
    assert speller.tokens([Segment(Role.OBSERVATION, Source.ENVIRONMENT, (), " ")]) == [None]
    assert (speller.segments, speller.missed) == (0, 0)


def test_a_replacement_character_of_the_text_itself_has_its_tokens():
    # it is three bytes, EF BF BD, each of which alone decodes to the same character
    ids = encode("byte_bpe", "\ufffd a")
    (tokens,) = speller_of("byte_bpe").tokens([Segment(Role.THOUGHT, Source.POLICY, ids, "\ufffd a")])
    assert tokens is not None and sum(tokens.lengths) == 3


def test_a_saved_tokenizer_is_loaded_from_its_folder(tmp_path):
    FAMILIES["byte_bpe"]().save_pretrained(tmp_path)
    ids = encode("byte_bpe", HARD)
    assert load_speller(tmp_path).decode(ids) == HARD


def test_a_folder_without_tokenizer_and_a_broken_one_are_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no tokenizer that can be loaded"):
        load_speller(tmp_path / "nothing")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer\.json is no tokenizer"):
        load_speller(tmp_path)
