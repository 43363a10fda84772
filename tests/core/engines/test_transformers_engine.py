"""The engine over a Hugging Face model in this process.

Most models here are bigram tables (`bigram_model`), so that what they say is known; ids are positions in `PIECES`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from bigram_model import SURE, bigram_model, chain_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.engines.transformers_local import TransformersEngine
from autocoa_plugin.errors import ConfigError, EngineError

PIECES = ("<pad>", "<eos>", "a", "b", "c", "d", "</st", "op>", "op>!", "e")
PAD, EOS, A, B, C, D, HEAD, TAIL, FUSED, E = range(10)
GREEDY = Sampling(temperature=0.0)
Call = tuple[Sequence[int], int, Sequence[str], Sampling]  # ids, max_tokens, stop, sampling


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Pieces that are simply joined."""
    fast = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(PIECES)}, unk_token="<pad>"))
    fast.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="<eos>", pad_token="<pad>")


@pytest.fixture(scope="module")
def llama() -> Any:
    """A random model in which every token looks at all before it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=10,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.5,  # far from uniform, so that float noise cannot turn a choice
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


def call(ids: Sequence[int], max_tokens: int = 8, stop: Sequence[str] = (), sampling: Sampling = GREEDY) -> Call:
    return ids, max_tokens, stop, sampling


def sample(engine: TransformersEngine, calls: Sequence[Call]) -> list[Generation]:
    """All calls at once."""

    async def run() -> list[Generation]:
        return await asyncio.gather(
            *(engine.generate(ids, max_tokens=n, stop=stop, sampling=how) for ids, n, stop, how in calls)
        )

    return asyncio.run(run())


def batch_sizes(model: Any) -> list[int]:
    """Is filled with the number of rows of every prefill, as the model sees them."""
    sizes: list[int] = []

    def look(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        if inputs["input_ids"].shape[1] > 1:
            sizes.append(inputs["input_ids"].shape[0])

    model.register_forward_pre_hook(look, with_kwargs=True)
    return sizes


# ------------------------------------------------------------------------------------------------------- where rows end


def test_a_row_ends_with_the_whole_token_that_completes_a_stop_string(tokenizer):
    engine = TransformersEngine(chain_model(10, {A: B, B: HEAD, HEAD: FUSED, FUSED: C, C: D}), tokenizer)
    (generation,) = sample(engine, [call([A], stop=["</stop>"])])
    assert (generation.ids, generation.finish_reason) == ((B, HEAD, FUSED), FinishReason.STOP)


def test_a_stop_string_that_begins_in_the_prompt_does_not_count(tokenizer):
    engine = TransformersEngine(chain_model(10, {HEAD: TAIL, TAIL: C, C: EOS}), tokenizer)
    (generation,) = sample(engine, [call([A, HEAD], stop=["</stop>"])])
    assert generation.ids == (TAIL, C, EOS)


def test_an_end_of_sequence_id_is_kept_and_ends_the_row(tokenizer):
    engine = TransformersEngine(chain_model(10, {A: B, B: EOS, EOS: C}), tokenizer)
    (generation,) = sample(engine, [call([A])])
    assert (generation.ids, generation.finish_reason) == ((B, EOS), FinishReason.STOP)


def test_the_models_own_end_ids_and_the_callers_end_a_row_too(tokenizer):
    model = chain_model(10, {A: B, B: C, C: A}, eos_token_id=[EOS, C])
    assert sample(TransformersEngine(model, tokenizer), [call([A])])[0].ids == (B, C)
    assert sample(TransformersEngine(model, tokenizer, end_ids=[B]), [call([A])])[0].ids == (B,)


def test_a_row_that_is_cut_says_length_and_one_whose_last_token_ends_it_says_stop(tokenizer):
    engine = TransformersEngine(chain_model(10, {A: B, B: EOS}), tokenizer)
    cut, ended = sample(engine, [call([A], max_tokens=1), call([A], max_tokens=2)])
    assert (cut.ids, cut.finish_reason) == ((B,), FinishReason.LENGTH)
    assert (ended.ids, ended.finish_reason) == ((B, EOS), FinishReason.STOP)


def test_every_row_of_a_batch_has_its_own_end_and_comes_back_without_padding(tokenizer):
    model = chain_model(10, {A: EOS, B: C, C: D, D: E, E: B, HEAD: TAIL, TAIL: A})
    sizes = batch_sizes(model)
    generations = sample(
        TransformersEngine(model, tokenizer),
        [call([B, A]), call([B], max_tokens=6), call([D, D, HEAD], max_tokens=2), call([A, A, B], stop=["de"])],
    )
    assert sizes == [4]
    assert [each.ids for each in generations] == [(EOS,), (C, D, E, B, C, D), (TAIL, A), (C, D, E)]
    assert [each.finish_reason for each in generations] == ["stop", "length", "length", "stop"]


def test_the_padding_id_inside_a_row_and_at_its_end_is_kept_when_it_was_sampled(tokenizer):
    engine = TransformersEngine(chain_model(10, {A: PAD, PAD: B, B: C, C: A}), tokenizer)
    generations = sample(engine, [call([A], max_tokens=3), call([A], max_tokens=1), call([A, B, C], max_tokens=6)])
    assert [each.ids for each in generations] == [(PAD, B, C), (PAD,), (A, PAD, B, C, A, PAD)]


# ------------------------------------------------------------------------------------------------------------- batching

prompts = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.tuples(prompts, st.integers(1, 10)), min_size=2, max_size=6))
def test_a_batch_of_mixed_lengths_gives_what_the_rows_give_one_by_one(llama, tokenizer, rows):
    engine = TransformersEngine(llama, tokenizer)
    calls = [call(ids, max_tokens=n, stop=["bc"]) for ids, n in rows]
    together, alone = sample(engine, calls), [sample(engine, [each])[0] for each in calls]
    assert [each.ids for each in together] == [each.ids for each in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_log_probabilities_are_those_of_a_plain_forward_pass(llama, tokenizer):
    (generation,) = sample(TransformersEngine(llama, tokenizer), [call([A, B, C], max_tokens=5)])
    with torch.no_grad():
        logits = llama(input_ids=torch.tensor([[A, B, C, *generation.ids]])).logits[0]
    # the token at position 3 + t is predicted at position 2 + t
    expected = [logits[2 + t].log_softmax(-1)[token].item() for t, token in enumerate(generation.ids)]
    assert generation.logprobs == pytest.approx(expected, abs=1e-4)
    assert [int(logits[2 + t].argmax()) for t in range(len(generation.ids))] == list(generation.ids)


def test_calls_that_arrive_together_share_a_batch_of_at_most_max_batch(tokenizer):
    model = chain_model(10, {A: EOS})
    sizes = batch_sizes(model)
    sample(TransformersEngine(model, tokenizer, max_batch=3), [call([B, A])] * 7)
    assert sizes == [3, 3, 1]


def test_calls_that_come_while_the_model_is_at_work_share_the_next_batch(tokenizer):
    model = chain_model(10, {A: B, B: A})
    sizes = batch_sizes(model)
    engine = TransformersEngine(model, tokenizer)

    async def two_turns() -> None:
        first = await engine.generate([B, A], max_tokens=4, stop=(), sampling=GREEDY)
        await engine.generate([B, A, *first.ids], max_tokens=4, stop=(), sampling=GREEDY)

    async def run() -> None:
        await asyncio.gather(*(two_turns() for _ in range(5)))

    asyncio.run(run())
    assert sizes == [5, 5]


def test_a_cancelled_call_leaves_the_others_alone(tokenizer):
    engine = TransformersEngine(chain_model(10, {A: B, B: EOS}), tokenizer)

    async def run() -> list[Any]:
        tasks = [asyncio.create_task(engine.generate([A], max_tokens=4, stop=(), sampling=GREEDY)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(run())
    assert first.ids == third.ids == (B, EOS)
    assert isinstance(second, asyncio.CancelledError)


def test_an_engine_serves_one_event_loop_after_another_even_when_the_first_was_shut_down_at_work(tokenizer):
    engine = TransformersEngine(chain_model(10, {A: B, B: A}), tokenizer)

    async def leave() -> None:
        task = asyncio.create_task(engine.generate([A], max_tokens=400, stop=(), sampling=GREEDY))
        await asyncio.sleep(0.01)
        assert not task.done()

    asyncio.run(leave())
    assert sample(engine, [call([A], max_tokens=2)])[0].ids == (B, A)


# ------------------------------------------------------------------------------------------------------------- sampling

# after a: b with 0.75, c with 0.25, everything else next to never
COIN = {A: {B: math.log(0.75) + 40, C: math.log(0.25) + 40}}


def test_a_greedy_row_takes_the_likelier_token_and_tells_its_probability(tokenizer):
    (generation,) = sample(TransformersEngine(bigram_model(10, COIN), tokenizer), [call([A], max_tokens=1)])
    assert generation.ids == (B,)
    assert generation.logprobs == pytest.approx([math.log(0.75)], abs=1e-4)


def test_sampled_tokens_follow_the_distribution_at_the_rows_own_temperature(tokenizer):
    engine = TransformersEngine(bigram_model(10, COIN), tokenizer, max_batch=1200)
    at = {t: [Sampling(t, {"seed": seed}) for seed in range(400)] for t in (0.5, 1.0, 2.0)}
    calls = [call([A], max_tokens=1, sampling=each) for samplings in at.values() for each in samplings]
    generations = iter(sample(engine, calls))
    for temperature in at:
        # 0.75 : 0.25 = 3 : 1 becomes 3^(1/T) : 1
        share = 3 ** (1 / temperature) / (3 ** (1 / temperature) + 1)
        drawn = [next(generations) for _ in range(400)]
        n_likelier = sum(each.ids == (B,) for each in drawn)
        assert abs(n_likelier - 400 * share) < 4 * math.sqrt(400 * share * (1 - share))  # four standard deviations
        for each in drawn:
            assert each.logprobs == pytest.approx([math.log(share if each.ids == (B,) else 1 - share)], abs=1e-4)


def test_a_seed_draws_the_same_row_in_any_company(tokenizer):
    engine = TransformersEngine(bigram_model(10, {}), tokenizer)  # uniform over ten tokens

    def drawn(seeds: Sequence[int]) -> list[tuple[int, ...]]:
        calls = [call([A], max_tokens=20, sampling=Sampling(1.0, {"seed": seed})) for seed in seeds]
        return [each.ids for each in sample(engine, calls)]

    alone, (_, in_company, _) = drawn([7]), drawn([1, 7, 2])
    assert alone == [in_company]
    assert len(set(drawn([1, 2, 3]))) == 3


def test_top_k_and_top_p_leave_the_unlikelier_token_out(tokenizer):
    engine = TransformersEngine(bigram_model(10, COIN), tokenizer)
    for options in ({"top_k": 1}, {"top_p": 0.7}, {"top_p": 0.75, "top_k": -1}):
        rows = [call([A], max_tokens=1, sampling=Sampling(1.0, {**options, "seed": seed})) for seed in range(40)]
        assert {each.ids for each in sample(engine, rows)} == {(B,)}
        assert sample(engine, rows)[0].logprobs == pytest.approx([0.0], abs=1e-6)
    rows = [call([A], max_tokens=1, sampling=Sampling(1.0, {"top_p": 0.8, "seed": seed})) for seed in range(40)]
    assert {each.ids for each in sample(engine, rows)} == {(B,), (C,)}


def test_the_models_generation_config_changes_nothing_and_is_left_as_it_was(tokenizer):
    # a penalty of 2 would make 30 / 2 = 15 of a token that was said before, and 20 is more
    model = bigram_model(10, {A: {B: 30.0, C: 20.0}, B: {A: 30.0, C: 20.0}})
    model.generation_config.repetition_penalty = 2.0
    model.generation_config.max_length = 3
    theirs = model.generation_config
    assert sample(TransformersEngine(model, tokenizer), [call([A], max_tokens=5)])[0].ids == (B, A, B, A, B)
    assert model.generation_config is theirs


# ------------------------------------------------------------------------------------------------------ forbidden texts

# after a: </st; after </st: op> rather than op>! rather than c
TAGGING = {A: {HEAD: 40.0}, HEAD: {TAIL: 40.0, FUSED: 38.0, C: 36.0}, TAIL: {EOS: 40.0}, C: {EOS: 40.0}}


def forbidding(*texts: str, temperature: float = 0.0, **options: Any) -> Sampling:
    return Sampling(temperature, options, texts)


def test_no_token_completes_a_forbidden_text_in_whichever_way_it_is_spelled(tokenizer):
    engine = TransformersEngine(bigram_model(10, TAGGING), tokenizer)
    rows = sample(engine, [call([A]), call([A], sampling=forbidding("</stop>")), call([A], sampling=forbidding("</s"))])
    assert rows[0].ids == (HEAD, TAIL, EOS)
    assert rows[1].ids == (HEAD, C, EOS)  # both op> and op>! would have completed it
    # </st would have, and all others are as likely: the first one
    assert rows[2].ids[0] == PAD


def test_a_forbidden_text_that_was_given_may_stand_there_and_may_not_come_again(tokenizer):
    engine = TransformersEngine(bigram_model(10, TAGGING), tokenizer)
    (again,) = sample(engine, [call([HEAD, TAIL, A], sampling=forbidding("</stop>"))])
    assert again.ids == (HEAD, C, EOS)


def test_a_forbidden_text_that_was_begun_is_not_completed(tokenizer):
    engine = TransformersEngine(bigram_model(10, TAGGING), tokenizer)
    assert sample(engine, [call([A, HEAD], sampling=forbidding("</stop>"))])[0].ids == (C, EOS)


def test_sampled_rows_draw_another_token_from_what_is_left_the_same_for_a_seed_in_any_company(tokenizer):
    # after a: b with 0.5, c with 0.375, d with 0.125; without b: c with 0.75
    shares = {B: 0.5, C: 0.375, D: 0.125}
    engine = TransformersEngine(
        bigram_model(10, {A: {token: math.log(p) + 40 for token, p in shares.items()}}), tokenizer
    )
    calls = [call([A], max_tokens=1, sampling=forbidding("b", temperature=1.0, seed=seed)) for seed in range(400)]
    together = sample(engine, calls)
    drawn = [each.ids[0] for each in together]
    assert set(drawn) == {C, D}
    assert abs(drawn.count(C) - 400 * 0.75) < 4 * math.sqrt(400 * 0.75 * 0.25)  # four standard deviations
    assert [sample(engine, [each])[0].ids for each in calls[:10]] == [(token,) for token in drawn[:10]]


def test_a_forbidden_token_does_not_leave_a_truncated_row_without_any(tokenizer):
    engine = TransformersEngine(bigram_model(10, COIN), tokenizer)
    rows = [call([A], max_tokens=1, sampling=forbidding("b", temperature=1.0, seed=seed, top_k=1)) for seed in range(9)]
    assert {each.ids for each in sample(engine, rows)} == {(C,)}
    assert sample(engine, rows)[0].logprobs == pytest.approx([0.0], abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    ids=prompts,
    texts=st.lists(st.sampled_from(["</stop>", "bc", "e", "a<", "op>!"]), min_size=1, max_size=3),
    temperature=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 99),
)
def test_what_is_sampled_never_holds_more_forbidden_texts_than_what_was_given(
    llama, tokenizer, ids, texts, temperature, seed
):
    sampling = forbidding(*texts, temperature=temperature, seed=seed)
    (generation,) = sample(TransformersEngine(llama, tokenizer), [call(ids, max_tokens=12, sampling=sampling)])
    given_text, whole = ("".join(PIECES[token] for token in each) for each in (ids, [*ids, *generation.ids]))
    assert [whole.count(text) for text in texts] == [given_text.count(text) for text in texts]


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        (
            call([A], sampling=Sampling(1.0, {"top_pp": 0.5})),
            ConfigError,
            r"knows the sampling options .*, got 'top_pp' \(did you mean 'top_p'\?\)",
        ),
        (call([A], sampling=Sampling(-1.0)), ConfigError, "temperature must be >= 0, got -1.0"),
        (
            call([A], sampling=Sampling(1.0, {"top_p": 0.0})),
            ConfigError,
            "top_p must be above 0 and at most 1, got 0.0",
        ),
        (call([A] * 10, max_tokens=7), EngineError, "10 ids and max_tokens 7 exceed the model's context of 16"),
        (call([], max_tokens=7), EngineError, "got 0 ids and 7"),
        (call([B]), EngineError, "log-probability nan: broken weights"),
    ],
)
def test_a_turn_that_cannot_be_written_is_refused(tokenizer, asked, kind, message):
    model = bigram_model(10, {A: {EOS: SURE}, B: {C: float("nan")}}, max_position_embeddings=16)
    engine = TransformersEngine(model, tokenizer)
    assert engine.max_context_tokens == 16
    with pytest.raises(kind, match=message):
        sample(engine, [asked])


def test_a_model_that_fails_is_one_line_for_every_row_of_the_batch_and_the_engine_lives_on(tokenizer):
    engine = TransformersEngine(chain_model(10, {A: EOS}), tokenizer)

    async def run() -> list[Any]:
        calls = [engine.generate([token], max_tokens=2, stop=(), sampling=GREEDY) for token in (A, 10)]
        return await asyncio.gather(*calls, return_exceptions=True)

    for error in asyncio.run(run()):
        assert isinstance(error, EngineError)
        assert str(error).startswith("the model failed on 2 rows: IndexError: ")
        assert "\n" not in str(error)
    assert sample(engine, [call([A])])[0].ids == (EOS,)


# -------------------------------------------------------------------------------------------------------------- folders


def test_a_saved_model_is_loaded_and_says_the_same(tokenizer, llama, tmp_path):
    llama.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = TransformersEngine.load(tmp_path, max_batch=2)
    calls = [call([A, B], max_tokens=6)]
    assert sample(loaded, calls)[0].ids == sample(TransformersEngine(llama, tokenizer), calls)[0].ids


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("checkpoint", r"checkpoint has no config\.json.*did you mean '.*step_3/huggingface'"),
        ("checkpoint/step_3/hugingface", r"hugingface is no folder.*did you mean '.*step_3/huggingface'"),
        ("checkpoint/step_3/huggingface", "cannot be loaded as a language model: "),
    ],
    ids=["the folder around it", "misspelled", "without weights"],
)
def test_a_folder_without_a_model_is_refused_in_one_line_with_the_nearest_one(
    tokenizer, llama, tmp_path, path, message
):
    model = tmp_path / "checkpoint" / "step_3" / "huggingface"
    llama.save_pretrained(model)
    tokenizer.save_pretrained(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=message) as caught:
        TransformersEngine.load(tmp_path / path)
    assert "\n" not in str(caught.value)
