"""The contract tests for authors, routing policies and retrievers: ours pass, a broken one is named with its rule."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from autocoa_plugin.answering import Annealing, Phase, WorldModelSettings
from autocoa_plugin.engines.base import FinishReason, Generation
from autocoa_plugin.environments.authors import OwnAuthor
from autocoa_plugin.environments.router import (
    ByProbability,
    ByStep,
    ByUncertainty,
    Fixed,
    LocalBudget,
    RoutingPolicy,
    WithBudget,
)
from autocoa_plugin.errors import ConfigError, ToolError
from autocoa_plugin.retrieval.base import CachedRetriever, Document, check_top_k
from autocoa_plugin.retrieval.index_build import open_or_build
from autocoa_plugin.testing import (
    check_author,
    check_retriever,
    check_routing_policy,
)

# ----------------------------------------------------------------------------------------------------------- authors


class Author:
    """Writes what the function `write` says."""

    is_own = False

    def __init__(self, write, **attributes):
        self.write = write
        vars(self).update(attributes)

    async def imagine(self, action, context, *, max_tokens, stop):
        return await self.write(action, context, max_tokens, stop)


async def table(action, context, max_tokens, stop):
    return f"High water at {action.parameters[:20]}: 04:12"


async def sampled(action, context, max_tokens, stop):
    return await context.engine.generate(context.ids, max_tokens=max_tokens, stop=stop, sampling=context.sampling)


@pytest.mark.parametrize("author", [OwnAuthor(WorldModelSettings()), Author(table), Author(sampled, is_own=True)])
def test_authors_that_write_text_or_sample_keep_the_rules(author):
    check_author(author)


def writing(text):
    async def write(action, context, max_tokens, stop):
        return text(max_tokens) if callable(text) else text

    return Author(write)


def generation(text, logprobs=None):
    return Generation(tuple(map(ord, text)), logprobs, FinishReason.STOP)


async def reads_the_gold(action, context, max_tokens, stop):
    return f"It is {context.metadata.get('golds', 'x')}"


async def needs_a_query(action, context, max_tokens, stop):
    if not action.parameters.strip():
        raise ConfigError("an empty query")
    return "text"


class Impatient(Author):
    def imagine(self, action, context, *, max_tokens, stop):
        return "text"


BROKEN_AUTHORS = {
    "a class": (OwnAuthor, r"^author OwnAuthor is a class: pass an object, OwnAuthor\(\.\.\.\)$"),
    "no method": (4, r"^author int has no method imagine$"),
    "no is_own": (Author(table, is_own=None), r"^author Author needs is_own = True .* or False, got None$"),
    "synchronous": (Impatient(table), r"imagine\(\.\.\) must be `async def`, it returned 'text' at once$"),
    "a number": (writing(4), r"must be answered by an engines\.base\.Generation or a str, got int$"),
    "too many tokens": (
        writing(generation("x" * 300)),
        r"answered with 300 tokens, which are more than max_tokens=256",
    ),
    "ignores max_tokens": (
        writing(generation("x" * 100)),
        r"with 4 tokens left, the query 'Rudyard .*' was answered with 100 tokens, which are more than max_tokens=4$",
    ),
    "too much text": (writing("x" * 200), r"answered with 200 characters, which are more than max_tokens=4$"),
    "log-probabilities": (writing(generation("xyz", (-0.1,))), r"with 3 tokens and 1 log-probabilities$"),
    "goes on": (
        writing(lambda n: generation("a</search_result>b"[:n])),
        r"goes on after a stop string: 'a</search_result>b' has 18 tokens, and the string is complete after 17$",
    ),
    "text goes on": (writing("a</search_result>b"), r"'a</search_result>' is followed by 'b'$"),
    "not its own": (Author(table, is_own=True), r"says is_own = True, but never sampled on the rollout's engine"),
    "gold": (Author(reads_the_gold), r"^author Author looks for the gold answer in metadata\['golds'\]"),
    "empty": (
        Author(needs_a_query),
        r"a query of an empty text raised ConfigError: an empty query, which ends the w",
    ),
}


@pytest.mark.parametrize("case", BROKEN_AUTHORS)
def test_an_author_that_breaks_a_rule_fails_with_that_rules_sentence(case):
    author, sentence = BROKEN_AUTHORS[case]
    with pytest.raises(AssertionError, match=sentence):
        check_author(author)


# -------------------------------------------------------------------------------------------------- routing policies

OUR_POLICIES = {
    "fixed": Fixed("real"),
    "steps": ByStep((Phase("world_model", 8), Phase("real", 2))),
    "probability": ByProbability(Annealing(steps=10)),
    "unsure of the query": ByUncertainty("query", -0.05),
    "unsure of the observation": ByUncertainty("observation", -0.05),
    "sure": ByUncertainty("observation", -0.5),
    "budget": WithBudget(Fixed("real"), LocalBudget(1)),
    "budget of the unsure": WithBudget(ByUncertainty("observation", -0.05), LocalBudget(1)),
}


@pytest.mark.parametrize("name", OUR_POLICIES)
def test_our_routing_policies_keep_the_rules(name):
    check_routing_policy(OUR_POLICIES[name])


def test_a_routing_policy_needs_no_more_than_a_choice():
    class Alternating:
        async def choose(self, action, context):
            return "real" if context.call_index % 2 else "world_model"

    check_routing_policy(Alternating())


@dataclass
class Policy(RoutingPolicy):
    """Chooses what the function says."""

    chosen: Callable = lambda context: "real"
    reviewed: Callable = lambda observation: None

    async def choose(self, action, context):
        return self.chosen(context)

    async def review(self, observation, context):
        return self.reviewed(observation)


class Hasty(Policy):
    def choose(self, action, context):
        return "real"


def taking_turns():
    turns = iter(["real", "world_model"] * 1000)
    return lambda context: next(turns)


BROKEN_POLICIES = {
    "no method": (4, r"^routing policy int has no method choose$"),
    "synchronous": (Hasty(), r"choose must be `async def`, it returned 'real' at once$"),
    "unknown": (
        Policy(lambda context: "rael"),
        r"at step 1 of split 'train', call 0 chose 'rael', which is none of \[",
    ),
    "taking turns": (
        Policy(taking_turns()),
        r"may depend on the place in the run only, because rollouts finish in",
    ),
    "training only": (
        Policy(lambda context: {"train": "real"}[context.split]),
        r"at step 1 of split 'val', call 0: choose raised KeyError: 'val'$",
    ),
    "before training": (
        Policy(lambda context: "real" if 1 % context.step < 2 else ""),
        r"at step 0 of split 'val', call 0: choose raised ZeroDivisionError",
    ),
    "review": (
        Policy(reviewed=lambda observation: "again"),
        r"reviewed an answer of outcome ok and asked for 'again', which is neither None nor one of \['real', 'world_mo",
    ),
    "failed answers": (
        Policy(lambda context: "world_model", lambda observation: observation.generation.ids and None),
        r"review raised AttributeError: 'NoneType' object has no attribute 'ids'$",
    ),
    "gold": (
        Policy(lambda context: context.metadata.get("ground_truth", "real")),
        r"looks for the gold answer in metadata\['ground_truth'\]",
    ),
}


@pytest.mark.parametrize("case", BROKEN_POLICIES)
def test_a_routing_policy_that_breaks_a_rule_fails_with_that_rules_sentence(case):
    policy, sentence = BROKEN_POLICIES[case]
    with pytest.raises(AssertionError, match=sentence):
        check_routing_policy(policy)


def test_phases_are_checked_for_the_steps_that_they_cover():
    phases = ByStep((Phase("real", 3),))
    check_routing_policy(phases, steps=range(1, 4))
    with pytest.raises(AssertionError, match=r"at step 4 of .* choose raised ConfigError: routing\.phases cover 3"):
        check_routing_policy(phases)


# -------------------------------------------------------------------------------------------------------- retrievers

PASSAGES = [Document(str(i), f"Title {i}", f"Text of passage {i}.", 9.0 - i) for i in range(5)]


def test_our_index_and_its_cache_keep_the_rules(tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f'{{"id": "{i}", "contents": "\\"T{i}\\"\\nport {"of " * i}call"}}\n' for i in range(4)))
    index = open_or_build(str(corpus), tmp_path / "index")
    check_retriever(index, ["port", "call"])
    check_retriever(CachedRetriever(index), ["port", "call"])


class Archive:
    """Finds the first `top_k` passages for every query; `change` makes something else of one answer."""

    def __init__(self, change=lambda documents, query: documents):
        self.change = change

    async def search(self, queries, top_k):
        check_top_k(top_k)
        return [self.change(PASSAGES[:top_k], query) for query in queries]


def test_a_retriever_of_ten_lines_keeps_the_rules():
    check_retriever(Archive(), ["Kipling", "Dover"])


class Plain:
    """Gives mappings, from plain functions that block; opens what it has found."""

    def search(self, queries, top_k):
        time.sleep(0.02)
        return [[{"id": each.id, "text": each.text} for each in PASSAGES[:top_k]] for _ in queries]

    def open(self, document_id):
        return [{"text": each.text} for each in PASSAGES if each.id == document_id]


def test_a_retriever_may_give_mappings_from_plain_functions_and_open_what_it_finds():
    check_retriever(Plain(), ["Kipling", "Dover"])


def swapped(self, queries, top_k):
    return [PASSAGES[1:top_k] if query < "E" else PASSAGES[:top_k] for query in sorted(queries)]


def first_only(self, queries, top_k):
    return [PASSAGES[:top_k]]


def best_of_all(self, queries, top_k):
    return [PASSAGES[-1:] if top_k == 1 else PASSAGES[:top_k] for _ in queries]


def fails_politely(self, queries, top_k):
    if not queries[0].strip():
        raise ToolError("an empty query")
    return [PASSAGES[:top_k] for _ in queries]


def stops_the_run(self, queries, top_k):
    if not queries[0].strip():
        raise ConfigError("an empty query")
    return [PASSAGES[:top_k] for _ in queries]


async def blocks(self, queries, top_k):
    time.sleep(0.3)
    return [PASSAGES[:top_k] for _ in queries]


def with_search(search, **methods):
    return type("Archive", (), {"search": search, **methods})()


def test_a_retriever_may_refuse_a_query_with_a_tool_error():
    check_retriever(with_search(fails_politely), ["Kipling", "Dover"])


BROKEN_RETRIEVERS = {
    "no method": (4, r"^retriever int has no method search$"),
    "one list": (with_search(lambda self, queries, top_k: PASSAGES), r"search gave 5 lists for 1 queries$"),
    "lists": (
        with_search(first_only),
        r"at once failed with ToolResponseError: .* gave 1 lists for 2 queries$",
    ),
    "too many": (
        Archive(lambda documents, query: PASSAGES),
        r"search gave 5 documents of query 'Kipling', expected",
    ),
    "no text": (
        Archive(lambda documents, query: [{"id": 1}]),
        r"document 0 of query 'Kipling' has no text",
    ),
    "nothing": (Archive(lambda documents, query: []), r"finds nothing for any of \['Kipling', 'Dover'\]$"),
    "blocks": (with_search(blocks), r"'Kipling' blocks the event loop: nothing else went on for 0\.\d\d s"),
    "order": (Archive(lambda documents, query: documents[::-1]), r"best document must come first, scores are \[7\.0,"),
    "order of queries": (with_search(swapped), r"2 queries at once: 'Kipling' is answered by \['Title 1'"),
    "another best": (with_search(best_of_all), r"the best document for 'Kipling' is another one when only one is ask"),
    "ends the run": (
        with_search(stops_the_run),
        r"a query of an empty text raised ConfigError: an empty query, which",
    ),
    "opens nothing": (
        with_search(fails_politely, open=lambda self, document_id: []),
        r"open\('0'\), the id of a document that it found, gave no passage$",
    ),
    "cannot open": (
        with_search(fails_politely, open=lambda self, document_id: PASSAGES[9]),
        r"open\('0'\), the id of a document that it found, failed with ToolError: .*IndexError",
    ),
}


@pytest.mark.parametrize("case", BROKEN_RETRIEVERS)
def test_a_retriever_that_breaks_a_rule_fails_with_that_rules_sentence(case):
    retriever, sentence = BROKEN_RETRIEVERS[case]
    with pytest.raises(AssertionError, match=sentence):
        check_retriever(retriever, ["Kipling", "Dover"])


def test_a_search_for_one_query_is_not_two():
    with pytest.raises(AssertionError, match=r"queries must be two or more$"):
        check_retriever(Archive(), "Kipling")
