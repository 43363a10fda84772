"""Rows that were born with ids keep them, after it is certain that they are this tokenizer's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from record_strategies import heads, responses
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, Codec, Role, Source, StopReason
from autocoa_plugin.data.play import text_ids, to_trajectory
from autocoa_plugin.data.records import CoaRecord, CotRecord, Piece, TextRecord
from autocoa_plugin.errors import DataError, TokenizerError
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.tokenization import fingerprint

TOKENIZER = CharTokenizer(["ab"])  # "ab" is one token, 3,000,000
CODEC = Codec(TOKENIZER, AUTOCOA)
NAME = fingerprint(TOKENIZER)
PROMPT = (ord("q"),)


def record(*pieces, tokenizer=NAME, prompt=PROMPT):
    acts = any(piece.role is Role.ACTION for piece in pieces)
    return (CoaRecord if acts else CotRecord)("r7", "autocoa", prompt_ids=prompt, tokenizer=tokenizer, segments=pieces)


ANSWER = Piece(Role.ANSWER, Source.POLICY, "\\boxed{c}", tuple(map(ord, "\\boxed{c}")))


def test_ids_that_differ_from_the_re_tokenised_text_are_kept():
    # the policy sampled "a" and "b" apart, which the tokenizer would never write
    kept = to_trajectory(record(Piece(Role.THOUGHT, Source.POLICY, "ab", (97, 98)), ANSWER), CODEC, PROMPT)
    assert CODEC.encode("ab") == [3_000_000]
    assert kept.response_ids[:2] == [97, 98]
    assert kept.response_ids[2:] == list(ANSWER.ids or ()) and kept.stop_reason is StopReason.ANSWERED


def test_nothing_is_added_to_a_row_with_ids():
    kept = to_trajectory(record(Piece(Role.THOUGHT, Source.POLICY, "x", (120,))), CODEC, PROMPT)
    assert (kept.prompt_ids, kept.response_ids, kept.stop_reason) == (PROMPT, [120], StopReason.NO_ANSWER)


def test_roles_and_sources_are_kept_as_given():
    pieces = (
        Piece(Role.ACTION, Source.POLICY, "a", (1,)),
        Piece(Role.OBSERVATION, Source.ENVIRONMENT, "b", (2,)),
        Piece(Role.OBSERVATION, Source.POLICY, "c", (3,)),  # imagined
        Piece(Role.THOUGHT, Source.POLICY, "", (4,)),
        Piece(Role.ANSWER, Source.TEMPLATE, "d", (5,)),
        Piece(Role.ANSWER, Source.POLICY, "e", ()),
    )
    kept = to_trajectory(record(*pieces), CODEC, PROMPT)
    assert [Piece(each.role, each.source, each.text, each.ids) for each in kept.segments] == list(pieces)
    assert kept.response_mask == [1, 0, 0, 1, 0]
    assert kept.forced_answer


@settings(max_examples=40)  # a record takes hypothesis far longer to draw than us to play
@given(heads(with_ids=True), responses(with_ids=True, acts=True))
def test_ids_are_kept_in_order_whatever_they_are(head, pieces):
    row = CoaRecord(**{**head, "tokenizer": NAME, "prompt_ids": PROMPT}, segments=pieces)
    kept = to_trajectory(row, CODEC, PROMPT)
    assert kept.response_ids == [token for piece in pieces for token in piece.ids]


@pytest.mark.parametrize("other", ["0123456789abcdef", None])
def test_ids_of_another_models_tokenizer_are_refused_naming_row_and_both_fingerprints(other):
    with pytest.raises(TokenizerError) as caught:
        to_trajectory(record(ANSWER, tokenizer=other), CODEC, PROMPT)
    for part in ("row 'r7' was made with another model's tokenizer", f"fingerprint is {other}", f"model's is {NAME}"):
        assert part in str(caught.value)


def test_an_id_beyond_the_vocabulary_is_refused_naming_row_and_piece():
    tokenizer = FAMILIES["byte_bpe"]()
    codec, size = Codec(tokenizer, AUTOCOA), len(tokenizer)
    for last in (0, size - 1):
        row = record(replace(ANSWER, ids=(last,)), tokenizer=fingerprint(tokenizer))
        assert to_trajectory(row, codec, PROMPT).response_ids == [last]
    row = record(ANSWER, replace(ANSWER, ids=(5, size)), tokenizer=fingerprint(tokenizer))
    with pytest.raises(
        TokenizerError, match=rf"row 'r7': piece 2 \(answer\) has ids from 5 to {size}, .* 0 to {size - 1}"
    ):
        to_trajectory(row, codec, PROMPT)
    row = record(replace(ANSWER, ids=(1,)), tokenizer=fingerprint(tokenizer), prompt=(size,))
    with pytest.raises(TokenizerError, match="row 'r7': prompt_ids has ids from"):
        to_trajectory(row, codec, (size,))


def test_another_prompt_than_the_row_was_born_with_is_refused():
    with pytest.raises(DataError, match="row 'r7' was born with a prompt of 1 ids, got another one of 2"):
        to_trajectory(record(ANSWER), CODEC, (ord("q"), ord("r")))


def test_the_ids_of_plain_text_are_checked_and_kept():
    assert text_ids(TextRecord("t", "ab", ids=(97, 98), tokenizer=NAME), CODEC) == (97, 98)
    with pytest.raises(TokenizerError, match="row 't' was made with another model's tokenizer"):
        text_ids(TextRecord("t", "ab", ids=(97, 98), tokenizer="f" * 16), CODEC)
