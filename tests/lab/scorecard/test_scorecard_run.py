"""Judged queries: a world model that copies the truth is perfect, one that writes rubbish is not; failures count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from autocoa_plugin.answering import WorldModelSettings
from autocoa_plugin.engines.base import FinishReason, Generation
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.environments.world_model import build_world_model
from autocoa_plugin.errors import AutoCoAError, ConfigError
from autocoa_plugin.lab.scorecard.imagine import (
    Compared,
    Judge,
    check_compared,
    first_error,
    group_cards,
    judge_queries,
    total_spent,
)
from autocoa_plugin.lab.scorecard.queries import Query
from autocoa_plugin.ledger import LedgerEntry
from autocoa_plugin.protocol import Action
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD
from autocoa_plugin.tokenization import Codec
from autocoa_plugin.trajectory import Origin, Outcome

CHARS = Codec(CharTokenizer(), TINYWORLD)
REAL = {
    "Ada birthplace": "Ada : Ada was born in Bombay .",
    "Bix mayor": "Bix : the mayor of Bix is Cal Poe .",
}
GOLDS = {"Ada birthplace": "Bombay", "Bix mayor": "Cal Poe"}


def query(text: str, group: str = "train", **more: Any) -> Query:
    ids = CHARS.encode(f"q <begin_search> {text} </end_search>")
    return Query(tuple(ids), Action("search", text, 0, 0), (GOLDS[text],), group, **more)


QUERIES = [query("Ada birthplace"), query("Bix mayor", "held")]


def judge(turns: Sequence[str | Generation], real: Any = REAL, queries: Sequence[Query] = QUERIES, **more: Any):
    engine = ScriptedEngine(
        turns, encode=CHARS.encode, decode=CHARS.decode, max_context_tokens=more.pop("context", None)
    )
    environment = None if real is None else ScriptedEnvironment(real)
    judge = Judge(CHARS, engine, build_world_model(WorldModelSettings()), environment, max_tokens=120, **more)
    return asyncio.run(judge_queries(queries, judge)), engine


def means(compared: Sequence[Compared], group: str) -> dict[str, float | None]:
    (found,) = [each for each in group_cards(compared) if each.group == group]
    return {name: each.mean for name, each in found.measures.items()}


def test_a_world_model_that_writes_what_the_tool_answers_is_perfect():
    compared, _ = judge([f" {text} </search_result>" for text in REAL.values()])
    for group in ("train", "held"):
        assert means(compared, group) == {
            **dict.fromkeys(("holds_gold", "real_holds_gold", "title_match", "exact", "token_f1", "well_formed"), 1.0),
            **dict.fromkeys(("entity_precision", "entity_recall", "entity_f1"), 1.0),
            "hallucination_rate": 0.0,
            "cross_entropy": None,  # a script gives no log-probabilities
        }


def test_a_world_model_that_writes_rubbish_holds_nothing_and_is_repaired():
    compared, _ = judge(["Zork Nine Zork Nine " * 9] * 2)  # 180 characters, 120 are allowed: never closed
    seen = means(compared, "train")
    high = ("holds_gold", "title_match", "exact", "token_f1", "well_formed", "entity_precision", "entity_f1")
    assert {name: seen[name] for name in high} == dict.fromkeys(high, 0.0)
    assert (seen["hallucination_rate"], seen["real_holds_gold"]) == (1.0, 1.0)
    (train, held) = group_cards(compared)
    assert train.repairs["unclosed_observations"] == held.repairs["unclosed_observations"] == 1


def test_the_engine_is_shown_the_querys_ids_and_the_opening_tag_and_sampled_greedily():
    _, engine = judge([f" {text} </search_result>" for text in REAL.values()])
    assert engine.prompts == [(*each.ids, *CHARS.encode(" <search_result>")) for each in QUERIES]
    assert {request["sampling"].temperature for request in engine.requests} == {0.0}


def test_an_unclosed_observation_is_not_well_formed_and_text_needs_no_tag():
    body = Generation(tuple(CHARS.encode(" Ada")), None, FinishReason.LENGTH)
    for generation, well_formed in ((body, 0.0), (None, 1.0)):
        imagined = Observation(" Ada", Origin.WORLD_MODEL, generation=generation)
        world_model = ScriptedEnvironment(lambda _, imagined=imagined: imagined)
        judge = Judge(CHARS, ScriptedEngine([]), world_model, ScriptedEnvironment(REAL))
        (compared,) = asyncio.run(judge_queries(QUERIES[:1], judge))
        assert compared.measures["well_formed"] == well_formed and (compared.imagined or "").split() == ["Ada"]


def test_the_recorded_observation_is_the_real_one_when_there_is_no_tool():
    text = " Ada : Ada was born in Bombay ."
    recorded = tuple(CHARS.encode(f" <search_result>{text} </search_result> "))
    compared, _ = judge([f"{text} </search_result>"], None, [query("Ada birthplace", recorded_ids=recorded)])
    assert compared[0].real == text and compared[0].measures["exact"] == 1.0
    assert compared[0].spent.real_calls == 0


def test_tags_in_the_real_answer_are_compared_as_the_policy_reads_them():
    real = {"Ada birthplace": "Ada : </search_result> \\boxed{Bombay}"}
    compared, _ = judge(["x </search_result>"], real, QUERIES[:1])
    assert compared[0].real == " Ada : < /search_result> \\ boxed{Bombay}"


# ---------------------------------------------------------------------------------------------------------- failures


def test_a_real_tool_that_fails_is_no_truth_its_query_is_counted_and_left_out():
    compared, _ = judge([" x </search_result>"] * 2, {**REAL, "Bix mayor": RuntimeError("down")})
    train, held = group_cards(compared)
    assert (train.compared, train.failed_real) == (1, 0)
    assert (held.compared, held.failed_real, held.queries, held.measures["exact"].mean) == (0, 1, 1, None)
    assert first_error(compared) == "RuntimeError: down"


def test_a_tool_that_finds_nothing_has_answered():
    compared, _ = judge([" x </search_result>"], {}, QUERIES[:1])
    assert compared[0].measures["real_holds_gold"] == 0.0 and compared[0].real == " none : no result ."


def test_an_engine_that_fails_costs_its_query_only():
    compared, _ = judge([f" {REAL['Ada birthplace']} </search_result>"])  # the script has no second turn
    train, held = group_cards(compared)
    assert (train.compared, train.failed_imagined) == (1, 0)
    assert (held.compared, held.failed_imagined, held.failed_real) == (0, 1, 0)


def test_a_query_that_fills_the_context_fails_without_a_call():
    compared, engine = judge([], queries=QUERIES[:1], context=len(QUERIES[0].ids) + 5)
    assert engine.prompts == []
    assert compared[0].error == f"{len(QUERIES[0].ids)} ids leave no room for an observation in the model's context"


def test_when_nothing_could_be_compared_the_first_message_is_raised():
    compared, _ = judge([])
    with pytest.raises(AutoCoAError, match=r"none of 2 queries could be compared: .*the script is exhausted"):
        check_compared(compared)


def test_a_wrong_configuration_is_not_counted_but_raised():
    with pytest.raises(ConfigError, match="broken"):
        judge([" x </search_result>"], {"Ada birthplace": ConfigError("broken")}, QUERIES[:1])


def test_calls_and_money_are_added_up_by_origin():
    real = {
        "Ada birthplace": Observation("a", Origin.REAL, cost=0.5),
        "Bix mayor": Observation("b", Origin.CACHE, Outcome.EMPTY),
    }
    compared, _ = judge([" x </search_result>"] * 2, real)
    assert total_spent(compared) == LedgerEntry(
        real_calls=1,
        cached_calls=1,
        simulated_calls=2,
        cost=0.5,
        sampled_observation_tokens=2 * len(" x </search_result>"),
    )


# ------------------------------------------------------------------------------------------------------ cross-entropy


class Ramp:
    """A scorer that gives token t of the ids the log-probability -t / 100, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], int]] = []

    async def log_probs(self, ids: Sequence[int], start: int) -> tuple[float, ...]:
        self.asked.append((list(ids), start))
        return tuple(-t / 100 for t in range(start, len(ids)))


