"""The tokenizer: nothing becomes <unk>, tags are whole, the template opens no thought."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoa_plugin.tinyworld.lines import known_line, reading_line, tail_line
from autocoa_plugin.tinyworld.questions import all_questions
from autocoa_plugin.tinyworld.teacher import teacher_turns
from autocoa_plugin.tinyworld.tokenizer import TAGS, TINYWORLD, load_tokenizer, prompt_text


@pytest.fixture(scope="module")
def reloaded(tokenizer, tmp_path_factory):
    """The tokenizer as anyone who loads the model folder gets it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return load_tokenizer(folder)


def assert_known_words(tokenizer, *texts):
    for text, ids in zip(texts, tokenizer(list(texts))["input_ids"], strict=True):
        assert tokenizer.unk_token_id not in ids, text


@settings(max_examples=50, deadline=None)
@given(seed=st.integers())
def test_no_line_of_pre_training_holds_an_unknown_word(world, tokenizer, seed):
    rng = random.Random(seed)
    assert_known_words(tokenizer, *(line(world, rng) for line in (reading_line, known_line, tail_line)))


def test_no_question_document_or_teacher_turn_holds_an_unknown_word(world, tokenizer):
    assert_known_words(tokenizer, *(f"{entity.name} : {entity.text}" for entity in world.entities.values()))
    for group, hops in itertools.product(("known", "train", "held"), (1, 2, 3)):
        texts = (
            " ".join([prompt_text(question.text), *teacher_turns(question, [searched] * hops)])
            for question in all_questions(world, group, hops)
            for searched in (True, False)
        )
        assert_known_words(tokenizer, *texts)


def test_no_notice_of_the_environment_holds_an_unknown_word(tokenizer):
    assert_known_words(tokenizer, *dataclasses.astuple(TINYWORLD.notices))
    assert_known_words(tokenizer, "0 1 2 3 4 5 6 7 8 9 + - * / ( ) = .")  # digits and arithmetic signs are words


def test_every_tag_of_the_protocol_is_one_token_with_or_without_space_around_it(tokenizer):
    assert set(TINYWORLD.tags()) < set(TAGS)
    for tag in TAGS:
        (token,) = tokenizer.encode(tag)
        assert tokenizer.encode(f"the{tag}the") == [*tokenizer.encode("the"), token, *tokenizer.encode("the")]


def test_skipping_special_tokens_keeps_the_tags_a_reward_reads(reloaded):
    text = "<think> <begin_search> </end_search> </think> \\boxed{ Where }"
    assert reloaded.decode(reloaded.encode(text), skip_special_tokens=True) == text


def test_transformers_loads_the_tokenizer_that_was_saved(tokenizer, reloaded):
    assert reloaded.get_vocab() == tokenizer.get_vocab()
    assert (reloaded.pad_token_id, reloaded.eos_token_id, reloaded.bos_token_id) == (0, 1, None)


def test_the_chat_template_gives_the_ids_of_the_prompt_text_and_opens_no_thought(reloaded):
    messages = [{"role": "user", "content": "Where is it ?"}]
    ids = reloaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == reloaded.encode(prompt_text("Where is it ?"))
    assert reloaded.convert_ids_to_tokens(ids)[0] == "<|user|>"
    assert reloaded.convert_ids_to_tokens(ids)[-1] == "<|assistant|>"
    assert not TINYWORLD.opens_thought(reloaded.decode(ids))


def test_the_chat_template_closes_an_answered_turn(reloaded):
    messages = [{"role": "user", "content": "Where is it ?"}, {"role": "assistant", "content": "<think> </think>"}]
    text = reloaded.apply_chat_template(messages, tokenize=False)
    assert text == "<|user|> Where is it ? <|assistant|> <think> </think> <|im_end|> "
