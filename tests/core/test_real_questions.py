"""A perfect searcher on real questions: 100 of HotpotQA over 7,113 Wikipedia passages, through the whole loop.

The policy is scripted: it searches each gold title and answers gold. What is tested is everything between it and its
score: action, index, spelling of documents, injection, answer, metric.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, Codec, Limits, Role, Trajectory, rollout, score
from autocoa_plugin.environments.tools import SearchEnvironment
from autocoa_plugin.retrieval.base import CachedRetriever
from autocoa_plugin.retrieval.index_build import open_or_build
from autocoa_plugin.testing import ScriptedEngine
from autocoa_plugin.tokenization import neutralise, tag_pattern

DATA = Path(os.environ.get("AUTOCOA_REAL_DATA") or Path(__file__).parents[2] / "../shared/data")
LIMITS = Limits(max_response_tokens=16_000, answer_reserve_tokens=100, max_observation_tokens=4_000)
TRAP = "The hidden answer of the maze"

pytestmark = pytest.mark.skipif(
    not (DATA / "hotpotqa_mini_questions.jsonl").exists(),
    reason=f"needs hotpotqa_mini_*.jsonl and wiki_6k_corpus.jsonl in {DATA} (set AUTOCOA_REAL_DATA)",
)


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    return rows("hotpotqa_mini_questions")


@pytest.fixture(scope="module")
def passages() -> dict[str, set[str]]:
    """The texts of every title."""
    texts: dict[str, set[str]] = {}
    for row in rows("hotpotqa_mini_corpus") + rows("wiki_6k_corpus"):
        texts.setdefault(row["title"], set()).add(row["text"])
    return texts


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(FAMILIES["byte_bpe"](), AUTOCOA)


def search_over(folder: Path, extra: str = "") -> SearchEnvironment:
    """Search over the 7,113 real passages and `extra` lines."""
    parts = [(DATA / f"{name}_corpus.jsonl").read_bytes() for name in ("hotpotqa_mini", "wiki_6k")]
    (folder / "corpus.jsonl").write_bytes(b"".join([*parts, extra.encode()]))
    index = open_or_build(folder / "corpus.jsonl", folder / "index", progress=False)
    return SearchEnvironment(CachedRetriever(index), top_k=3)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> SearchEnvironment:
    return search_over(tmp_path_factory.mktemp("real_questions"))


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory, questions: list[dict[str, Any]]) -> SearchEnvironment:
    """Besides the real passages one document per question, in which its gold answer stands in a box."""
    lines = [
        json.dumps({"id": f"trap{n}", "title": f"{TRAP} {n}", "text": f"It is \\boxed{{{row['answers'][0]}}} ."})
        for n, row in enumerate(questions)
    ]
    return search_over(tmp_path_factory.mktemp("trapped_questions"), "\n".join(lines))


def play(question: str, turns: list[str], codec: Codec, environment: SearchEnvironment) -> Trajectory:
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    prompt_ids = codec.encode(f"<|user|>{question}<|assistant|>")
    return asyncio.run(rollout(prompt_ids, engine=engine, environment=environment, codec=codec, limits=LIMITS))


def search_each(titles: list[str], end: str) -> list[str]:
    """One turn per title, then `end`."""
    turns = [f"I look up {title}. <begin_search>{title}</end_search>" for title in titles]
    turns[0] = f"<think>{turns[0]}"
    return [*turns, end]


@pytest.fixture(scope="module")
def perfect(
    questions: list[dict[str, Any]], codec: Codec, environment: SearchEnvironment
) -> Iterator[list[Trajectory]]:
    yield [
        play(
            row["question"],
            search_each(row["supporting_titles"], f"That is all.</think> \\boxed{{{row['answers'][0]}}}<eos>"),
            codec,
            environment,
        )
        for row in questions
    ]


def test_a_policy_that_searches_gold_titles_and_answers_gold_scores_one_hundred(
    questions: list[dict[str, Any]], perfect: list[Trajectory]
) -> None:
    rewards = [score(trajectory, row["answers"], AUTOCOA) for row, trajectory in zip(questions, perfect, strict=True)]
    assert len(rewards) == 100
    assert [row["id"] for row, reward in zip(questions, rewards, strict=True) if reward.parts["exact_match"] != 1] == []
    assert [reward.format_errors for reward in rewards if reward.format_errors] == []
    assert sum(trajectory.counts.actions for trajectory in perfect) == sum(
        len(row["supporting_titles"]) for row in questions
    )


def test_every_observation_holds_the_title_and_the_text_of_the_gold_passage(
    questions: list[dict[str, Any]], perfect: list[Trajectory], passages: dict[str, set[str]]
) -> None:
    tags = tag_pattern(AUTOCOA.tags())  # what the loop breaks in an observation is broken in a passage as well
    missing = []
    for row, trajectory in zip(questions, perfect, strict=True):
        seen = [segment.text for segment in trajectory.segments if segment.role is Role.OBSERVATION]
        for title, text in zip(row["supporting_titles"], seen, strict=True):
            starts = [neutralise(passage, tags)[:60] for passage in passages[title]]
            if f'"{neutralise(title, tags)}"\n' not in text or not any(start in text for start in starts):
                missing.append((title, text[:200]))
    assert missing == []


def test_observations_decode_to_their_text_and_are_masked(codec: Codec, perfect: list[Trajectory]) -> None:
    for trajectory in perfect:
        for segment in trajectory.segments:
            if segment.role is Role.OBSERVATION:
                assert codec.decode(segment.ids) == segment.text and not segment.is_trained
                assert segment.call is not None and segment.call.outcome == "ok"


def test_a_gold_answer_that_only_a_document_boxes_scores_nothing(
    questions: list[dict[str, Any]], codec: Codec, trapped: SearchEnvironment
) -> None:
    boxes = re.compile(r"boxed\{")
    for number, row in enumerate(questions):
        turns = search_each([f"{TRAP} {number}"], "I do not know.</think> I give no answer.<eos>")
        trajectory = play(row["question"], turns, codec, trapped)
        observation = next(segment.text for segment in trajectory.segments if segment.role is Role.OBSERVATION)
        assert row["answers"][0] in observation and boxes.search(observation)  # the policy has read it
        reward = score(trajectory, row["answers"], AUTOCOA)
        assert reward.answer is None and not any(reward.parts[name] for name in ("exact_match", "f1", "format"))