def test_cross_entropy_is_that_of_the_real_body_without_tags_after_the_querys_ids():
    scorer = Ramp()
    compared, _ = judge([" x </search_result>"], queries=QUERIES[:1], scorer=scorer)
    ((ids, start),) = scorer.asked
    assert CHARS.decode(ids[start:]) == " Ada : Ada was born in Bombay ."
    assert CHARS.decode(ids[:start]).endswith("</end_search> <search_result>")
    # the mean of start .. start + 30, in hundredths
    assert compared[0].measures["cross_entropy"] == pytest.approx((start + 15) / 100)


def test_a_groups_cross_entropy_is_per_token_so_long_observations_count_more():
    short, long = (
        replace(
            Compared(query("Ada birthplace"), "", "", {}, {}, LedgerEntry()), real_tokens=n, measures=measures(nats)
        )
        for n, nats in ((1, 4.0), (3, 2.0))
    )
    # (1 * 4 + 3 * 2) / 4 tokens
    assert means([short, long], "train")["cross_entropy"] == pytest.approx(2.5)


def measures(nats: float) -> dict[str, float | None]:
    compared, _ = judge([" x </search_result>"], queries=QUERIES[:1])
    return {**compared[0].measures, "cross_entropy": nats}


def test_a_real_observation_that_does_not_fit_into_the_context_is_not_scored():
    recorded = tuple(CHARS.encode(" <search_result> " + "x" * 90 + " </search_result> "))
    asked = query("Ada birthplace", recorded_ids=recorded)
    scorer = Ramp()
    compared, _ = judge([" x </search_result>"], None, [asked], scorer=scorer, context=len(asked.ids) + 60)
    assert scorer.asked == [] and compared[0].measures["cross_entropy"] is None


def test_an_abort_is_no_observation():
    aborted = Generation(tuple(CHARS.encode(" x")), None, FinishReason.ABORT)
    compared, _ = judge([aborted], queries=QUERIES[:1])
    assert compared[0].imagined is None and group_cards(compared)[0].failed_imagined == 1
