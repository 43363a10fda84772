"""A released checkpoint of Search-R1 is shown the very text that it was trained with.

The expected texts are upstream's, spelled out: github.com/PeterGriffinJin/Search-R1 at
a14dc3a4ffc6fe88c1e95038d9738e21ba3f7a06, `execute_predictions` and `_passages2string` in
search_r1/llm_agent/generation.py, `make_prefix` in scripts/data_process/nq_search.py; documents as in its corpus
wiki-18, where a passage is a title in quotes, a line break, and the text.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from chat_tokenizer import ChatTokenizer
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin import AUTOCOA, SEARCH_R1, Codec, Limits, Role, Source, StopReason, Trajectory, rollout, score
from autocoa_plugin.environments.tools import SearchEnvironment
from autocoa_plugin.prompts import prompt_ids
from autocoa_plugin.retrieval.base import Document, split_contents
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.trajectory import Origin, Outcome

INVALID = (
    "\nMy previous action is invalid. If I want to search, I should put the query between <search> and </search>. If I "
    "want to give the final answer, I should put the answer between <answer> and </answer>. Let me try again.\n"
)
CONTENTS = ['"Kim (novel)"\nKim is a novel by Rudyard Kipling.', '"Rudyard Kipling"\nBorn in Bombay.\nDied in London. ']
OBSERVATION = (
    '\n\n<information>Doc 1(Title: "Kim (novel)") Kim is a novel by Rudyard Kipling.\n'
    'Doc 2(Title: "Rudyard Kipling") Born in Bombay.\nDied in London.</information>\n\n'
)
CODEC = Codec(CharTokenizer(), SEARCH_R1)
LIMITS = Limits(max_response_tokens=4000, answer_reserve_tokens=100)
ANSWER = "<think> so </think> <answer> Bombay </answer>"


class Corpus:
    """Answers every query with the same passages."""

    def __init__(self, contents: list[str]) -> None:
        self.documents = [Document(str(number), *split_contents(each)) for number, each in enumerate(contents)]

    async def search_counted(self, queries: list[str], top_k: int) -> list[tuple[list[Document], bool]]:
        return [(self.documents[:top_k], False) for _ in queries]


def play(turns, environment=None, *, limits=LIMITS, protocol=SEARCH_R1) -> tuple[Trajectory, ScriptedEngine]:
    codec = Codec(CharTokenizer(), protocol)
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    answers = environment or ScriptedEnvironment({})
    return asyncio.run(rollout([1], engine=engine, environment=answers, codec=codec, limits=limits)), engine


def test_the_question_is_put_as_upstream_puts_it():
    tokenizer = ChatTokenizer()
    for question in ("where was the author of kim born", " where was the author of kim born? "):
        ids = prompt_ids(tokenizer, [{"role": "user", "content": question}], system_prompt="search_r1_search")
        assert tokenizer.decode(ids) == (
            "<user>Answer the given question. You must conduct reasoning inside <think> and </think> first every time "
            "you get new information. After reasoning, if you find you lack some knowledge, you can call a search "
            "engine by <search> query </search> and it will return the top searched results between <information> and "
            "</information>. You can search as many times as your want. If you find no further external knowledge "
            "needed, you can directly provide the answer inside <answer> and </answer>, without detailed "
            "illustrations. For example, <answer> Beijing </answer>. Question: where was the author of kim born?\n"
            "<assistant>"
        )


def test_documents_are_shown_as_upstream_shows_them():
    search = SearchEnvironment(Corpus(CONTENTS))
    trajectory, _ = play(["<think> a </think> <search> author of kim </search>", ANSWER], search)
    assert [each.text for each in trajectory.segments if each.role is Role.OBSERVATION] == [OBSERVATION]
    assert trajectory.stop_reason is StopReason.ANSWERED and score(trajectory, ["bombay"], SEARCH_R1).total == 1


def test_a_search_that_finds_nothing_is_shown_as_upstream_shows_it():
    trajectory, _ = play(["<search> q </search>", ANSWER], SearchEnvironment(Corpus([])))
    assert trajectory.segments[1].text == "\n\n<information></information>\n\n"
    assert trajectory.counts.empty_results == 1


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="<"), max_size=40))
def test_what_a_tool_says_is_trimmed(text):
    shown = CODEC.spell_observation(SEARCH_R1.tool("search"), f" {text}\n", max_tokens=500).text
    assert shown == f"\n\n<information>{text.strip()}</information>\n\n"


@pytest.mark.parametrize(
    "turn",
    ["<think> I wonder. </think> Bombay.<eos>", "Bombay", "so </search> Bombay", "<answer> Bombay<eos>", "<eos>", ""],
)
def test_a_turn_without_search_and_answer_is_told_so_in_upstreams_words_and_goes_on(turn):
    trajectory, engine = play([turn, ANSWER])
    notice = next(each for each in trajectory.segments if each.role is Role.OBSERVATION)
    assert notice.text == INVALID and notice.source is Source.ENVIRONMENT and not notice.is_trained
    # the tags that it names are not broken, and the ids that were sampled stay, where upstream drops an end of sequence
    sampled = CODEC.encode(turn.partition(" Bombay")[0] if "</search>" in turn else turn)
    assert engine.prompts[1] == (1, *sampled, *CODEC.encode(INVALID))
    assert notice.call is not None
    assert (notice.call.origin, notice.call.outcome) == (Origin.NOTICE, Outcome.REFUSED)
    counts = trajectory.counts
    assert (counts.malformed_actions, counts.actions, counts.notices, counts.turns) == (1, 1, 1, 2)
    assert trajectory.stop_reason is StopReason.ANSWERED
    reward = score(trajectory, ["Bombay"], SEARCH_R1)
    assert reward.parts["exact_match"] == 1 and "malformed_action" in reward.format_errors


def test_a_turn_that_is_cut_at_its_limit_goes_on_as_well():
    trajectory, _ = play(["x" * 60, ANSWER], limits=replace(LIMITS, max_turn_tokens=60))
    assert (trajectory.counts.malformed_actions, trajectory.stop_reason) == (1, StopReason.ANSWERED)
    assert not trajectory.forced_answer


def test_invalid_turns_count_as_actions_so_that_a_rollout_ends():
    trajectory, engine = play(["a<eos>", "b<eos>", "c<eos>"], limits=replace(LIMITS, max_actions=2))
    assert len(engine.prompts) == 3 and trajectory.stop_reason is StopReason.NO_ANSWER
    assert (trajectory.counts.actions, trajectory.counts.malformed_actions) == (2, 2)
    assert trajectory.segments[-1].text == "c<eos>" and not trajectory.forced_answer


def test_the_words_are_not_cut_and_a_turn_has_room_after_them():
    # "a<eos>" is 2 tokens, the words are 218, and one token must follow them before the reserve of 100
    assert len(CODEC.encode(INVALID)) == 218
    for room, told in ((2 + 218, 0), (2 + 218 + 1, 1)):
        limits = Limits(max_response_tokens=room + 100, answer_reserve_tokens=100, max_observation_tokens=50)
        trajectory, _ = play(["a<eos>", "b", "x</answer>"], limits=limits)
        assert trajectory.counts.malformed_actions == told


def test_a_rollout_goes_on_from_the_words_as_from_an_observation():
    whole, engine = play(["a<eos>", "<search> q </search>", ANSWER], ScriptedEnvironment({"q": "d"}))
    begun = whole.segments[:2]
    rest = ScriptedEngine(["<search> q </search>", ANSWER], encode=CODEC.encode, decode=CODEC.decode)
    run = rollout(
        [1], engine=rest, environment=ScriptedEnvironment({"q": "d"}), codec=CODEC, limits=LIMITS, begun=begun
    )
    assert asyncio.run(run).response_ids == whole.response_ids and rest.prompts == engine.prompts[1:]


def test_without_such_words_a_turn_without_answer_is_the_end():
    trajectory, _ = play(["a<eos>"], protocol=replace(SEARCH_R1, invalid_turn=""))
    assert (trajectory.stop_reason, trajectory.counts.notices) == (StopReason.NO_ANSWER, 0)
    assert AUTOCOA.invalid_turn == ""
