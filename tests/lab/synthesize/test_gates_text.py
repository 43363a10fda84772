"""Gates about text: where a right answer comes from, and how a chain is written."""

from __future__ import annotations

import dataclasses
import json
import os
import random
from pathlib import Path

import pytest
from gate_attempts import attempt, boxed, found, search
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.synthesize.gate import GateSettings
from autocoa_plugin.lab.synthesize.gates_text import (
    compression_ratio,
    foreign_letter_share,
    has_repeated_run,
    scripts,
    stands_in,
    written_text,
)


def leaks(question: str, *golds: str, **settings: int) -> bool:
    chain = attempt(["I am sure. " + boxed(golds[0])], question=question, golds=golds)
    return "leaked_answer" in found(chain, GateSettings(**settings), is_right=False)


def unsupported(*turns: str, golds: tuple[str, ...] = ("Paris",), answers: dict[str, str] | None = None) -> bool:
    return "unsupported" in found(attempt(turns, answers, golds=golds))


@pytest.mark.parametrize(
    ("question", "gold"),
    [
        ("What is the name of the city of Paris?", "Paris"),
        ("Which Paris-based company is it?", "Paris"),
        ("Who founded the Bill T. Jones/Arnie Zane Dance Company?", "Bill T. Jones"),
        ("In which year after 2006 did it happen, in 2006?", "2006"),
    ],
)
def test_a_gold_answer_that_stands_in_the_question_is_leaked(question, gold):
    assert leaks(question, gold)


@pytest.mark.parametrize(
    ("question", "gold"),
    [
        ("What is the capital of France?", "Paris"),
        ("What do Parisians speak?", "Paris"),  # no whole word
        ("What is the Paris of the East of Europe?", "Paris East"),  # not consecutive
    ],
)
def test_a_gold_answer_that_does_not_stand_there_as_whole_words_is_not(question, gold):
    assert not leaks(question, gold)


@pytest.mark.parametrize(
    "question",
    [
        "Which came first, Paris or Rome?",
        "Between Rome and Paris, which is older?",
        "Out of Rome and Paris, which is older?",
        "Which of Paris and Rome is older?",
        "Of Paris and Rome, which is older?",
        "Regarding Rome and Paris, which is older?",
    ],
)
def test_a_question_that_offers_its_answers_leaks_none(question):
    assert not leaks(question, "Paris")


@pytest.mark.parametrize("gold", ["yes", "No.", "noanswer"])
def test_closed_answers_are_not_looked_for_in_the_question(gold):
    assert not leaks("Is there no way to say yes when noanswer is given?", gold)


def test_a_gold_answer_shorter_than_the_threshold_is_not_looked_for():
    assert not leaks("Do tell us what U.S. means?", "US")
    assert leaks("Do tell us what U.S. means?", "US", leaked_answer_characters=2)


def test_one_leaked_spelling_of_several_is_enough():
    assert leaks("Who is the man called Mark Twain?", "Samuel Clemens", "Mark Twain")


def test_a_leaked_question_concerns_wrong_chains_too_since_no_change_of_them_could_be_kept():
    chain = attempt(["hm " + boxed("Rome")], question="Where is Paris, Texas?", golds=("Paris",))
    assert found(chain, is_right=False) == ("leaked_answer",)


def test_an_answer_that_a_thought_has_is_supported():
    assert not unsupported("It must be Paris. " + boxed("Paris"))


def test_an_answer_that_only_an_observation_has_is_supported():
    assert not unsupported(search("q"), "I see. " + boxed("Paris"), answers={"q": "Paris-based, it says"})


def test_an_answer_that_stands_nowhere_but_in_the_answer_is_not():
    assert unsupported("I guess. </think> It is Paris, so \\boxed{Paris}<eos>")


def test_an_answer_that_only_a_query_has_is_not():
    assert unsupported(search("Paris"), "I see. " + boxed("Paris"))


def test_a_part_of_a_word_supports_nothing():
    assert unsupported("Parisians. " + boxed("Paris"))


def test_another_gold_spelling_of_the_answer_supports_it():
    chain = ("It was Samuel Clemens. " + boxed("Mark Twain"),)
    assert not unsupported(*chain, golds=("Mark Twain", "Samuel Clemens"))


def test_a_tag_that_touches_the_answer_does_not_hide_it():
    assert not unsupported("Paris" + boxed("Paris"))


