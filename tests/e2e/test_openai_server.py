"""The engine for OpenAI-compatible servers against a real vLLM server on the CPU, serving the tiny base model.

The base model has not learnt to search. Where a test needs actions it lets vLLM sample from the tags and two words
only, with a bias towards the tags: wild rollouts, with empty and malformed actions among them.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autocoa_plugin import Codec, Limits, Role, Source, Trajectory, rollout
from autocoa_plugin.answering import WorldModelSettings
from autocoa_plugin.engines.base import Engine, Generation, Sampling
from autocoa_plugin.engines.openai_server import OpenAIServerEngine
from autocoa_plugin.engines.streaming import StreamingEngine
from autocoa_plugin.environments.base import Environment
from autocoa_plugin.environments.world_model import build_world_model
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.judge import Judge, JudgeSettings, Verdict
from autocoa_plugin.runs.vllm_server import SERVED_NAME, vllm_server
from autocoa_plugin.testing import ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tinyworld import generate, validation_questions
from autocoa_plugin.tinyworld.base_model import export_base
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, load_tokenizer, prompt_text

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
GREEDY = Sampling(0.0)
LIMITS = Limits(max_response_tokens=150, answer_reserve_tokens=20, max_turn_tokens=40, max_actions=3)
# one process per core is more than enough for a model of 0.4 million parameters
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_base(tmp_path_factory.mktemp("served") / "base")


@pytest.fixture(scope="module")
def codec(base: Path) -> Codec:
    return Codec(load_tokenizer(base), TINYWORLD)


@pytest.fixture(scope="module")
def url(base: Path) -> Iterator[str]:
    def report(seconds: float, line: str) -> None:
        print(f"\rvLLM starts: {seconds:3.0f} s  {line[-80:]:80}", end="", file=sys.stderr, flush=True)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        log, options = base.parent / "server.log", ("--max-model-len", "256")
        with vllm_server(base, log=log, options=options, on_cpu=True, timeout_s=240, report=report) as url:
            print(file=sys.stderr)
            yield url


class Recorder:
    """Passes every call on to an engine and keeps what went in and out."""

    def __init__(self, engine: Engine) -> None:
        self.max_context_tokens, self._engine = engine.max_context_tokens, engine
        self.calls: list[tuple[tuple[int, ...], Generation]] = []

    async def generate(self, ids: Sequence[int], **options: Any) -> Generation:
        before = tuple(ids)
        generation = await self._engine.generate(ids, **options)
        self.calls.append((before, generation))
        return generation


def roll(
    url: str, codec: Codec, prompt: str, sampling: Sampling, environment: Environment | None = None
) -> tuple[Trajectory, Recorder]:
    async def run() -> tuple[Trajectory, Recorder]:
        async with await OpenAIServerEngine.connect(url) as engine:
            recorder = Recorder(engine)
            trajectory = await rollout(
                codec.encode(prompt),
                engine=recorder,
                environment=environment or ScriptedEnvironment({}),
                codec=codec,
                limits=LIMITS,
                sampling=sampling,
            )
            return trajectory, recorder

    return asyncio.run(run())


@pytest.fixture(scope="module")
def wild(url: str, codec: Codec) -> tuple[Trajectory, Recorder]:
    """Three actions, at least one of them well-formed: the first such rollout among some seeds."""
    opening, closing, *others = codec.encode("<begin_search> </end_search> birthplace founder }")
    options = {"allowed_token_ids": [opening, closing, *others], "logit_bias": {str(opening): 4, str(closing): 4}}
    for seed in range(30):
        environment = ScriptedEnvironment(lambda action: f"The {action.parameters} is unknown .")
        sampling = Sampling(2.0, {**options, "seed": seed})
        trajectory, recorder = roll(url, codec, prompt_text("Who ?") + " <think>", sampling, environment)
        if trajectory.counts.actions == 3 and environment.asked:
            return trajectory, recorder
    pytest.fail("no seed gave three actions")


def ask(url: str, ids: Sequence[int], max_tokens: int) -> Generation:
    async def run() -> Generation:
        async with await OpenAIServerEngine.connect(url) as engine:
            return await engine.generate(ids, max_tokens=max_tokens, stop=(), sampling=GREEDY)

    return asyncio.run(run())


def test_the_model_and_its_context_length_are_found(url: str) -> None:
    async def run() -> tuple[str, int | None]:
        async with await OpenAIServerEngine.connect(url) as engine:
            return engine.model, engine.max_context_tokens

    assert asyncio.run(run()) == (SERVED_NAME, 256)


def test_every_turn_is_shown_the_prompt_plus_all_that_was_sampled_and_injected(
    wild: tuple[Trajectory, Recorder],
) -> None:
    trajectory, recorder = wild
    whole = [*trajectory.prompt_ids, *trajectory.response_ids]
    assert trajectory.counts.actions == 3 and len(recorder.calls) >= 4  # three actions and what follows
    for given, generation in recorder.calls:
        assert generation.info["prompt_token_ids"] == list(given) == whole[: len(given)]
        assert list(generation.ids) == whole[len(given) : len(given) + len(generation.ids)]


def test_every_sampled_id_has_a_log_probability_and_no_injected_one_has(wild: tuple[Trajectory, Recorder]) -> None:
    trajectory, recorder = wild
    for _, generation in recorder.calls:
        assert generation.logprobs is not None and len(generation.logprobs) == len(generation.ids) > 0
        assert all(value <= 0 for value in generation.logprobs)
    observations = [segment for segment in trajectory.segments if segment.role is Role.OBSERVATION]
    assert len(observations) == 3 and all(segment.logprobs is None for segment in observations)


def test_a_turn_ends_with_the_token_that_closes_the_action(wild: tuple[Trajectory, Recorder], codec: Codec) -> None:
    closing = codec.encode("</end_search>")[0]
    for _, generation in wild[1].calls[:3]:
        assert generation.ids[-1] == closing and closing not in generation.ids[:-1]


def test_an_uninterrupted_rollout_equals_one_greedy_request(url: str, codec: Codec) -> None:
    question = validation_questions(generate())["1hop"][0].text
    prompt = prompt_text(question) + " <think> First I need the"
    trajectory, recorder = roll(url, codec, prompt, GREEDY)
    first = recorder.calls[0][1].ids  # the turn that no observation interrupted
    assert trajectory.counts.actions == 0 and tuple(trajectory.response_ids[: len(first)]) == first
    assert first == ask(url, trajectory.prompt_ids, LIMITS.max_turn_tokens).ids


def test_turns_fed_back_as_ids_continue_as_if_never_interrupted(url: str, codec: Codec) -> None:
    ids = codec.encode(prompt_text("Where ?") + " <think> First I need the")
    whole, turns = ask(url, ids, 100), list(ids)
    while turns[-1] not in codec.end_ids and len(turns) < len(ids) + 100:
        turns += ask(url, turns, 3).ids
    assert tuple(turns[len(ids) :]) == whole.ids and len(whole.ids) > 3


def test_log_probabilities_are_those_of_the_model_for_these_ids(wild: tuple[Trajectory, Recorder], base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    given, generation = wild[1].calls[2]  # after two observations
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([[*given, *generation.ids]])).logits[0]
    expected = logits.log_softmax(-1)[len(given) - 1 : -1].gather(1, torch.tensor(generation.ids)[:, None])[:, 0]
    assert generation.logprobs == pytest.approx(expected.tolist(), abs=1e-3)


SEARCH = "<think> First I need the {} . <begin_search> {} </end_search>"


def imagine(url: str, codec: Codec, prompt_ids: Sequence[int], author: str) -> Trajectory:
    """One scripted search whose observation the server writes; the rollout ends with an answer."""

    async def run() -> Trajectory:
        environment = build_world_model(WorldModelSettings(author=author, url=url, temperature=0.0))
        turns = [SEARCH.format("birthplace of it", "it birthplace"), "</think> \\boxed{ it } <|im_end|>"]
        engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
        return await rollout(prompt_ids, engine=engine, environment=environment, codec=codec, limits=LIMITS)

    return asyncio.run(run())


def test_a_frozen_checkpoint_imagines_in_ids_that_are_its_own_greedy_continuation(url: str, codec: Codec) -> None:
    prompt = codec.encode(prompt_text("Where was it born ?"))
    trajectory = imagine(url, codec, prompt, "frozen")
    head, _ = codec.observation_frame(codec.protocol.tool("search"))
    start = len(prompt) + len(codec.encode(SEARCH.format("birthplace of it", "it birthplace"))) + len(head.ids)
    body = next(each for each in trajectory.segments if each.call is not None)
    whole = [*trajectory.prompt_ids, *trajectory.response_ids]
    assert body.call is not None and body.call.error is None and trajectory.counts.simulated_calls == 1
    assert tuple(whole[start : start + len(body.ids)]) == body.ids
    assert ask(url, whole[:start], len(body.ids)).ids == body.ids
    # another model than the policy sampled them: no log-probabilities of the policy, and never trained on
    assert (body.source, body.logprobs) == (Source.ENVIRONMENT, None)
    assert sum(trajectory.observation_mask) == 0


def test_a_frozen_checkpoint_with_another_tokenizer_is_refused(url: str, base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "other")
    path = tmp_path / "other" / "tokenizer.json"
    # two words change places: every id still exists, and means something else
    text = (
        path.read_text(encoding="utf-8").replace('"Where"', '"?+"').replace('"was"', '"Where"').replace('"?+"', '"was"')
    )
    path.write_text(text, encoding="utf-8")
    other = Codec(load_tokenizer(tmp_path / "other"), TINYWORLD)
    prompt = other.encode(prompt_text("Where was it born ?"))
    with pytest.raises(ConfigError, match="has another tokenizer than the policy"):
        imagine(url, other, prompt, "frozen")


def test_a_streamed_turn_is_the_turn_and_its_ids_come_before_it_has_ended(url: str, codec: Codec) -> None:
    question = validation_questions(generate())["1hop"][0].text
    ids = codec.encode(prompt_text(question) + " <think> First I need the")
    told: list[list[int]] = []

    async def run(**options: Any) -> tuple[Generation, Generation]:
        async with await OpenAIServerEngine.connect(url) as engine:
            watched = StreamingEngine(engine, lambda ids: told.append(list(ids)))
            return await watched.generate(ids, **options), await engine.generate(ids, **options)

    whole = ask(url, ids, 40).ids
    stop = codec.decode(whole[5:6])  # a word, so that the turn ends at a stop string
    for options in ({"max_tokens": 40, "stop": ()}, {"max_tokens": 40, "stop": (stop,)}, {"max_tokens": 3, "stop": ()}):
        told.clear()
        streamed, expected = asyncio.run(run(**options, sampling=GREEDY))
        assert (streamed.ids, streamed.finish_reason, streamed.info) == (
            expected.ids,
            expected.finish_reason,
            expected.info,
        )
        assert streamed.logprobs == pytest.approx(expected.logprobs, abs=1e-3)
        assert tuple(token for each in told for token in each) == streamed.ids
        assert len([each for each in told if each]) > 1  # not all at once


def test_a_forbidden_text_is_never_sampled_be_it_one_token_or_more(url: str, codec: Codec) -> None:
    tag = codec.protocol.tool("search").action.open
    ids = codec.encode(prompt_text("Where was it born ?") + " <think> First I need the")
    likely = {"logit_bias": {str(codec.encode(tag)[0]): 100}}  # nothing but the tag

    async def write(sampling: Sampling) -> list[str]:
        async with await OpenAIServerEngine.connect(url) as engine:
            generation = await engine.generate(ids, max_tokens=20, stop=(), sampling=sampling)
            return codec.decode(generation.ids).split()

    plain = asyncio.run(write(GREEDY))
    assert asyncio.run(write(replace(GREEDY, options=likely))) == [tag] * 20
    assert asyncio.run(write(replace(GREEDY, options=likely, forbidden=(tag,)))) == plain and tag not in plain
    words = asyncio.run(write(replace(GREEDY, forbidden=(" ".join(plain[2:4]),))))
    # the word that would have completed the text is another one
    assert words[:3] == plain[:3] and words[3] != plain[3]
    assert " ".join(plain[2:4]) not in " ".join(words)


def test_given_tokens_are_scored_as_they_are_when_sampled(url: str, wild: tuple[Trajectory, Recorder]) -> None:
    given, generation = wild[1].calls[2]

    async def run() -> tuple[float, ...]:
        async with await OpenAIServerEngine.connect(url) as engine:
            return await engine.log_probs([*given, *generation.ids], len(given))

    assert asyncio.run(run()) == pytest.approx(generation.logprobs, abs=1e-3)


def test_a_judge_is_asked_through_the_chat_endpoint_and_rubbish_is_no_verdict(url):
    async def ask() -> Verdict:
        async with Judge(JudgeSettings(url, max_tokens=8, price_per_million_output_tokens=1e6)) as judge:
            return await judge.judge("Who is the mayor ?", ("Lale Rasman",), "Zure Haenson")

    verdict = asyncio.run(ask())
    # a base model of an encyclopedia cannot judge, and says neither word
    assert (verdict.correct, verdict.votes) == (None, ("unreadable",) * 3)
    assert verdict.input_tokens > 3 and 3 <= verdict.output_tokens <= 24
    assert verdict.cost == verdict.output_tokens


def test_seeded_requests_that_do_not_fit_into_one_batch_are_answered(url: str, codec: Codec) -> None:
    """A prompt that is read in two parts would end vLLM 0.28 on a CPU."""
    texts = [" ".join(["Where was Kratro Drox born ?"] * 28 + [str(number)]) for number in range(64)]

    async def ask() -> list[Generation]:
        async with await OpenAIServerEngine.connect(url) as engine:
            seeded = Sampling(1.0, {"seed": 7})
            asked = (engine.generate(codec.encode(text), max_tokens=4, stop=(), sampling=seeded) for text in texts)
            return await asyncio.gather(*asked)

    prompts = sum(len(codec.encode(text)) for text in texts)
    assert prompts > 8192 and [len(each.ids) for each in asyncio.run(ask())] == [4] * 64
