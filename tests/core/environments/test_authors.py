"""Authors on servers of their own, against real HTTP servers on this machine. Ids are code points (`CharTokenizer`)."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, Codec, Limits, Role, Source, StopReason, rollout
from autocoa_plugin.answering import WorldModelSettings
from autocoa_plugin.engines.base import Sampling
from autocoa_plugin.environments.authors import (
    ChatAuthor,
    FrozenAuthor,
    OwnAuthor,
    PerLoop,
    check_tokenizer,
    spell_prompt,
)
from autocoa_plugin.environments.base import Context, answer_safely
from autocoa_plugin.environments.world_model import WorldModel, build_world_model
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.prompts import IMAGINE_SEARCH
from autocoa_plugin.protocol import Action
from autocoa_plugin.testing import EOS_ID, CharTokenizer, ScriptedEngine
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD
from autocoa_plugin.trajectory import Counts, Origin, Outcome

CODEC = Codec(CharTokenizer(), AUTOCOA)
QUERY = Action("search", "capital of France", 0, 1)
TURNS = ["<begin_search>capital of France</end_search>", "so</think> \\boxed{Paris}<eos>"]
ROOMY = Limits(max_response_tokens=4000, answer_reserve_tokens=100)
MODELS = {"data": [{"id": "tiny", "max_model_len": 4096}]}
PARIS = " Paris is it </search_result>"


class ModelServer:
    """Speaks vLLM's dialect: models, completions of ids, chat completions, and the spelling of ids.

    `completion`, `chat`, `spelled`: what it answers; an int is an HTTP status, a function is given the request's body.
    """

    def __init__(self, *, completion=PARIS, chat="Paris is it", spelled=CODEC.decode, models=MODELS, slow_path=None):
        self.asked = []  # (path, body, authorization)
        self._models, self._slow_path = models, slow_path
        self._answers = {
            "/v1/completions": lambda body: _completion(_said(completion, body)),
            "/v1/chat/completions": lambda body: {"choices": [{"message": {"content": _said(chat, body)}}]},
            "/detokenize": lambda body: {"prompt": spelled(body["tokens"])} if callable(spelled) else spelled,
        }

    async def _answer(self, request):
        text = await request.text()
        body = json.loads(text) if text else None
        self.asked.append((request.path, body, request.headers.get("Authorization")))
        await asyncio.sleep(1.0 if request.path == self._slow_path else 0.0)
        if request.path == "/v1/models":
            return web.json_response(self._models)
        answer = self._answers[request.path](body)
        return web.Response(status=answer, text="no") if isinstance(answer, int) else web.json_response(answer)

    @asynccontextmanager
    async def serving(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with TestServer(app) as server:
            yield str(server.make_url("/v1"))

    def bodies(self, path):
        return [body for each, body, _ in self.asked if each == path]


def _said(answer, body):
    return answer(body) if callable(answer) else answer


def _completion(text):
    if isinstance(text, int | dict):
        return text
    ids = CODEC.encode(text)
    choice = {"token_ids": ids, "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.25] * len(ids)}}
    return {"choices": [choice]}


def context(*, ids=(1, 2), metadata=None, max_tokens=500):
    return Context(list(ids), CODEC, ScriptedEngine([]), Sampling(0.7), max_tokens, metadata or {})


def answers(server, n=1, *, asking=None, **settings):
    """`n` observations at once from the author of `settings` on this server."""

    async def run():
        async with server.serving() as url:
            world_model = build_world_model(WorldModelSettings(url=url, **settings))
            running = (answer_safely(world_model, QUERY, asking or context(), timeout_s=None) for _ in range(n))
            return await asyncio.gather(*running)

    return asyncio.run(run())


def rollouts(server, n=1, *, metadata=None, **settings):
    """`n` rollouts at once: an action, what the author of `settings` imagines, the answer."""

    async def run():
        async with server.serving() as url:
            world_model = build_world_model(WorldModelSettings(url=url, **settings))
            return await asyncio.gather(*(_rollout(world_model, metadata) for _ in range(n)))

    return asyncio.run(run())


def _rollout(world_model, metadata=None):
    engine = ScriptedEngine(TURNS, encode=CODEC.encode, decode=CODEC.decode)
    return rollout(
        CODEC.encode("q<think>"),
        engine=engine,
        environment=world_model,
        codec=CODEC,
        limits=ROOMY,
        sampling=Sampling(0.7),
        metadata=metadata,
    )


def observations(trajectory):
    return [each for each in trajectory.segments if each.role is Role.OBSERVATION]


@pytest.fixture
def dead_url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}/v1"  # bound, and nobody listens


# --- which author


def test_the_settings_choose_the_author():
    def author(**settings):
        return build_world_model(WorldModelSettings(**settings))._author

    assert isinstance(author(), OwnAuthor)
    assert isinstance(author(author="frozen", url="http://x/v1"), FrozenAuthor)
    assert isinstance(author(author="model", url="http://x/v1"), ChatAuthor)
    assert [OwnAuthor.is_own, FrozenAuthor.is_own, ChatAuthor.is_own] == [True, False, False]
    assert build_world_model(WorldModelSettings()).stops_at_observation


@pytest.mark.parametrize("author", ["frozen", "model"])
def test_a_key_that_the_environment_lacks_is_named(author, monkeypatch):
    monkeypatch.setenv("EMPTY_KEY", "")
    for name in ("NO_SUCH_KEY", "EMPTY_KEY"):
        with pytest.raises(ConfigError, match=f"world_model.api_key_env={name}: the environment has no such variable"):
            build_world_model(WorldModelSettings(author=author, url="http://x/v1", api_key_env=name))


@pytest.mark.parametrize("author", ["frozen", "model"])
def test_a_key_of_the_environment_is_sent_as_a_bearer_token(author, monkeypatch):
    monkeypatch.setenv("WORLD_KEY", "secret")
    server = ModelServer()
    answers(server, author=author, api_key_env="WORLD_KEY")
    assert {authorization for _, _, authorization in server.asked} == {"Bearer secret"}


# --- frozen


def test_a_frozen_checkpoint_is_shown_the_rollouts_own_ids_and_its_ids_come_back_unchanged():
    server = ModelServer()
    (trajectory,) = rollouts(server, author="frozen")
    (body,) = server.bodies("/v1/completions")
    shown = "q<think><begin_search>capital of France</end_search>\n\n<search_result>"
    assert body["prompt"] == CODEC.encode(shown) and body["temperature"] == 0.7
    # four are what OpenAI's and vLLM's servers take
    assert body["stop"] == ["</search_result>", "<begin_search>", "<begin_calculate>", "\\boxed{"]
    head, imagined, tail = observations(trajectory)
    assert (imagined.ids, imagined.text) == (tuple(CODEC.encode(PARIS)), PARIS) and tail.text == "\n\n"
    assert {each.source for each in (head, imagined, tail)} == {Source.ENVIRONMENT} and imagined.logprobs is None
    assert sum(trajectory.response_mask) == len(CODEC.encode("".join(TURNS)))
    assert trajectory.counts.simulated_calls == 1 and trajectory.stop_reason is StopReason.ANSWERED


def test_a_frozen_checkpoints_log_probabilities_reach_whoever_routes_by_them():
    (observation,) = answers(ModelServer(), author="frozen")
    assert observation.generation.logprobs == (-0.25,) * len(PARIS) and not observation.is_own


def test_own_sampling_parameters_reach_the_server():
    server = ModelServer()
    answers(server, author="frozen", temperature=0.0, top_p=0.5, top_k=7, max_tokens=40)
    (body,) = server.bodies("/v1/completions")
    assert [body[name] for name in ("temperature", "top_p", "top_k", "max_tokens")] == [0.0, 0.5, 7, 40]


def test_rollouts_of_one_event_loop_share_one_connection_and_one_check_of_the_tokenizer():
    server = ModelServer()
    assert len(rollouts(server, 8, author="frozen")) == 8
    paths = [path for path, _, _ in server.asked]
    assert (paths.count("/v1/models"), paths.count("/v1/completions")) == (1, 8)
    assert paths.count("/detokenize") == 4  # tags, end of the sequence, prompt, last turn


def test_an_author_serves_one_event_loop_after_another():
    async def once(author, url):
        world_model = WorldModel(author, WorldModelSettings(author="frozen", url=url))
        return await answer_safely(world_model, QUERY, context(), timeout_s=None)

    async def serve(author):
        async with server.serving() as url:
            author._settings = WorldModelSettings(author="frozen", url=url)
            return await once(author, url)

    server, author = ModelServer(), FrozenAuthor(WorldModelSettings(author="frozen", url="http://x/v1"), None)
    seen = [asyncio.run(serve(author)) for _ in range(2)]
    assert [each.outcome for each in seen] == [Outcome.OK, Outcome.OK]
    assert not author._engines._kept  # a closed loop leaves no connection behind


def test_a_checkpoint_with_another_tokenizer_is_refused_and_both_spellings_are_shown():
    server = ModelServer(spelled=lambda ids: CODEC.decode([token + 1 for token in ids if token < EOS_ID]))
    with pytest.raises(ConfigError, match="has another tokenizer than the policy: it spells the tags '=cfhjo") as seen:
        answers(server, author="frozen")
    assert "world_model.url=http://127.0.0.1" in str(seen.value) and "<begin_search>" in str(seen.value)
    assert "\n" not in str(seen.value)


def test_a_tokenizer_that_differs_in_words_of_the_rollout_alone_is_refused_as_well():
    server = ModelServer(spelled=lambda ids: CODEC.decode(ids).replace("Kipling", "Chekhov"))
    asking = context(ids=CODEC.encode("x" * 200 + "Who is Kipling?"))
    with pytest.raises(ConfigError, match=r"spells the last turn '.*Who is Chekhov\?'"):
        answers(server, author="frozen", asking=asking)


def test_ids_that_the_server_does_not_know_are_another_tokenizer():
    with pytest.raises(ConfigError, match=r"world_model.author=frozen: .*/detokenize cannot spell the ids .HTTP 400"):
        answers(ModelServer(spelled=400), author="frozen")


def test_white_space_that_a_decoder_cleans_up_is_no_other_tokenizer():
    server = ModelServer(spelled=lambda ids: CODEC.decode(ids).replace(" ", ""))
    assert answers(server, author="frozen")[0].outcome is Outcome.OK


def test_a_server_that_cannot_spell_ids_is_accepted():
    server = ModelServer(spelled=404)
    assert answers(server, author="frozen")[0].outcome is Outcome.OK
    assert len(server.bodies("/detokenize")) == 1


def test_a_server_that_gives_text_only_is_a_configuration_error():
    text_only = {"choices": [{"text": "Paris is it", "finish_reason": "stop"}]}
    with pytest.raises(ConfigError, match=r"world_model.author=frozen: .* answered without token_ids"):
        answers(ModelServer(completion=text_only), author="frozen")


def test_a_shorter_context_of_the_server_bounds_the_observation_and_then_refuses_it():
    server = ModelServer(models={"data": [{"id": "tiny", "max_model_len": 60}]})
    answers(server, author="frozen", asking=context(ids=[5] * 20))
    assert server.bodies("/v1/completions")[0]["max_tokens"] == 60 - 20 - 17
    (observation,) = answers(server, author="frozen", asking=context(ids=[5] * 50))
    assert observation.outcome is Outcome.ERROR
    assert "takes 60 tokens, the rollout has 67" in observation.error


# --- a chat model


def test_a_chat_model_is_asked_with_the_query_and_its_text_is_injected():
    server = ModelServer(chat='result 1: "Paris"\nParis is the capital.')
    (trajectory,) = rollouts(server, author="model")
    (body,) = server.bodies("/v1/chat/completions")
    assert body["model"] == "tiny" and body["temperature"] == 0.7 and body["stop"] == ["</search_result>"]
    assert "top_p" not in body and "top_k" not in body
    assert body["messages"][0]["content"].endswith("\n\nQuery: capital of France")
    (observation,) = observations(trajectory)
    spelled = '\n\n<search_result> result 1: "Paris"\nParis is the capital. </search_result>\n\n'
    assert (observation.source, observation.text) == (Source.ENVIRONMENT, spelled)
    assert trajectory.counts.simulated_calls == 1 and sum(observation.ids) > 0


@pytest.mark.parametrize("author", ["frozen", "model"])
def test_gold_answers_in_the_metadata_never_reach_the_server(author):
    golds = {
        "golds": ["Hidden Gold"],
        "reward_model": {"ground_truth": "Hidden Gold"},
        "extra_info": {"answer": "HG42"},
    }
    server = ModelServer()
    rollouts(server, author=author, metadata={"global_step": 1, **golds})
    sent = json.dumps([body for _, body, _ in server.asked])
    decoded = "".join(CODEC.decode(body["prompt"]) for body in server.bodies("/v1/completions"))
    for gold in ("Hidden", "Gold", "HG42"):
        assert gold not in sent and gold not in decoded
    assert "capital of France" in sent + decoded  # the query did


def test_a_chat_model_is_shown_neither_question_nor_rollout():
    server = ModelServer()
    answers(server, author="model", asking=context(ids=CODEC.encode("a long question about Kipling")))
    assert "Kipling" not in json.dumps([body for _, body, _ in server.asked])


def test_the_prompt_shows_the_protocols_document_format():
    for protocol, spelled in ((AUTOCOA, 'result 1: "title"\ntext\nresult 2'), (TINYWORLD, "title : text")):
        assert spelled in spell_prompt(IMAGINE_SEARCH, QUERY, protocol)


def test_a_query_with_braces_is_text():
    query = Action("search", "{query} {format} {0}", 0, 1)
    assert spell_prompt("<{format}|{query}>", query, TINYWORLD) == "<title : text\ntitle : text|{query} {format} {0}>"


def test_a_named_model_is_not_looked_up_because_not_every_server_lists_its_models():
    server = ModelServer(models={"error": "no list"})
    assert answers(server, author="model", model="big")[0].outcome is Outcome.OK
    assert [path for path, _, _ in server.asked] == ["/v1/chat/completions"]


def test_the_thought_of_a_thinking_model_is_left_out():
    for text in ("<think>Hm.</think>\nParis is it", "Hm.</think>Paris is it"):
        assert answers(ModelServer(chat=text), author="model")[0].text == "Paris is it"


@pytest.mark.parametrize("text", [None, "", "  ", "<think>never ends", "<begin_search>q</end_search>"])
def test_a_chat_model_that_says_nothing_gives_an_empty_result(text):
    (observation,) = answers(ModelServer(chat=lambda _: text), author="model")
    assert (observation.outcome, observation.origin) == (Outcome.EMPTY, Origin.WORLD_MODEL)
    assert observation.counts == Counts(empty_observations=1)


@pytest.mark.parametrize("text", [" Paris </search_result> \\boxed{Delhi}", "Paris \\boxed{Delhi}", "Paris <think>"])
def test_tags_and_boxes_of_a_chat_model_never_enter_the_trajectory(text):
    (trajectory,) = rollouts(ModelServer(chat=text), author="model")
    assert observations(trajectory)[0].text == "\n\n<search_result> Paris </search_result>\n\n"


@pytest.mark.parametrize("content", [["Paris"], {"text": "Paris"}, 3])
def test_a_message_that_is_no_text_is_an_error(content):
    (observation,) = answers(ModelServer(chat=lambda _: content), author="model")
    assert observation.error.startswith("ToolResponseError") and "expected text" in observation.error


def test_an_unknown_prompt_or_one_without_a_place_for_the_query_is_refused():
    for name in ("imagine_serch", "autocoa_search"):
        with pytest.raises(ConfigError, match=rf"prompt must be one of \['imagine_search'\].*got '{name}'"):
            build_world_model(WorldModelSettings(author="model", url="http://x/v1", prompt=name))


# --- failures


@pytest.mark.parametrize("author", ["frozen", "model"])
def test_a_server_that_is_down_is_an_observation_and_costs_nobody_elses_rollout(author, dead_url):
    async def run():
        dead = build_world_model(WorldModelSettings(author=author, url=dead_url, max_attempts=1))
        async with ModelServer().serving() as url:
            alive = build_world_model(WorldModelSettings(author=author, url=url))
            return await asyncio.gather(*(_rollout(each) for each in (dead, dead, alive)))

    *failed, fine = asyncio.run(run())
    for trajectory in failed:
        call = trajectory.calls()[0]
        assert (call.outcome, call.origin) == (Outcome.ERROR, Origin.WORLD_MODEL)
        assert dead_url in call.error and "ClientConnectorError" in call.error
        assert trajectory.stop_reason is StopReason.ANSWERED and trajectory.counts.tool_errors == 1
        assert (
            observations(trajectory)[0].text
            == f"\n\n<search_result> {AUTOCOA.notices.tool_failed} </search_result>\n\n"
        )
    assert fine.calls()[0].outcome is Outcome.OK


@pytest.mark.parametrize("author", ["frozen", "model"])
def test_a_server_that_comes_up_later_is_asked_again(author):
    server = ModelServer()

    async def run():
        async with server.serving() as url:
            world_model = build_world_model(WorldModelSettings(author=author, url=url, max_attempts=1))
            server._models = {"data": []}
            first = await answer_safely(world_model, QUERY, context(), timeout_s=None)
            server._models = MODELS
            return first, await answer_safely(world_model, QUERY, context(), timeout_s=None)

    assert [each.outcome for each in asyncio.run(run())] == [Outcome.ERROR, Outcome.OK]


@pytest.mark.parametrize("author", ["frozen", "model"])
def test_a_broken_server_is_an_error_with_its_last_words(author):
    server = ModelServer(completion=500, chat=500)
    server._answers["/v1/chat/completions"] = lambda _: 500
    (observation,) = answers(server, author=author, max_attempts=1)
    assert observation.outcome is Outcome.ERROR and "HTTP 500: no" in observation.error


@pytest.mark.parametrize(
    ("author", "slow_path"),
    [
        ("frozen", "/v1/models"),
        ("frozen", "/v1/completions"),
        ("model", "/v1/models"),
        ("model", "/v1/chat/completions"),
    ],
)
def test_a_server_that_takes_too_long_is_a_time_out_of_the_world_model(author, slow_path):
    (observation,) = answers(ModelServer(slow_path=slow_path), author=author, timeout_s=0.1)
    assert (observation.outcome, observation.origin) == (Outcome.TIMEOUT, Origin.WORLD_MODEL)
    assert observation.error == "ToolTimeoutError: the world model imagined no observation within 0.1 s"


def test_a_rollout_that_gives_up_does_not_take_the_connection_from_the_others():
    opened = []

    class Connection:
        async def aclose(self):
            opened.append("closed")

    async def connect():
        opened.append("opening")
        await asyncio.sleep(0.05)
        return Connection()

    async def run():
        shared = PerLoop()
        impatient = asyncio.create_task(asyncio.wait_for(shared.get(connect), 0.01))
        patient = asyncio.create_task(shared.get(connect))
        with pytest.raises(TimeoutError):
            await impatient
        assert await patient is await shared.get(connect)

    asyncio.run(run())
    assert opened == ["opening", "closed"]


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"wordpiece", "word_level"}))  # they cannot spell the tags
def test_a_server_that_decodes_as_transformers_does_has_the_policys_tokenizer(family):
    class Server:
        base_url = "http://x/v1"

        async def detokenize(self, ids):
            return FAMILIES[family]().decode(ids)  # what vLLM does

    codec = Codec(FAMILIES[family](), AUTOCOA)
    prompt = codec.encode("<bos><|user|>Who wrote it, and when ? It 's é.<|assistant|><think>\n")
    asyncio.run(check_tokenizer(Server(), codec, prompt))
    with pytest.raises(ConfigError, match="another tokenizer"):
        asyncio.run(check_tokenizer(Server(), CODEC, CODEC.encode("Kipling")))