@pytest.mark.parametrize("text", ["“Paris”", "Rome—Paris", "(Paris).", "Paris's", "<b>Paris</b>"])
def test_punctuation_around_the_answer_does_not_hide_it(text):
    assert stands_in(["Paris"], text)


def test_scripts_without_spaces_are_compared_by_character():
    assert stands_in(["北京"], "首都是北京。") and stands_in(["Paris"], "首都是Paris。")
    assert not stands_in(["北京"], "北方的京都")


def test_what_stands_on_two_sides_of_an_action_is_not_one_phrase():
    assert unsupported("It was New " + search("q"), "York it is " + boxed("New York"), golds=("New York",))


@pytest.mark.parametrize("gold", ["yes", "no", "No."])
def test_yes_and_no_cannot_be_looked_for_and_pass(gold):
    assert not unsupported("I guess. " + boxed(gold), golds=(gold,))


@given(st.text(), st.text(), st.text(min_size=1))
def test_an_answer_stands_in_every_text_that_has_it_between_spaces(before, after, answer):
    has_words = stands_in([answer], answer)
    assert stands_in([answer], f"{before} {answer} {after}") == has_words or not has_words


@given(st.text())
def test_an_answer_without_words_stands_nowhere(text):
    assert not stands_in(["", "?", "the", " "], text)


# How a chain is written: loops, and scripts that do not belong.


DATA = Path(os.environ.get("AUTOCOA_REAL_DATA") or Path(__file__).parents[3] / "../shared/data")
PASSAGES = DATA / "wiki_6k_corpus.jsonl"
DEFAULT = GateSettings()
WORDS = st.lists(st.sampled_from("abc"), max_size=40)
RUSSIAN = "Пушкин родился в Москве"


def loops(text: str) -> bool:
    return has_repeated_run(
        text.split(),
        times=DEFAULT.repeated_times,
        least=DEFAULT.repeated_words,
        longest=DEFAULT.repeated_run_words,
    )


def thought(text: str, **more) -> tuple[str, ...]:
    """What the gates find in a chain that thinks this and knows the answer."""
    return found(attempt([f"{text} It is Paris. {boxed('Paris')}"], **more), is_right=False)


def test_a_sentence_four_times_in_a_row_is_repetition_in_right_and_wrong_chains():
    assert thought("I need the capital. " * 4) == ("repetition",)


def test_a_sentence_three_times_in_a_row_is_not():
    assert thought("I need the capital. " * 3) == ()


def test_a_loop_across_actions_is_found_by_what_the_policy_wrote():
    turns = ["I need it " + search("capital of France")] * 4 + ["Paris " + boxed("Paris")]
    assert found(attempt(turns)) == ("repetition",)


def test_a_loop_inside_an_observation_is_none_of_the_policys():
    observed = {"q": "I need the capital. " * 40}
    assert found(attempt([search("q"), "Paris " + boxed("Paris")], observed)) == ()


def test_few_words_are_no_loop_however_often_they_come():
    assert not loops("no " * 11)
    assert loops("no " * 12)


def test_a_run_longer_than_the_setting_is_no_run():
    run = " ".join(f"w{number}" for number in range(51))
    assert not loops(f"{run} " * 4)
    assert loops(f"{run.removesuffix(' w50')} " * 4)


@given(WORDS, WORDS, WORDS, st.integers(1, 6))
def test_whatever_is_repeated_often_enough_is_found_wherever_it_stands(before, after, run, times):
    words = [*before, *run * times, *after]
    if run and times >= 2:
        assert has_repeated_run(words, times=times, least=len(run) * times, longest=len(run))


@given(WORDS, st.integers(2, 4), st.integers(2, 8), st.integers(1, 10))
def test_a_run_is_found_exactly_where_going_word_by_word_finds_one(words, times, least, longest):
    def stretch(start: int, length: int) -> int:
        """How many words from `start` on repeat its first `length`, again and again."""
        end = min(start + length, len(words))
        while start + length <= end < len(words) and words[end] == words[end - length]:
            end += 1
        return end - start

    places = [(start, length) for start in range(len(words)) for length in range(1, longest + 1)]
    expected = any(stretch(start, length) >= max(times * length, least) for start, length in places)
    assert has_repeated_run(words, times=times, least=least, longest=longest) == expected


def test_a_loop_in_chinese_is_found_without_spaces():
    assert thought("我需要首都。" * 3, question="首都?") == ()
    assert thought("我需要首都。" * 4, question="首都?") == ("repetition",)


