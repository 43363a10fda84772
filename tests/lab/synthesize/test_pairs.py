"""Every pair shares its prefix token for token, and both directions occur: wrong chains of any teacher, cut anywhere.

random teacher ──> wrong cot, wrong coa ──cut_places──> act, think ──pair_record──> file ──> pair_to_trajectories
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_families import FAMILIES, LOSSLESS, OPENS_THOUGHT

from autocoa_plugin import AUTOCOA, Codec, Limits, Role, Segment, Source, StopReason, Trajectory
from autocoa_plugin.data.play import pair_to_trajectories
from autocoa_plugin.data.record_files import read_records, write_records
from autocoa_plugin.data.records import Message, PairRecord, Piece
from autocoa_plugin.data.rows import continuation_row
from autocoa_plugin.engines.base import Generation, Sampling
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.errors import DataError, ToolUnavailableError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.synthesize.attempt import Attempt, Cut, Kind, Request, Strategy
from autocoa_plugin.lab.synthesize.job import STRATEGIES, Prices, Span
from autocoa_plugin.lab.synthesize.next_attempt import cut_places
from autocoa_plugin.lab.synthesize.steps import STEP_ENDS
from autocoa_plugin.lab.synthesize.teacher import Teacher, Way
from autocoa_plugin.lab.synthesize.training_rows import direction, pair_record
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tokenization import fingerprint
from autocoa_plugin.trajectory import Origin, Outcome

QUESTION = Question(id="q", question="Who?", golds=("the old king",))
MESSAGES = (Message("user", "Who?"),)
T, A, O, E = Role.THOUGHT, Role.ACTION, Role.OBSERVATION, Role.ANSWER  # noqa: E741
POLICY, TOOL = Source.POLICY, Source.ENVIRONMENT

# ------------------------------------------------------------------------------------------- a teacher of any tokenizer

SENTENCES = (
    "I need the river. ", "So it was built in 1912.\n", "Dr. X wrote it? ", "naïve café 🙂. ", "北京 was. ", "Hmm... ",
    "\n", "1. Find it.\n\n", "the old king wrote Just So Stories.\n\n", "  two  spaces! ", "no end", "x = {1: '<b>'}. ",
)  # fmt: skip
ACTIONS = ("{} Kipling </end_search>", "{}the old king</end_search>", "{} 🙂é </end_search>\n\nSo", "{} </end_search>")
ENDS = ("So</think>\n\n\\boxed{a castle}<eos>", "</think> \\boxed{the old king}<eos>", "<eos>", "</think>\\boxed{")
DOCUMENTS = ("result 1: Paris", "", "</search_result> so \\boxed{x}", "<begin_search> q </end_search>", "a\n\nb🙂" * 9)


def codec_of(family: str) -> Codec:
    """The codec of a family; those that cannot spell the tags get them as added tokens, as `Codec` advises."""
    tokenizer = FAMILIES[family]()
    if family in ("wordpiece", "word_level"):
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.add_tokens([*AUTOCOA.tags(), AUTOCOA.answer.close])
    return Codec(tokenizer, AUTOCOA)


class AnyTeacher:
    """Writes anything that fits where it is: goes on with an opened action, a step, an answer, or thinks and acts.

    What it samples follows from the seed of the call; some of it is spelled in tokens that no encoder would write.
    """

    max_context_tokens: int | None = None

    def __init__(self, codec: Codec, *, opened_by_prompt: bool) -> None:
        self.codec, self.opening = codec, "" if opened_by_prompt else "<think>\n"
        self.shown: list[tuple[int, ...]] = []

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        self.shown.append(tuple(ids))
        chance = random.Random(sampling.options["seed"])
        text = "".join(self._written(self.codec.decode(ids), stop, sampling.forbidden, chance))
        sampled = self.codec.encode(text)
        if chance.random() < 0.3 and "<eos>" not in text:
            sampled = [token for char in text for token in self.codec.encode(char)]
        engine = ScriptedEngine([sampled], decode=self.codec.decode, logprob=-chance.random())
        return await engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)

    def _written(
        self, shown: str, stop: Sequence[str], forbidden: Sequence[str], chance: random.Random
    ) -> Iterator[str]:
        if shown.endswith("<begin_search>"):
            yield chance.choice(ACTIONS).format("")
        elif tuple(stop) == (AUTOCOA.answer.close,):
            yield "a castle}"
        elif tuple(stop) == STEP_ENDS:
            yield chance.choice([text for text in (*SENTENCES, *ENDS) if not any(each in text for each in forbidden)])
        else:
            yield self.opening if shown.endswith("<|assistant|>") else ""
            yield from (chance.choice(SENTENCES) for _ in range(chance.randrange(5)))
            acts = not forbidden and chance.random() < 0.7
            yield chance.choice(ACTIONS).format("<begin_search>") if acts else chance.choice(ENDS)


@dataclass
class World:
    """A teacher, and the wrong chains and changes that it writes."""

    family: str
    seed: int
    roomy: bool = True

    def __post_init__(self) -> None:
        self.codec = codec_of(self.family)
        self.opened = self.family in OPENS_THOUGHT
        self.engine = AnyTeacher(self.codec, opened_by_prompt=self.opened)
        chance = random.Random(f"{self.family} {self.seed}")
        most = 20_000 if self.roomy else 200 + chance.randrange(300)
        limits = Limits(max_actions=10, max_response_tokens=most, answer_reserve_tokens=100)
        tool = ScriptedEnvironment(lambda _: _answer(chance))
        self.teacher = Teacher(
            engine=self.engine,
            codec=self.codec,
            cot=Way(lambda _: self.prompt("no tool"), tool, limits),
            coa=Way(lambda _: self.prompt("the tool"), tool, limits),
            tool=AUTOCOA.tool("search"),
            sampling=Sampling(),
            rewarder=Rewarder(),
            prices=Prices(),
            seed=self.seed,
        )

    def prompt(self, text: str) -> list[int]:
        return self.codec.encode(f"<bos><|user|>{text} ?<|assistant|>{'<think>' if self.opened else ''}")

    def changes(self, most: int) -> list[tuple[Attempt, Attempt]]:
        """Changed chains with the chains they were made of; those cut first by each strategy."""
        return asyncio.run(self._changes(most))

    async def _changes(self, most: int) -> list[tuple[Attempt, Attempt]]:
        made: list[tuple[Attempt, Attempt]] = []
        for kind in (Kind.COT, Kind.COA):
            parent = await self.teacher.write(QUESTION, Request(kind, 0), None)
            for place, strategy in self._cuts(parent, most):
                assert kind.change is not None
                request = Request(kind.change, len(made), Cut(0, place, strategy))
                self.engine.shown.clear()
                change = await self.teacher.write(QUESTION, request, parent)
                self._check_shown(change, parent, place)
                made.append((change, parent))
        return made

    def _cuts(self, parent: Attempt, most: int) -> Iterator[tuple[int, Strategy]]:
        for strategy in STRATEGIES:
            places = cut_places(parent.sample.trajectory, parent.kind, strategy, self.codec, seed=self.seed)
            for place in places[:most]:
                yield place, strategy

    def _check_shown(self, change: Attempt, parent: Attempt, place: int) -> None:
        """The teacher goes on from the very ids that it wrote before the cut, whichever prompt it is shown."""
        kept = parent.sample.trajectory.response_ids[:place]
        assert change.sample.trajectory.response_ids[:place] == kept
        if self.engine.shown:
            prompt = self.prompt("the tool" if change.kind is Kind.ACT else "no tool")
            assert self.engine.shown[0][: len(prompt) + place] == (*prompt, *kept)

    def pair(self, change: Attempt, parent: Attempt, span: Span) -> PairRecord:
        assert change.request.cut is not None
        return pair_record(
            change.sample.trajectory,
            parent.sample.trajectory,
            prompt_ids=self.prompt("trained"),
            n_shared=change.request.cut.n_shared,
            span=span,
            id="p",
            tokenizer=fingerprint(self.codec.tokenizer),
            codec=self.codec,
            messages=MESSAGES,
            golds=QUESTION.golds,
        )


def _answer(chance: random.Random) -> Observation | Exception:
    text = chance.choice(DOCUMENTS)
    if chance.random() < 0.1:
        return ToolUnavailableError("no connection")
    return Observation(text, Origin.REAL, Outcome.OK if text else Outcome.EMPTY)


def by_token(trajectory: Trajectory) -> list[tuple[int, Role, Source]]:
    return [(token, each.role, each.source) for each in trajectory.segments for token in each.ids]


def n_prefix(pair: PairRecord) -> int:
    return sum(len(piece.ids or ()) for piece in pair.prefix)


# ---------------------------------------------------------------------------------------------------- the prefix is one


@settings(max_examples=60)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 10**6), st.booleans(), st.sampled_from(["trajectory", "step"]))
def test_both_sides_of_every_pair_begin_with_the_same_tokens(family, seed, roomy, span):
    world = World(family, seed, roomy)
    for change, parent in world.changes(most=2):
        try:
            pair = world.pair(change, parent, span)
        except DataError as error:
            assert may_be_no_pair(str(error), change, roomy)
            continue
        check_ids(world, pair, change, parent, span)
        assert check_text(world, pair) or not can_be_said(world, pair)


def may_be_no_pair(error: str, change: Attempt, roomy: bool) -> bool:
    """A step may be blank, and then the teacher acts or has no more room; nothing else may go wrong."""
    if change.kind is Kind.THINK:
        return "both sides act at once" in error
    return not roomy and "both sides think on" in error


def check_ids(world: World, pair: PairRecord, change: Attempt, parent: Attempt, span: Span) -> None:
    prompt, n_shared = world.prompt("trained"), n_prefix(pair)
    assert change.request.cut is not None and n_shared >= change.request.cut.n_shared >= 1
    sides = pair_to_trajectories(pair, world.codec, prompt)
    assert sides.n_shared == n_shared
    wrote = [by_token(each.sample.trajectory) for each in (change, parent)]
    for side, whole in zip((sides.chosen, sides.rejected), wrote, strict=True):
        # what was sampled is what is trained, under the prompt that is trained
        assert side.prompt_ids == tuple(prompt)
        assert by_token(side) == whole[: len(side.response_ids)]
        assert span == "step" or len(side.response_ids) == len(whole)
        row = continuation_row(side, n_shared, id="p")
        assert not any(row.loss_weights[: len(prompt) + n_shared]) and any(row.loss_weights)
    chosen, rejected = by_token(sides.chosen), by_token(sides.rejected)
    assert chosen[:n_shared] == rejected[:n_shared]
    assert chosen[n_shared] != rejected[n_shared]
    check_direction(pair, change.kind, span)


def check_direction(pair: PairRecord, kind: Kind, span: Span) -> None:
    assert direction(pair) == str(kind)
    assert pair.acts == ("chosen" if kind is Kind.ACT else "rejected")
    acting, thinking = (pair.chosen, pair.rejected) if kind is Kind.ACT else (pair.rejected, pair.chosen)
    if span == "step":
        assert acting[-1].role is A and O not in {piece.role for piece in (*acting, *thinking)}
        assert A not in {piece.role for piece in thinking}
        assert "".join(piece.text for piece in thinking).strip()


def check_text(world: World, pair: PairRecord) -> bool:
    """The same without ids: encoded once, both sides share the prefix; False for a row that is refused."""
    try:
        text = without_ids(pair)
        sides = pair_to_trajectories(text, world.codec, world.prompt("trained"))
    except DataError:
        return False
    assert sides.n_shared > 0
    shared = sides.chosen.response_ids[: sides.n_shared]
    assert shared == sides.rejected.response_ids[: sides.n_shared]
    if world.family in LOSSLESS:
        prefix = "".join(piece.text for piece in text.prefix)
        assert world.codec.decode(shared) == prefix
        for side, pieces in ((sides.chosen, text.chosen), (sides.rejected, text.rejected)):
            assert without_end(side.text()) == prefix + "".join(piece.text for piece in pieces)
    return True


def can_be_said(world: World, pair: PairRecord) -> bool:
    """Whether text is enough: no forced answer, no unanswered action inside, an end of sequence at the end alone."""
    if world.family not in LOSSLESS:
        return False
    for side in (pair.chosen, pair.rejected):
        pieces = (*pair.prefix, *side)
        said = without_end("".join(piece.text for piece in pieces))
        roles = [piece.role for piece in pieces if without_end(piece.text)]
        is_unanswered = any(first is A and second is not O for first, second in pairwise(roles))
        is_only_end = not without_end("".join(piece.text for piece in side))
        is_forced = any(piece.source is Source.TEMPLATE for piece in pieces)
        if "<eos>" in said or is_unanswered or is_only_end or is_forced or roles[-1] is O:
            return False
    return True


def without_end(text: str) -> str:
    return text.removesuffix("<eos>")


def without_ids(pair: PairRecord) -> PairRecord:
    def bare(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
        texts = [without_end(piece.text) for piece in pieces]
        return tuple(replace(piece, text=text, ids=None) for piece, text in zip(pieces, texts, strict=True) if text)

    sides = {name: bare(getattr(pair, name)) for name in ("prefix", "chosen", "rejected")}
    return replace(pair, prompt_ids=None, tokenizer=None, **sides)


# word_level spells no full stop, so a thought of its words is one step
@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"word_level"}))
def test_both_directions_occur_at_places_of_both_strategies_and_survive_a_file(family, tmp_path):
    seen, played = Counter[tuple[str, str]](), Counter[bool]()
    made: list[PairRecord] = []
    for seed in range(16):
        world = World(family, seed)
        for change, parent in world.changes(most=2):
            try:
                pair = world.pair(change, parent, "trajectory")
            except DataError:
                continue
            assert change.request.cut is not None
            seen[direction(pair), change.request.cut.strategy] += 1
            played[check_text(world, pair)] += 1
            made.append(replace(pair, id=str(len(made))))
    assert all(seen[way, strategy] >= 3 for way in ("act", "think") for strategy in STRATEGIES), seen
    assert played[True] > 0.7 * played.total(), played
    write_records(made, tmp_path / "pairs.parquet")
    assert list(read_records(tmp_path / "pairs.parquet")) == made


# --------------------------------------------------------------------------------------------------- what a pair holds

CODEC = Codec(CharTokenizer(), AUTOCOA)
SEARCH, FOUND = "<begin_search> s </end_search>", "\n\n<search_result> d </search_result>\n\n"


def chain(*segments: tuple[Role, str], prompt: str = "teacher") -> Trajectory:
    made = tuple(
        Segment(role, TOOL if role is O else POLICY, tuple(CODEC.encode(text)), text) for role, text in segments
    )
    return Trajectory(tuple(CODEC.encode(prompt)), made, StopReason.ANSWERED, "autocoa")


ACTING = chain((T, "So. "), (A, SEARCH), (O, FOUND), (T, "Ah. </think>"), (E, "x<eos>"))
THINKING = chain((T, "So. I recall it. Next I think. </think>"), (E, "y<eos>"), prompt="without tool")


def made(chosen: Trajectory, rejected: Trajectory, *, n_shared: int = 4, span: Span = "step") -> PairRecord:
    return pair_record(
        chosen,
        rejected,
        prompt_ids=CODEC.encode("trained"),
        n_shared=n_shared,
        span=span,
        id="q/act/0",
        tokenizer=fingerprint(CODEC.tokenizer),
        codec=CODEC,
        messages=MESSAGES,
        golds=("x",),
        meta={"kind": "act"},
    )


def said(pieces: Sequence[Piece]) -> list[tuple[Role, str]]:
    return [(piece.role, piece.text) for piece in pieces]


def test_a_pair_is_shown_the_prompt_that_is_trained():
    pair = made(ACTING, THINKING)
    assert pair.prompt_ids == tuple(CODEC.encode("trained"))
    assert (pair.id, pair.messages, pair.golds, pair.meta) == ("q/act/0", MESSAGES, ("x",), {"kind": "act"})


def test_sides_go_on_to_the_answer_in_a_pair_of_trajectories():
    pair = made(ACTING, THINKING, span="trajectory")
    assert said(pair.prefix) == [(T, "So. ")]
    assert said(pair.chosen) == [(A, SEARCH), (O, FOUND), (T, "Ah. </think>"), (E, "x<eos>")]
    assert said(pair.rejected) == [(T, "I recall it. Next I think. </think>"), (E, "y<eos>")]
    assert direction(pair) == "act"


def test_sides_end_after_the_step_at_which_they_part():
    pair = made(ACTING, THINKING)
    assert said(pair.prefix) == [(T, "So. ")]
    assert said(pair.chosen) == [(A, SEARCH)]
    assert said(pair.rejected) == [(T, "I recall it. ")]
    turned = made(THINKING, ACTING)
    assert (turned.chosen, turned.rejected) == (pair.rejected, pair.chosen)
    assert (direction(pair), direction(turned)) == ("act", "think")


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ([(T, "So. I know.</think>"), (E, "y")], [(T, "I know.")]),  # the closing tag is no part of the step
        ([(T, "So. </think>"), (E, "y")], [(T, "</think>")]),  # no step: the thought ends, and with it the side
        ([(T, "So. I know."), (A, SEARCH), (O, FOUND), (T, "Ah.")], [(T, "I know.")]),  # acts, but thinks first
        ([(T, "So. "), (T, "\nI know. So")], [(T, "\nI know. ")]),  # a blank is no step
        ([(T, "So. I know<eos>")], [(T, "I know")]),
    ],
)
def test_a_thinking_side_ends_with_its_step_or_its_thought(thinking, expected):
    assert said(made(chain(*thinking), ACTING).chosen) == expected


def test_an_action_may_follow_white_space():
    acting = chain((T, "So. "), (T, "\n"), (A, SEARCH), (O, FOUND), (T, "Ah."))
    pair = made(acting, THINKING)
    assert said(pair.chosen) == [(T, "\n"), (A, SEARCH)]
    assert direction(pair) == "act"


def test_more_than_was_to_be_shared_is_shared_where_both_sides_go_on_alike():
    acting = chain((T, "So. I "), (A, SEARCH), (O, FOUND), (T, "Ah."))
    assert said(made(acting, THINKING).prefix) == [(T, "So. I ")]


def test_chains_that_share_less_than_they_should_are_refused():
    with pytest.raises(DataError, match=r"row 'q/act/0': .* were to share 5 tokens and share the first 4 only"):
        made(ACTING, THINKING, n_shared=5)
    with pytest.raises(DataError, match="row 'q/act/0', 0 shared tokens: prefix"):
        made(ACTING, chain((T, "No. ")))


def test_sides_that_both_act_or_both_think_on_are_refused():
    # both write the tag, the other one in tokens that no encoder writes
    other = Segment(A, POLICY, (1, 2), SEARCH)
    with pytest.raises(DataError, match="row 'q/act/0': both sides act at once after the prefix"):
        made(ACTING, replace(ACTING, segments=(ACTING.segments[0], other, *ACTING.segments[2:])))
    with pytest.raises(DataError, match="row 'q/act/0': both sides think on after the prefix"):
        made(THINKING, chain((T, "So. No. </think>"), (E, "n")))


def test_a_chain_that_is_the_beginning_of_the_other_makes_no_pair():
    with pytest.raises(DataError, match="row 'q/act/0', 4 shared tokens: rejected: empty"):
        made(ACTING, chain((T, "So. ")))
