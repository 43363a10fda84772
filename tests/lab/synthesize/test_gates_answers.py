"""Where a right answer comes from: leaked by the question, or supported by what was thought and read."""

from __future__ import annotations

import pytest
from gate_attempts import attempt, boxed, found, search
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.lab.synthesize.gate import GateSettings
from autocoa_plugin.lab.synthesize.gates_text import stands_in


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