def test_the_same_sentences_in_ever_new_order_compress_too_well():
    sentences = ["So it is spelled with a c.", "No, it is not right.", "Let me think about it again.", "Is it cinq?"]
    rounds = random.Random(0)
    text = " ".join(" ".join(rounds.sample(sentences, 4)) for _ in range(20))
    assert not loops(text)
    assert thought(text) == ("repetition",)


def test_a_text_shorter_than_a_window_is_not_compressed():
    assert compression_ratio("a" * 999, 1000) == 0.0
    assert compression_ratio("a" * 1000, 1000) > 10


def test_a_loop_in_the_middle_of_a_long_text_is_found():
    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz ", k=6000)
    varied = "".join(letters)
    assert compression_ratio(varied, 1000) < 2
    assert compression_ratio(varied[:2300] + "round and round. " * 100 + varied[2300:], 1000) > 10


@given(st.text(min_size=100, max_size=300))
def test_the_ratio_does_not_depend_on_the_alphabet(text):
    shifted = "".join(chr(0x20000 + ord(character) % 0x8000) for character in text)
    assert len(set(shifted)) < len(set(text)) or compression_ratio(shifted, 100) == compression_ratio(text, 100)


@pytest.mark.skipif(not PASSAGES.exists(), reason=f"needs {PASSAGES.name} in {DATA} (set AUTOCOA_REAL_DATA)")
def test_no_real_passage_is_taken_for_a_loop():
    texts = [json.loads(line)["text"] for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    assert not any(map(loops, texts))
    # the highest of 640 was 2.58
    assert max(compression_ratio(text, DEFAULT.compression_window_characters) for text in texts) < 2.7


def test_chinese_within_an_english_chain_is_a_mix():
    assert thought("The capital of that country is, 我认为, well known.") == ("language_mix",)


def test_a_script_that_the_question_a_gold_answer_or_an_observation_uses_is_none():
    assert thought(RUSSIAN, question="Where was Пушкин born?") == ()
    assert thought(RUSSIAN, golds=("Paris", "Париж")) == ()
    assert found(attempt([search("q"), f"{RUSSIAN} Paris {boxed('Paris')}"], {"q": "Пушкин"})) == ()


def test_a_script_that_only_the_policy_writes_in_a_query_is_a_mix():
    assert found(attempt([search(RUSSIAN), "Paris " + boxed("Paris")])) == ("language_mix",)


def test_one_name_in_its_own_script_in_a_long_chain_is_no_mix():
    sentence = "We ask which city in France is the seat of its government. "
    # 2 letters of some 160 are more than 0.01, 2 of 300 are less
    assert thought(sentence * 3 + "北京 is another.") == ("language_mix",)
    assert thought(sentence * 3 + "Then we ask the same for every other country. " * 3 + "北京 is another.") == ()


def test_latin_letters_are_at_home_in_every_chain():
    assert foreign_letter_share("国内总产值 (GDP) is 10 km", "国") == 0.0


def test_japanese_is_written_in_three_scripts():
    assert foreign_letter_share("カタカナ 漢字 ひらがな", "これ") == 0.0
    assert foreign_letter_share("かな", "国") == 1.0


def test_symbols_and_styled_letters_belong_to_the_script_they_look_like():
    styled = (
        "\N{MICRO SIGN}\N{MATHEMATICAL BOLD CAPITAL A}\N{FEMININE ORDINAL INDICATOR}\N{FULLWIDTH LATIN SMALL LETTER A}"
    )
    assert scripts(f"{styled}, 12 + \N{HORIZONTAL ELLIPSIS}") == {"GREEK": 1, "LATIN": 3}


def test_a_chain_without_letters_mixes_nothing():
    assert foreign_letter_share("12 + 30 = 42", "") == 0.0


@given(st.text())
def test_a_text_is_at_home_in_itself(text):
    assert foreign_letter_share(text, text) == 0.0


@given(st.text(), st.text())
def test_a_share_is_between_none_and_all(text, known):
    assert 0.0 <= foreign_letter_share(text, known) <= 1.0


def test_a_protocol_of_an_unknown_name_is_refused_since_its_tags_would_be_read_as_words():
    trajectory = attempt([boxed("Paris")]).sample.trajectory
    with pytest.raises(ConfigError, match=r"'autocao'.*did you mean 'autocoa'"):
        written_text(dataclasses.replace(trajectory, protocol="autocao"))
