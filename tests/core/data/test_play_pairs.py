"""The two sides of a pair share the ids of their prefix, and differ after it."""

from __future__ import annotations

import copy

import pytest
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, Codec, Role, Source
from autocoa_plugin.data.play import pair_to_trajectories
from autocoa_plugin.data.records import Message, PairRecord, Piece
from autocoa_plugin.errors import DataError, TokenizerError
from autocoa_plugin.testing import EOS_ID, CharTokenizer
from autocoa_plugin.tokenization import fingerprint

CODEC = Codec(CharTokenizer(), AUTOCOA)
OPENED, PLAIN = CODEC.encode("q<think>\n"), CODEC.encode("q")
T, A, O, E = Role.THOUGHT, Role.ACTION, Role.OBSERVATION, Role.ANSWER  # noqa: E741
SEARCH, FOUND = "<begin_search> s </end_search>", "\n\n<search_result> d </search_result>\n\n"
STEP = [(A, SEARCH)]
ACTING = [(A, SEARCH), (O, FOUND), (T, "so</think>"), (E, "yes")]
RECALL = [(T, "I know</think>"), (E, "no")]


def pair(prefix, chosen, rejected):
    sides = [
        tuple(Piece(role, Source.ENVIRONMENT if role is O else Source.POLICY, text) for role, text in side)
        for side in (prefix, chosen, rejected)
    ]
    return PairRecord("p7", "autocoa", (Message("user", "q"),), prefix=sides[0], chosen=sides[1], rejected=sides[2])


def played(prefix, chosen, rejected, prompt=OPENED, codec=CODEC):
    return pair_to_trajectories(pair(prefix, chosen, rejected), codec, prompt)


def test_both_sides_share_the_prefix_and_each_goes_its_way():
    sides = played([(T, "first ")], ACTING, RECALL)
    assert sides.n_shared == len("first ")
    assert sides.chosen.text() == f"first {SEARCH}{FOUND}so</think>yes<eos>"
    assert sides.rejected.text() == "first I know</think>no<eos>"
    assert [each.role for each in sides.chosen.segments] == [T, A, O, T, E]
    # 6 thought, 30 action, 38 observation, 10 thought, 4 answer with its end
    assert sides.chosen.response_mask == [1] * 36 + [0] * 38 + [1] * 14


def test_a_side_that_stops_at_the_decision_gets_no_end_of_sequence():
    sides = played([(T, "first ")], STEP, [(T, "I know it.")])
    assert sides.chosen.text() == "first " + SEARCH
    assert sides.rejected.text() == "first I know it."
    assert EOS_ID not in sides.chosen.response_ids + sides.rejected.response_ids


def test_a_prefix_may_hold_whole_actions_and_their_observations():
    sides = played([(T, "a"), (A, SEARCH), (O, FOUND), (T, "b")], ACTING, RECALL)
    assert sides.n_shared == len(f"a{SEARCH}{FOUND}b")
    assert sides.chosen.response_ids[: sides.n_shared] == sides.rejected.response_ids[: sides.n_shared]
    assert [each.role for each in sides.rejected.segments] == [T, A, O, T, E]


def test_a_prefix_may_end_in_an_observation_or_in_the_action_before_one():
    prefix = [(T, "a"), (A, SEARCH), (O, FOUND)]
    sides = played(prefix, [(T, "yes</think>"), (E, "y")], [(T, "no</think>"), (E, "n")])
    assert sides.n_shared == len(f"a{SEARCH}{FOUND}")
    other = FOUND.replace("d", "e")
    sides = played(prefix[:2], [(O, FOUND), (T, "x")], [(O, other), (T, "x")])
    assert sides.n_shared == len(f"a{SEARCH}")
    assert (sides.chosen.text(), sides.rejected.text()) == (f"a{SEARCH}{FOUND}x", f"a{SEARCH}{other}x")


def test_a_prefix_that_ends_inside_an_observation_is_refused():
    prefix = [(T, "a"), (A, SEARCH), (O, "<search_result> d")]
    with pytest.raises(DataError, match=r"row 'p7': chosen\[0\].role: the prefix ends inside an observation"):
        played(prefix, [(O, " e </search_result>"), (T, "x")], [(O, " f </search_result>"), (T, "x")])


