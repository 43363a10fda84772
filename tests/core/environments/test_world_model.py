"""Imagined observations, through the real loop. Ids are code points (`CharTokenizer`), so they can be read."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, SEARCH_R1, Codec, Limits, Role, Source, StopReason, rollout
from autocoa_plugin.answering import WorldModelSettings
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.environments.authors import OwnAuthor
from autocoa_plugin.environments.base import Context, answer_safely
from autocoa_plugin.environments.repair import repair_ids, repair_text
from autocoa_plugin.environments.world_model import WorldModel
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.protocol import Action
from autocoa_plugin.rewards import score
from autocoa_plugin.testing import EOS_ID, CharTokenizer, ScriptedEngine
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD
from autocoa_plugin.trajectory import Counts, Origin, Outcome

CODEC = Codec(CharTokenizer(), AUTOCOA)
TOOL = AUTOCOA.tool("search")
SELF = WorldModelSettings()
QUERY = Action("search", "q", 0, 1)
ACTION = "<begin_search>q</end_search>"  # 14 + 1 + 13 characters
ANSWER = "so</think> \\boxed{Paris}<eos>"
CLOSE = "</search_result>"  # 16 characters
HEAD, TAIL = "\n\n<search_result>", " </search_result>\n\n"  # 17 and 19 characters
ROOMY = Limits(max_response_tokens=4000, answer_reserve_tokens=100)


class CountingAuthor(OwnAuthor):
    """The policy as author, which remembers what it was asked."""

    def __init__(self, settings=SELF, *, is_own=True):
        super().__init__(settings)
        self.is_own, self.asked = is_own, []

    async def imagine(self, action, context, *, max_tokens, stop):
        self.asked.append(action)
        return await super().imagine(action, context, max_tokens=max_tokens, stop=stop)


class TextAuthor:
    """An author that cannot say ids."""

    is_own = False

    def __init__(self, text):
        self.text = text

    async def imagine(self, action, context, *, max_tokens, stop):
        return self.text


class SlowAuthor(TextAuthor):
    async def imagine(self, action, context, *, max_tokens, stop):
        await asyncio.sleep(30)
        return self.text


def run(
    body, *, merges=(), protocol=AUTOCOA, settings=SELF, author=None, limits=ROOMY, turns=(ACTION, ANSWER), stops=True
):
    """An action, an imagined `body` (text, ids, Generation), the end; `stops`: the engine heeds stop strings."""
    codec = Codec(CharTokenizer(merges), protocol)
    decode = codec.decode if stops else None
    engine = ScriptedEngine([turns[0], body, turns[1]], encode=codec.encode, decode=decode)
    environment = WorldModel(author or OwnAuthor(settings), settings)
    prompt = codec.encode("q<think>")
    running = rollout(prompt, engine=engine, environment=environment, codec=codec, limits=limits)
    return asyncio.run(running), engine


def context(engine=None, *, codec=CODEC, max_tokens=500, sampling=None):
    return Context([1, 2], codec, engine or ScriptedEngine([]), sampling or Sampling(), max_tokens)


def answer(author, asking, settings=SELF):
    return asyncio.run(answer_safely(WorldModel(author, settings), QUERY, asking, timeout_s=None))


def observed(trajectory):
    """The imagined segment alone: the frame is injected around it."""
    return next(each for each in trajectory.segments if each.call and each.role is Role.OBSERVATION)


def observation_text(trajectory):
    return "".join(each.text for each in trajectory.segments if each.role is Role.OBSERVATION)


def repairs(counts):
    names = ("unclosed_observations", "tagged_observations", "empty_observations")
    return tuple(getattr(counts, name) for name in names)


# --- the happy path


def test_an_imagined_observation_becomes_segments_of_sampled_ids_between_injected_tags():
    trajectory, _ = run(" Paris is it </search_result>")
    assert [(each.role, each.source, each.text) for each in trajectory.segments] == [
        (Role.ACTION, Source.POLICY, ACTION),
        (Role.OBSERVATION, Source.ENVIRONMENT, HEAD),
        (Role.OBSERVATION, Source.POLICY, " Paris is it </search_result>"),
        (Role.OBSERVATION, Source.ENVIRONMENT, "\n\n"),
        (Role.THOUGHT, Source.POLICY, "so</think>"),
        (Role.ANSWER, Source.POLICY, " \\boxed{Paris}<eos>"),
    ]
    assert observed(trajectory).ids == tuple(map(ord, " Paris is it </search_result>"))
    assert observed(trajectory).logprobs == (-0.5,) * 29  # 13 characters and the closing tag's 16
    assert trajectory.stop_reason is StopReason.ANSWERED


def test_imagined_tokens_carry_no_loss_and_keep_their_log_probabilities():
    trajectory, _ = run(" Paris is it </search_result>")
    # 28 action; 17 head, 29 imagined, 2 after it; "so</think>" 10, " \boxed{Paris}" 14 and <eos>
    assert trajectory.response_mask == [1] * 28 + [0] * (17 + 29 + 2) + [1] * (10 + 15)
    assert trajectory.response_logprobs == [-0.5] * 28 + [0.0] * 17 + [-0.5] * 29 + [0.0] * 2 + [-0.5] * 25
    assert trajectory.observation_mask == [0] * len(trajectory.response_ids)  # nothing real in it


def test_the_author_goes_on_after_the_opening_tag_and_the_policy_after_the_closing_one():
    trajectory, engine = run(" Paris is it </search_result>")
    prompt, ids = trajectory.prompt_ids, tuple(trajectory.response_ids)
    assert engine.prompts == [prompt, prompt + ids[: 28 + 17], prompt + ids[: 28 + 17 + 29 + 2]]


def test_sampling_of_an_observation_stops_at_its_closing_tag_a_nested_action_and_an_answer():
    _, engine = run(" x </search_result>")
    # four, because servers take no more; other tags are cut away afterwards
    assert engine.requests[1]["stop"] == (CLOSE, "<begin_search>", "<begin_calculate>", "\\boxed{")


def test_a_clean_observation_is_one_simulated_call_with_its_tokens_counted():
    counts = run(" Paris is it </search_result>")[0].counts
    assert (counts.simulated_calls, counts.real_calls, counts.actions) == (1, 0, 1)
    assert (counts.sampled_observation_tokens, counts.discarded_observation_tokens) == (29, 0)
    assert (repairs(counts), counts.empty_results, counts.tool_errors) == ((0, 0, 0), 0, 0)


def test_a_call_of_the_world_model_says_so():
    call = observed(run(" x </search_result>")[0]).call
    assert (call.tool, call.parameters, call.origin, call.outcome) == ("search", "q", Origin.WORLD_MODEL, Outcome.OK)


def test_an_author_that_is_not_the_policy_is_the_environment_and_its_log_probabilities_stay_out():
    trajectory, _ = run(" x </search_result>", author=CountingAuthor(is_own=False))
    assert observed(trajectory).source is Source.ENVIRONMENT and observed(trajectory).logprobs is None
    assert sum(trajectory.response_mask) == 28 + 25


@pytest.mark.parametrize("protocol", [AUTOCOA, TINYWORLD])
def test_a_protocol_says_what_stands_around_an_imagined_observation(protocol):
    trajectory, _ = run(" x </search_result>", protocol=protocol)
    before, after = protocol.observation_before, protocol.observation_after
    assert observation_text(trajectory) == f"{before}<search_result> x </search_result>{after}"


def test_tags_of_search_r1_are_imagined_between_as_well():
    turns = ("<search>q</search>", "so</think><answer>Paris</answer>")
    trajectory, _ = run("x</information>", protocol=SEARCH_R1, turns=turns)
    assert observation_text(trajectory) == "\n\n<information>x</information>\n\n"


# --- own sampling parameters and limits


def sampling_of(settings, policy):
    engine = ScriptedEngine([" x </search_result>"], encode=CODEC.encode)
    answer(OwnAuthor(settings), context(engine, sampling=policy), settings)
    return engine.requests[0]["sampling"]


def test_an_observation_is_sampled_as_the_policy_is_unless_the_settings_say_otherwise():
    policy = Sampling(0.7, {"seed": 3, "top_p": 0.5})
    assert sampling_of(SELF, policy) == policy
    changed = WorldModelSettings(temperature=0.0, top_p=0.9, top_k=20)
    assert sampling_of(changed, policy) == Sampling(0.0, {"seed": 3, "top_p": 0.9, "top_k": 20})


def test_the_body_has_what_the_frame_leaves_of_the_room_and_no_more_than_the_settings_allow():
    engine = ScriptedEngine([" x </search_result>", " x </search_result>"], encode=CODEC.encode)
    answer(OwnAuthor(SELF), context(engine, max_tokens=100))
    answer(OwnAuthor(SELF), context(engine, max_tokens=100), WorldModelSettings(max_tokens=30))
    assert [each["max_tokens"] for each in engine.requests] == [100 - 17 - 19, 30]


def test_without_room_for_a_body_nothing_is_sampled_and_the_observation_is_an_error():
    engine = ScriptedEngine([])
    observation = answer(OwnAuthor(SELF), context(engine, max_tokens=36))
    assert observation.outcome is Outcome.ERROR and engine.prompts == []
    assert "36 tokens are left, and its tags alone take 36" in observation.error


def test_an_endless_observation_ends_at_the_limit_and_is_closed_by_the_loop():
    limits = Limits(max_response_tokens=4000, answer_reserve_tokens=100, max_observation_tokens=50)
    trajectory, engine = run("x" * 10_000, limits=limits)
    assert engine.requests[1]["max_tokens"] == 50 - 17 - 19
    assert observation_text(trajectory) == HEAD + "x" * 14 + TAIL
    assert repairs(trajectory.counts) == (1, 0, 0) and trajectory.stop_reason is StopReason.ANSWERED


def test_an_observation_that_closes_with_its_very_last_token_fits():
    limits = Limits(max_response_tokens=4000, answer_reserve_tokens=100, max_observation_tokens=17 + 18 + 19)
    trajectory, _ = run(" x</search_result>", limits=limits)
    assert observation_text(trajectory) == HEAD + " x</search_result>\n\n" and repairs(trajectory.counts) == (0, 0, 0)


# --- what is repaired


def repaired(text, merges=(), codec=None):
    codec = codec or Codec(CharTokenizer(merges), AUTOCOA)
    return repair_ids(codec, TOOL, codec.encode(text))


def test_what_was_sampled_after_the_closing_tag_is_discarded_and_counted():
    kept = repaired(" x </search_result> and the policy goes on")
    assert (kept.text, kept.is_closed) == (" x </search_result>", True)
    assert kept.counts == Counts(discarded_observation_tokens=len(" and the policy goes on"))


@pytest.mark.parametrize(
    "tag", [tag for tag in AUTOCOA.tags() if tag != CLOSE] + ["\\boxed {", "\\boxed\n{", "<bos>", "<|x|>"]
)
def test_an_observation_is_cut_before_every_other_tag_box_or_special_token(tag):
    tokenizer = CharTokenizer()
    tokenizer.get_added_vocab = lambda: {"<eos>": EOS_ID, "<|x|>": 7}
    kept = repaired(f" Kipling {tag} q </search_result>", codec=Codec(tokenizer, AUTOCOA))
    assert (kept.text, kept.is_closed) == (" Kipling ", False)
    discarded = len(tokenizer.encode(f"{tag} q {CLOSE}"))
    assert kept.counts == Counts(tagged_observations=1, discarded_observation_tokens=discarded)


def test_a_special_token_that_reads_like_ordinary_text_is_cut_by_its_id():
    tokenizer = CharTokenizer()
    tokenizer.get_added_vocab = lambda: {"|": ord("|")}  # one character: not searched for as text
    kept = repaired(" a | b </search_result>", codec=Codec(tokenizer, AUTOCOA))
    assert kept.text == " a " and kept.counts.tagged_observations == 1


def test_words_and_white_space_in_the_added_vocabulary_are_ordinary_text():
    tokenizer = CharTokenizer()
    tokenizer.get_added_vocab = lambda: {"Kipling": 7, "\n\n": 8, "search": 9}
    codec = Codec(tokenizer, AUTOCOA)
    ids = codec.encode("Kipling\n\nwrote \n search </search_result>")
    assert repair_ids(codec, TOOL, ids).ids == tuple(ids)


def test_an_end_of_the_sequence_is_cut_off_and_the_observation_counts_as_unclosed():
    kept = repaired(" x <eos>")
    assert (kept.text, kept.is_closed) == (" x ", False)
    assert kept.counts == Counts(unclosed_observations=1, discarded_observation_tokens=1)


def test_an_end_of_the_sequence_after_the_closing_tag_is_no_repair():
    kept = repaired(" x </search_result><eos>")
    assert kept.is_closed and kept.counts == Counts(discarded_observation_tokens=1)


def test_an_observation_at_a_length_limit_is_kept_whole():
    kept = repaired(" x </search_res")
    assert (kept.text, kept.is_closed, kept.counts) == (" x </search_res", False, Counts(unclosed_observations=1))


@pytest.mark.parametrize("body", ["", "  \n", " </search_result>", "<eos>", "<begin_search>q</end_search>", " \n<bos>"])
def test_an_observation_with_nothing_in_it_is_the_notice_of_an_empty_result(body):
    trajectory, engine = run(body)
    assert observation_text(trajectory) == f"{HEAD} {AUTOCOA.notices.empty_result}{TAIL}"
    assert repairs(trajectory.counts) == (0, 0, 1) and trajectory.counts.empty_results == 1
    sampled = len(engine.prompts[-1]) - len(trajectory.prompt_ids)  # all of it was thrown away but the notice
    assert sampled == 28 + len(observation_text(trajectory))
    expected = next((n for n in range(len(CODEC.encode(body)) + 1) if _stopped(body, n)), len(CODEC.encode(body)))
    assert trajectory.counts.discarded_observation_tokens == expected
    assert trajectory.counts.sampled_observation_tokens == 0


def _stopped(body, n):
    return any(tag in CODEC.decode(CODEC.encode(body)[:n]) for tag in AUTOCOA.tags())


def test_a_cut_observation_keeps_exactly_the_log_probabilities_of_its_ids():
    ids = tuple(map(ord, " ab<begin_search>"))
    sampled = Generation(ids, tuple(-0.1 * position for position in range(len(ids))), FinishReason.STOP)
    trajectory, _ = run(sampled)
    assert observed(trajectory).ids == ids[:3] and observed(trajectory).logprobs == (-0.0, -0.1, -0.2)


def test_an_engine_without_log_probabilities_gives_observations_without():
    trajectory, _ = run(Generation(tuple(map(ord, " x </search_result>")), None, FinishReason.STOP))
    assert observed(trajectory).logprobs is None


# --- tags inside longer tokens


def test_a_closing_tag_that_ends_inside_a_token_keeps_the_token_and_says_only_once_what_follows():
    trajectory, _ = run(" x </search_result>\n\n", merges=["</search_result>\n\n"])
    assert observed(trajectory).ids[-1] == 3_000_000
    assert observation_text(trajectory) == f"{HEAD} x {CLOSE}\n\n" and repairs(trajectory.counts) == (0, 0, 0)


def test_the_loop_completes_what_a_token_began_after_the_closing_tag():
    trajectory, _ = run(" x </search_result>\n", merges=[">\n"])
    assert observed(trajectory).ids[-1] == 3_000_000
    assert observation_text(trajectory) == f"{HEAD} x {CLOSE}\n\n"


def test_text_of_the_closing_token_stays_in_the_observation_and_nothing_is_added():
    trajectory, _ = run(" x </search_result>So", merges=[">So"])
    assert observation_text(trajectory) == f"{HEAD} x {CLOSE}So"
    assert trajectory.segments[-2].text == "so</think>"


@pytest.mark.parametrize("after", ["<begin_search>", "</end_search>", CLOSE, "\\boxed{", "\\boxed {", "<eos>"])
def test_a_closing_token_that_carries_another_tag_is_cut_away_as_a_whole(after):
    trajectory, _ = run(f" x </search_result>{after}", merges=[f">{after}"], stops=False)
    assert observation_text(trajectory) == f"{HEAD} x </search_result{TAIL}"
    assert repairs(trajectory.counts) == (0, 1, 0) and trajectory.counts.discarded_observation_tokens == 1


def test_a_tag_that_begins_inside_a_token_takes_the_token_with_it():
    trajectory, _ = run(" x. <begin_search>q", merges=[". <begin"])
    assert observation_text(trajectory) == f"{HEAD} x{TAIL}"


def test_an_unfinished_character_at_a_length_limit_is_discarded_and_counted():
    codec = Codec(FAMILIES["byte_bpe"](), AUTOCOA)
    ids = codec.encode(" x é")
    unfinished = ids[: next(n for n in range(len(ids)) if codec.decode(ids[: n + 1]).endswith("\ufffd")) + 1]
    kept = repair_ids(codec, TOOL, unfinished)
    assert (kept.text.strip(), kept.counts) == ("x", Counts(unclosed_observations=1, discarded_observation_tokens=1))


def test_bytes_that_are_no_character_at_all_are_kept():
    codec = Codec(FAMILIES["byte_bpe"](), AUTOCOA)
    half = next(token for token in codec.encode("é") if codec.decode([token]) == "\ufffd")
    ids = [*codec.encode("x"), *[half] * 50]
    started = time.perf_counter()
    assert repair_ids(codec, TOOL, ids).ids == tuple(ids)
    assert time.perf_counter() - started < 1.0


# --- what an imagined observation must never do


def test_an_answer_box_in_an_imagined_observation_is_not_rewarded():
    bodies = [" \\boxed{Delhi} </search_result>", " Kipling \\boxed{Delhi} </search_result>", " \\boxed {Delhi}<eos>"]
    for body in bodies:
        for stops in (True, False):
            trajectory, _ = run(body, stops=stops)
            assert "boxed" not in observation_text(trajectory)
            assert AUTOCOA.extract_answer(observation_text(trajectory)) is None
            assert score(trajectory, "Delhi", AUTOCOA).parts["exact_match"] == 0.0
            assert score(trajectory, "Paris", AUTOCOA).parts["exact_match"] == 1.0


@pytest.mark.parametrize("stops", [True, False])
def test_a_nested_action_is_not_executed(stops):
    author = CountingAuthor()
    trajectory, _ = run(f" x <begin_search>other</end_search> {CLOSE}", author=author, stops=stops)
    assert [action.parameters for action in author.asked] == ["q"]
    assert trajectory.counts.actions == trajectory.counts.tagged_observations == 1
    assert AUTOCOA.find_action(observation_text(trajectory)) is None


PIECES = [
    *AUTOCOA.tags(),
    "<eos>",
    "<bos>",
    "\\boxed",
    " {",
    "}",
    "</search",
    "_result>",
    " x",
    " ",
    "\n\n",
    "é",
    "\ufffd",
]
MERGES = [
    ">\n\n",
    ">S",
    "><begin",
    " <search_result",
    "</search_result>\\boxed{",
    "</search_result></end_search>",
    ". <",
]


@given(st.lists(st.sampled_from(PIECES + MERGES) | st.text(max_size=5), max_size=12), st.booleans())
def test_whatever_is_imagined_the_trajectory_holds_one_closing_tag_no_action_and_no_answer(pieces, stops):
    check_invariant(run("".join(pieces), merges=MERGES, stops=stops)[0], Codec(CharTokenizer(MERGES), AUTOCOA))


def check_invariant(trajectory, codec):
    segments = [each for each in trajectory.segments if each.role is Role.OBSERVATION]
    text = codec.decode([token for each in segments for token in each.ids])
    assert codec.protocol.find_action(text) is None and codec.protocol.find_open_action(text) is None
    assert codec.protocol.extract_answer(text) is None and not codec.protocol.answer_is_open(text)
    assert text.count(CLOSE) == text.count("<search_result>") == 1
    assert not any(each.is_trained or each.is_real_observation for each in segments)
    assert all(each.text == codec.decode(each.ids) for each in segments if each.source is Source.POLICY)
    assert len(trajectory.calls()) == trajectory.counts.actions == 1
    assert trajectory.stop_reason is StopReason.ANSWERED


@given(st.lists(st.integers(0, 599), max_size=40))
@pytest.mark.parametrize("family", ["byte_bpe", "byte_bpe_fused", "sentencepiece_bpe", "unigram"])
def test_random_tokens_of_a_real_vocabulary_keep_the_invariant(family, ids):
    codec = _codec(family)
    check_invariant(run_with(codec, ids), codec)


@given(st.lists(st.sampled_from(PIECES), max_size=10))
@pytest.mark.parametrize(
    "family", ["byte_bpe_added_tags", "byte_bpe_special_tags", "byte_bpe_bos", "sentencepiece_bpe"]
)
def test_tags_and_text_of_a_real_tokenizer_keep_the_invariant(family, pieces):
    codec = _codec(family)
    check_invariant(run_with(codec, codec.encode("".join(pieces))), codec)


def _codec(family):
    return Codec(FAMILIES[family](), AUTOCOA)


def run_with(codec, body):
    engine = ScriptedEngine([codec.encode(ACTION), body, codec.encode(ANSWER)])
    running = rollout(
        codec.encode("q<think>"),
        engine=engine,
        environment=WorldModel(OwnAuthor(SELF), SELF),
        codec=codec,
        limits=ROOMY,
    )
    return asyncio.run(running)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"wordpiece", "word_level"}))  # they cannot spell the tags
def test_every_family_that_can_spell_the_tags_closes_an_observation_by_itself(family):
    codec = _codec(family)
    ids = codec.encode(" New York was built in </search_result>")
    kept = repair_ids(codec, TOOL, [*ids, *codec.encode(" and more of it")])
    assert (kept.ids, kept.is_closed, kept.text) == (tuple(ids), True, codec.decode(ids))


# --- authors that say text


@pytest.mark.parametrize(
    ("text", "kept", "counts"),
    [
        ("Paris is it", "Paris is it", Counts()),
        (" Paris is it </search_result> and more", "Paris is it", Counts()),
        ("Paris <begin_search>q</end_search>", "Paris", Counts(tagged_observations=1)),
        ("Paris \\boxed {Delhi}", "Paris", Counts(tagged_observations=1)),
        ("Paris<eos>", "Paris", Counts(tagged_observations=1)),
        ("  \n", "", Counts(empty_observations=1)),
        ("<think>so", "", Counts(empty_observations=1)),
    ],
)
def test_text_is_cut_by_the_same_rules(text, kept, counts):
    found = repair_text(CODEC, TOOL, text)
    assert (found.text, found.counts) == (kept, counts)


def test_an_author_of_text_is_injected_like_a_tool():
    codec = Codec(CharTokenizer(), AUTOCOA)
    engine = ScriptedEngine([ACTION, ANSWER], encode=codec.encode, decode=codec.decode)
    environment = WorldModel(TextAuthor("Paris is it"), SELF)
    trajectory = asyncio.run(
        rollout(codec.encode("q<think>"), engine=engine, environment=environment, codec=codec, limits=ROOMY)
    )
    assert [(each.source, each.text) for each in trajectory.segments if each.role is Role.OBSERVATION] == [
        (Source.ENVIRONMENT, f"{HEAD} Paris is it{TAIL}")
    ]
    assert observed(trajectory).call.origin is Origin.WORLD_MODEL and not observed(trajectory).is_real_observation


# --- failures


def test_an_author_that_takes_too_long_is_a_time_out_of_the_world_model():
    observation = answer(SlowAuthor(""), context(), WorldModelSettings(timeout_s=0.02))
    assert (observation.outcome, observation.origin) == (Outcome.TIMEOUT, Origin.WORLD_MODEL)
    assert observation.error == "ToolTimeoutError: the world model imagined no observation within 0.02 s"
    assert observation.text == AUTOCOA.notices.tool_timeout


def test_an_aborted_observation_is_an_error_and_its_tokens_are_counted_as_discarded():
    trajectory, _ = run(Generation((120, 121), (-1.0, -1.0), FinishReason.ABORT))
    counts = trajectory.counts
    assert (counts.tool_errors, counts.simulated_calls, counts.discarded_observation_tokens) == (1, 1, 2)
    assert observation_text(trajectory) == f"{HEAD} {AUTOCOA.notices.tool_failed}{TAIL}"
    assert "unfinished, after 2 tokens" in observed(trajectory).call.error


def test_an_engine_that_returns_more_than_was_asked_for_is_an_error():
    settings = WorldModelSettings(max_tokens=3)
    trajectory, _ = run(Generation(tuple(map(ord, "abcd")), None, FinishReason.STOP), settings=settings)
    assert trajectory.counts.tool_errors == 1 and trajectory.counts.discarded_observation_tokens == 4
    assert "returned 4 ids, at most 3 were asked for" in observed(trajectory).call.error


def test_a_configuration_error_of_an_author_ends_the_run():
    class Misfit(TextAuthor):
        async def imagine(self, action, context, *, max_tokens, stop):
            raise ConfigError("another tokenizer")

    with pytest.raises(ConfigError, match="another tokenizer"):
        answer(Misfit(""), context())
