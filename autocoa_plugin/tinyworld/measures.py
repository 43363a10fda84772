"""Measures of a policy on the embedded world: when it acts, how well it foresees observations, what it can imagine.

    decisions       did it search, or recall, at every point where it had to decide? as written, and at gold prefixes
                    ... First I need the mayor of Draeth Hill . <begin_search> ...      searched
                    ... First I need the mayor of Draeth Hill . I recall the ...        recalled
                                                              ^ one decision about the subject Draeth Hill
    perplexity      of observations inside gold trajectories
                    ... </end_search> <search_result> Draeth Hill : Draeth Hill is a city in Ploxia . </search_result>
                                                      ---------------- counted: the body -----------
    fidelity        does it write the article that the search tool would have shown?
                    ... <begin_search> Lale Rasman birthplace </end_search> <search_result>  ... it goes on, greedily
    clozes          can the base model copy an invented name from its context, recall a fact by heart?

Searching is right for a tail subject and wrong for a popular one, which the base model knows by heart. Gold prefixes
need no sampling (`forced_decisions`), so those figures exist for a base model that knows no protocol as well.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..engines.base import Engine, Sampling
from ..environments.base import Environment
from ..errors import DataError
from ..tokenization import Codec
from ..trajectory import Role, Segment, Source, Trajectory
from .lines import article, invent_entity
from .questions import Question, all_questions
from .teacher import need_text, search_text
from .tokenizer import prompt_text
from .trajectories import Plan, write_trajectories
from .world import World, relations_of

SEARCH_WORD, RECALL_WORD = "<begin_search>", "I"
_NEED = re.compile(r"I need the (?P<relation>\S+) of (?P<subject>[^.<>]+?) \.(?: (?P<next>\S+))?")


@dataclass(frozen=True)
class Decision:
    """One decision. `is_probe`: the subject is a popular entity that no training question asks about ("popeval")."""

    subject: str
    is_popular: bool
    is_probe: bool
    searched: bool


@dataclass(frozen=True)
class DecisionRates:
    """Shares (0 to 1) over `popular` and `tail` decisions; None where there is no decision of that kind.

    `unneeded_search`: searches among decisions about popular subjects. `missed_search`: recollections among decisions
    about tail subjects. `accuracy` is balanced: the mean of 1 - unneeded_search and 1 - missed_search.
    """

    popular: int
    tail: int
    unneeded_search: float | None
    missed_search: float | None
    accuracy: float | None

    @classmethod
    def of(cls, decisions: Iterable[Decision]) -> DecisionRates:
        """Count decisions."""
        popular, tail = [], []
        for each in decisions:
            (popular if each.is_popular else tail).append(each.searched)
        unneeded = sum(popular) / len(popular) if popular else None
        missed = 1 - sum(tail) / len(tail) if tail else None
        accuracy = None if unneeded is None or missed is None else 1 - (unneeded + missed) / 2
        return cls(len(popular), len(tail), unneeded, missed, accuracy)


@dataclass(frozen=True)
class Decisions:
    """Decisions of trajectories, and how many announcements were none.

    `undecided` went on with neither word, `unknown_subjects` named no entity of the world.
    """

    made: tuple[Decision, ...] = ()
    undecided: int = 0
    unknown_subjects: int = 0

    @classmethod
    def joined(cls, many: Iterable[Decisions]) -> Decisions:
        """Join the decisions of many trajectories."""
        every = list(many)
        made = tuple(decision for each in every for decision in each.made)
        return cls(made, sum(each.undecided for each in every), sum(each.unknown_subjects for each in every))

    @property
    def rates(self) -> DecisionRates:
        """Rates of all decisions."""
        return DecisionRates.of(self.made)

    @property
    def unseen_rates(self) -> DecisionRates:
        """Rates with only those popular subjects that no training question asks about: is *when* more than a list?"""
        return DecisionRates.of(each for each in self.made if each.is_probe or not each.is_popular)


def decide(world: World, subject: str, searched: bool) -> Decision:
    """Make the decision about an entity of the world."""
    entity = world.entities[subject]
    return Decision(subject, entity.is_known, entity.is_probe, searched)


def written_decisions(trajectory: Trajectory, world: World) -> Decisions:
    """Read every "I need the R of S ." that the policy wrote, and the word that follows it."""
    made, undecided, unknown = [], 0, 0
    for text in policy_runs(trajectory):
        for match in _NEED.finditer(text):
            if match["subject"] not in world.entities:
                unknown += 1
            elif match["next"] in (SEARCH_WORD, RECALL_WORD):
                made.append(decide(world, match["subject"], match["next"] == SEARCH_WORD))
            else:
                undecided += 1
    return Decisions(tuple(made), undecided, unknown)


def policy_runs(trajectory: Trajectory) -> list[str]:
    """The text between injections: what was injected, or imagined as an observation, is no decision."""
    runs = [""]
    for segment in trajectory.segments:
        if segment.source is Source.POLICY and segment.role is not Role.OBSERVATION:
            runs[-1] += segment.text
        else:
            runs.append("")
    return [run for run in runs if run]


# -------------------------- gold trajectories: the distribution of every response token, given the gold ones before it
#
#     gold      <think> First I need the mayor of Draeth Hill . <begin_search> ...
#     row t                                                     ^ P(<begin_search>) against P("I"): the decision


def gold_trajectories(questions: Sequence[Question], codec: Codec, environment: Environment) -> list[Trajectory]:
    """Play the perfect plan of each question: search tail hops, recall popular ones.

    Raises `DataError` when the environment does not find a fact.
    """
    plans = [Plan(each, each.needs_search) for each in questions]
    return write_trajectories(plans, codec=codec, environment=environment)


def response_log_probs(model: Any, trajectories: Sequence[Trajectory], batch_size: int = 32) -> Iterator[Any]:
    """Yield a float32 tensor (T, vocabulary) per trajectory, in nats: row t is the distribution of response token t."""
    import torch

    for start in range(0, len(trajectories), batch_size):
        batch = trajectories[start : start + batch_size]
        rows = [torch.tensor([*each.prompt_ids, *each.response_ids], device=model.device) for each in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # on the right: a causal model never sees it
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        for row, scores, trajectory in zip(rows, logits, batch, strict=True):
            first = len(trajectory.prompt_ids) - 1  # a token is predicted at the position before it
            yield scores[first : len(row) - 1].float().log_softmax(-1)


def forced_decisions(
    model: Any, codec: Codec, world: World, questions: Sequence[Question], trajectories: Sequence[Trajectory]
) -> list[Decisions]:
    """Decide every hop of the questions at its gold prefix, by the likelier of the two words; one entry per question.

    `trajectories` are the questions' gold ones. Raises `DataError` when they are of other questions.
    """
    log_probs = response_log_probs(model, trajectories)
    return [
        Decisions(tuple(_decide(world, codec, *each))) for each in zip(questions, trajectories, log_probs, strict=True)
    ]


def _decide(
    world: World, codec: Codec, question: Question, trajectory: Trajectory, log_probs: Any
) -> Iterator[Decision]:
    search, recall = (codec.encode(word)[0] for word in (SEARCH_WORD, RECALL_WORD))
    positions = _decision_positions(trajectory, (search, recall), codec.encode(".")[0])
    if len(positions) != len(question.hops):
        raise DataError(
            f"{question.text!r} has {len(question.hops)} hops, but {len(positions)} decisions in {trajectory.text()!r}"
        )
    for hop, position in zip(question.hops, positions, strict=True):
        row = log_probs[position]
        yield decide(world, hop.subject, bool(row[search] > row[recall]))


def _decision_positions(trajectory: Trajectory, words: tuple[int, int], full_stop: int) -> list[int]:
    """Response positions of the words that come right after a full stop: only a decision looks like this."""
    ids, mask = trajectory.response_ids, trajectory.response_mask
    return [t for t in range(1, len(ids)) if mask[t] and ids[t] in words and ids[t - 1] == full_stop]


# ------------------------------------------------------------------------------------------ perplexity of observations
#
# Stage 3 trains the policy to write observations itself, so this falls for articles it was trained on. It cannot fall
# as far for held-out ones: the model has read their facts nowhere.


@dataclass(frozen=True)
class ObservationLoss:
    """Mean negative log-likelihood (nats) of an observation-body token, its exponential, and the number of tokens."""

    nats_per_token: float | None  # None: there is no observation
    perplexity: float | None
    tokens: int

    @classmethod
    def of(cls, losses: Sequence[float]) -> ObservationLoss:
        """Average the losses of tokens."""
        if not losses:
            return cls(None, None, 0)
        mean = math.fsum(losses) / len(losses)
        return cls(mean, math.exp(min(mean, 700.0)), len(losses))  # exp(710) is no float any more


def observation_loss(model: Any, codec: Codec, trajectories: Sequence[Trajectory]) -> ObservationLoss:
    """Measure the observations of trajectories, each in the context of everything before it."""
    losses: list[float] = []
    for trajectory, log_probs in zip(trajectories, response_log_probs(model, trajectories), strict=True):
        ids = trajectory.response_ids
        losses += [-log_probs[position, ids[position]].item() for position in body_positions(trajectory, codec)]
    return ObservationLoss.of(losses)


def body_positions(trajectory: Trajectory, codec: Codec) -> list[int]:
    """Response positions of the bodies of observations, between their tags."""
    positions, start = [], 0
    for segment in trajectory.segments:
        if segment.role is Role.OBSERVATION:
            head, tail = _frame_lengths(segment, codec)
            positions += range(start + head, start + len(segment.ids) - tail)
        start += len(segment.ids)
    return positions


def _frame_lengths(segment: Segment, codec: Codec) -> tuple[int, int]:
    if segment.call is None:
        return 0, 0
    head, tail = codec.observation_frame(codec.protocol.tool(segment.call.tool))
    return len(head.ids), len(tail.ids)


# ------------------------------------------------------------------------------------------------ world-model fidelity
#
#     <|user|> Where was Lale Rasman born ? <|assistant|> <think> First I need the birthplace of Lale Rasman .
#     <begin_search> Lale Rasman birthplace </end_search> <search_result>  ... the policy goes on, greedily ...
#
# Asked for facts of train entities, which stage 3 may have taught, and of held-out ones, which it cannot know.


MAX_TOKENS = 40  # the longest article has 20
_FACTS_SEED = 4


@dataclass(frozen=True)
class Fidelity:
    """Fidelity of imagined observations, as shares (0 to 1) of forced ones; None when there is no fact.

    `well_formed`: closed within 40 tokens. `title`: begins with the right title. `exact`: well-formed and the
    tool's own document, word for word. `gold`: the asked fact stands in it.
    """

    facts: int
    well_formed: float | None
    title: float | None
    exact: float | None
    gold: float | None


def draw_facts_to_imagine(world: World, group: str, count: int) -> list[Question]:
    """Draw facts of a group, as one-hop questions; the same ones every time."""
    asked = all_questions(world, group, 1)
    return random.Random(_FACTS_SEED).sample(asked, min(count, len(asked)))


async def measure_fidelity(engine: Engine, codec: Codec, world: World, facts: Sequence[Question]) -> Fidelity:
    """Let the engine write one observation per fact, all at once, and compare them with the articles."""
    texts = await asyncio.gather(*(imagine(engine, codec, each) for each in facts))
    checks = [_check(text, codec, world, each) for text, each in zip(texts, facts, strict=True)]
    shares = (sum(column) / len(checks) for column in zip(*checks, strict=True)) if checks else (None,) * 4
    return Fidelity(len(checks), *shares)


async def imagine(engine: Engine, codec: Codec, fact: Question) -> str:
    """Return what the engine writes after the opening of the observation, at most 40 tokens."""
    hop, tool = fact.hops[0], codec.protocol.tool("search")
    turn = f"<think> {need_text(0, hop)} {search_text(hop)}"
    head, _ = codec.observation_frame(tool)
    ids = [*codec.encode(prompt_text(fact.text)), *codec.encode(turn), *head.ids]
    greedy = Sampling(temperature=0.0)
    generation = await engine.generate(ids, max_tokens=MAX_TOKENS, stop=(tool.observation.close,), sampling=greedy)
    return codec.decode(generation.ids)


def _check(text: str, codec: Codec, world: World, fact: Question) -> tuple[bool, bool, bool, bool]:
    """Check one observation: (well-formed, title, exact, gold)."""
    hop = fact.hops[0]
    body, close, _ = text.partition(codec.protocol.tool("search").observation.close)
    body = " ".join(body.split())
    is_exact = bool(close) and body == article(hop.subject, world.entities[hop.subject].text)
    return bool(close), body.startswith(f"{hop.subject} :"), is_exact, f" {hop.object} " in f" {body} "


# ---------------------------------------------- clozes: copy an invented name from the context, recall a fact by heart


Cloze = tuple[str, str]  # (context, the words that must follow)


def copy_clozes(world: World, count: int, seed: int = 99) -> list[Cloze]:
    """One to three articles about invented entities and the beginning of a statement about one of them."""
    rng = random.Random(seed)
    return [_copy_cloze(world, rng) for _ in range(count)]


def _copy_cloze(world: World, rng: random.Random) -> Cloze:
    entities = [invent_entity(world, rng) for _ in range(rng.choice((1, 2, 3)))]
    asked = rng.choice(entities)
    relation = rng.choice(relations_of(asked.kind))
    articles = " ".join(article(each.name, each.text) for each in entities)
    return f"{articles} So the {relation} of {asked.name} is", asked.facts[relation]


def recall_clozes(world: World, group: str, count: int, seed: int = 99) -> list[Cloze]:
    """The beginning of a recollection about entities of a group, with nothing in the context."""
    facts = [(each, relation) for each in world.group(group) for relation in relations_of(each.kind)]
    random.Random(seed).shuffle(facts)
    return [(f"I recall the {relation} of {each.name} is", each.facts[relation]) for each, relation in facts[:count]]


def cloze_accuracy(model: Any, tokenizer: Any, clozes: list[Cloze], batch_size: int = 64) -> float:
    """Share (0 to 1) of clozes whose every missing token is the model's first choice."""
    right = 0
    for start in range(0, len(clozes), batch_size):
        right += sum(_first_choices_match(model, tokenizer, clozes[start : start + batch_size]))
    return right / len(clozes)


def _first_choices_match(model: Any, tokenizer: Any, clozes: list[Cloze]) -> list[bool]:
    import torch

    encoded = [(tokenizer.encode(context), tokenizer.encode(answer)) for context, answer in clozes]
    rows = [torch.tensor(context + answer) for context, answer in encoded]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # on the right: a causal model never sees it
    with torch.no_grad():
        choices = model(input_ids=ids).logits.argmax(-1)
    starts = [len(context) - 1 for context, _ in encoded]  # a token is chosen at the position before it
    return [
        row[start : start + len(answer)].tolist() == answer
        for row, start, (_, answer) in zip(choices, starts, encoded, strict=True)
    ]
