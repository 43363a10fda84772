"""Log-probabilities of given tokens from a model in this process, against figures derived by hand."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from bigram_model import bigram_model
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from autocoa_plugin.engines import transformers_local as local_score
from autocoa_plugin.engines.transformers_local import TransformersEngine
from autocoa_plugin.errors import EngineError
from autocoa_plugin.tinyworld.base_model import export_base

A, B, C = 2, 3, 4
# after A: B has logit 2, everything else of six tokens 0; after B: C has logit 1
MODEL = bigram_model(6, {A: {B: 2.0}, B: {C: 1.0}}, max_position_embeddings=16)
A_TO_B = 2 - math.log(5 + math.exp(2))
B_TO_C = 1 - math.log(5 + math.exp(1))
UNIFORM = -math.log(6)


def engine_of(model: Any, **options: Any) -> TransformersEngine:
    fast = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate("pe012x")}, unk_token="p"))
    return TransformersEngine(model, PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="p"), **options)


def scores(engine: TransformersEngine, *asked: tuple[Sequence[int], int]) -> list[tuple[float, ...]]:
    async def all_at_once() -> list[tuple[float, ...]]:
        return await asyncio.gather(*(engine.log_probs(ids, start) for ids, start in asked))

    return asyncio.run(all_at_once())


def test_each_token_is_scored_given_the_one_before_it():
    (found,) = scores(engine_of(MODEL), ([A, B, C, A], 1))
    assert found == pytest.approx((A_TO_B, B_TO_C, UNIFORM), abs=1e-5)


def test_rows_of_different_length_and_start_do_not_disturb_one_another():
    found = scores(engine_of(MODEL), ([A, B, C, A], 2), ([C, A, B, C, A, B], 4), ([A, B], 1), ([A, B], 2))
    assert found[0] == pytest.approx((B_TO_C, UNIFORM), abs=1e-5)
    assert found[1] == pytest.approx((UNIFORM, A_TO_B), abs=1e-5)
    assert found[2] == pytest.approx((A_TO_B,), abs=1e-5)
    assert found[3] == ()


def test_many_logits_are_computed_in_parts_with_the_same_result(monkeypatch):
    asked = [([A, B, C, A][: 2 + n % 3], 1) for n in range(7)]
    whole = scores(engine_of(MODEL), *asked)
    monkeypatch.setattr(local_score, "_MAX_LOGITS", 50)  # two rows of four tokens and six logits
    assert scores(engine_of(MODEL), *asked) == whole


@pytest.mark.parametrize(
    ("ids", "start", "message"),
    [
        ([A, B], 0, r"start must be between 1 and the number of ids \(2\), got 0"),
        ([A, B], 3, r"start must be between 1 and the number of ids \(2\), got 3"),
        ([A] * 17, 1, "17 ids exceed the model's context of 16"),
    ],
)
def test_what_cannot_be_scored_is_refused(ids, start, message):
    with pytest.raises(EngineError, match=message):
        scores(engine_of(MODEL), (ids, start))


def test_a_batch_equals_one_plain_forward_pass_of_the_shipped_base_model(tmp_path):
    export_base(tmp_path)
    engine = TransformersEngine.load(tmp_path, dtype="float32")
    rows = [[20, 30, 40, 50, 60, 70], [25, 35, 45], [90, 80, 70, 60]]
    found = scores(engine, *((row, 2) for row in rows))
    for row, seen in zip(rows, found, strict=True):
        with torch.no_grad():
            log_probs = engine.model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
        by_hand = [log_probs[t - 1, row[t]].item() for t in range(2, len(row))]
        assert seen == pytest.approx(by_hand, abs=1e-4)