@pytest.mark.parametrize(
    ("prompt", "prefix", "expected"),
    [
        (OPENED, "<think>\nfirst ", "first "),
        (PLAIN, "<think>\nfirst ", "<think>\nfirst "),
        (PLAIN, "first ", "<think>\nfirst "),  # one side closes what nobody has opened: both get the opening
        (OPENED, "<think>\n", ""),
    ],
)
def test_the_opening_of_the_thought_is_the_same_on_both_sides(prompt, prefix, expected):
    sides = played([(T, prefix)], RECALL, STEP, prompt=prompt)
    assert sides.n_shared == len(expected)
    assert sides.chosen.text() == expected + "I know</think>no<eos>"
    assert sides.rejected.text() == expected + SEARCH


def test_a_token_that_would_reach_over_the_end_of_the_prefix_is_not_used():
    # "b<" is one token: encoded as a whole, the chosen side would not begin with the prefix's ids
    codec = Codec(CharTokenizer(["b<"]), AUTOCOA)
    sides = played([(T, "ab")], STEP, RECALL, codec=codec)
    assert codec.encode("ab<")[1:] == [3_000_000]
    assert sides.n_shared == 2
    assert sides.chosen.response_ids[:3] == [97, 98, ord("<")]


@pytest.mark.parametrize("family", ["byte_bpe", "byte_bpe_fused", "sentencepiece_bpe", "unigram"])
@pytest.mark.parametrize("prefix", ["the river", "the river ", "was built in.\n", "é🙂"])
def test_the_prefix_is_shared_token_for_token_in_every_family(family, prefix):
    codec = Codec(FAMILIES[family](), AUTOCOA)
    sides = played(
        [(T, prefix)], ACTING, [(T, " was built</think>"), (E, "\nno")], codec=codec, prompt=codec.encode("<think>\n")
    )
    shared = sides.chosen.response_ids[: sides.n_shared]
    assert shared == sides.rejected.response_ids[: sides.n_shared] == codec.encode(prefix)
    assert sides.chosen.response_ids != sides.rejected.response_ids


def test_a_continuation_is_encoded_in_its_place_unless_a_token_reaches_over():
    codec, prompt = Codec(FAMILIES["sentencepiece_bpe"](), AUTOCOA), [0]
    rejected = [(T, " zzz</think>"), (E, "x")]
    sides = played([(T, "<think>the old")], [(T, " king</think>"), (E, "x")], rejected, prompt, codec)
    assert sides.chosen.response_ids[:-1] == codec.encode("<think>the old king</think>x")
    # "king" is one token and "k" another: the side is encoded by itself, where SentencePiece begins a word
    sides = played([(T, "<think>the old k")], [(T, "ing</think>"), (E, "x")], rejected, prompt, codec)
    assert sides.chosen.text() == "<think>the old k ing</think>x<eos>"


def test_sides_that_the_tokenizer_does_not_tell_apart_are_refused():
    tokenizer = copy.deepcopy(FAMILIES["word_level"]())
    tokenizer.add_tokens(list(AUTOCOA.tags()))
    codec = Codec(tokenizer, AUTOCOA)
    with pytest.raises(DataError, match="row 'p7': chosen and rejected have the same ids"):
        played([(T, "the river")], [(T, " zzz")], [(T, " yyy")], codec=codec, prompt=codec.encode("<think>"))


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_bad_side_is_named(side):
    sides = {"chosen": RECALL, "rejected": RECALL[:1], side: [(A, SEARCH), (O, "d"), (T, "x")]}
    with pytest.raises(DataError, match=rf"row 'p7': {side}\[1\].text: an observation of 'search' must begin with"):
        played([(T, "first ")], sides["chosen"], sides["rejected"])


def born(tokenizer, **changed):
    fields = {
        "prefix": (Piece(T, Source.POLICY, "a", (97,)),),
        "chosen": (Piece(A, Source.POLICY, "b", (98,)),),
        "rejected": (Piece(T, Source.POLICY, "c", (99,)),),
    }
    return PairRecord("p7", "autocoa", prompt_ids=(1,), tokenizer=tokenizer, **{**fields, **changed})


def test_ids_of_a_pair_are_kept_and_checked():
    name = fingerprint(CharTokenizer())
    sides = pair_to_trajectories(born(name), CODEC, (1,))
    assert (sides.chosen.response_ids, sides.rejected.response_ids, sides.n_shared) == ([97, 98], [97, 99], 1)
    with pytest.raises(TokenizerError, match="row 'p7' was made with another model's tokenizer"):
        pair_to_trajectories(born("f" * 16), CODEC, (1,))
    same = (Piece(T, Source.POLICY, "other text, same id", (98,)),)
    with pytest.raises(DataError, match="row 'p7': chosen and rejected have the same ids"):
        pair_to_trajectories(born(name, rejected=same), CODEC, (1,))
