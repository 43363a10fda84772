"""What a trajectory promises: exact ids, masks from roles, and a dump that reads back the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.dump import TrajectoryDump, read_dump
from autocoa_plugin.errors import TrajectoryError
from autocoa_plugin.rewards import Reward
from autocoa_plugin.trajectory import (
    CALLS,
    Call,
    Counts,
    Origin,
    Outcome,
    Role,
    Segment,
    Source,
    StopReason,
    Trajectory,
)

CALL = Call("search", "q", Outcome.OK, Origin.REAL, 0.5, cost=0.001)
OBSERVED = Segment(Role.OBSERVATION, Source.ENVIRONMENT, (3,), "x", call=CALL)


@st.composite
def trajectories(draw):
    segments = []
    for _ in range(draw(st.integers(0, 6))):
        ids = tuple(draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=5)))
        source = draw(st.sampled_from(list(Source)))
        logprobs = tuple(-float(i) for i in range(len(ids))) if source is Source.POLICY else None
        role = draw(st.sampled_from(list(Role)))
        segments.append(
            Segment(role, source, ids, draw(st.text(max_size=8)), logprobs, draw(st.sampled_from([None, CALL])))
        )
    return Trajectory((1, 2), tuple(segments), draw(st.sampled_from(list(StopReason))), "autocoa")


@given(trajectories())
def test_ids_mask_and_log_probabilities_have_one_entry_per_token(trajectory):
    length = sum(len(segment.ids) for segment in trajectory.segments)
    assert len(trajectory.response_ids) == len(trajectory.response_mask) == len(trajectory.response_logprobs) == length


@given(trajectories())
def test_the_mask_is_zero_on_every_observation_and_on_everything_not_sampled(trajectory):
    mask = iter(trajectory.response_mask)
    for segment in trajectory.segments:
        expected = segment.source is Source.POLICY and segment.role is not Role.OBSERVATION
        assert [next(mask) for _ in segment.ids] == [int(expected)] * len(segment.ids)


@given(trajectories())
def test_a_trajectory_survives_json(trajectory):
    assert Trajectory.from_dict(json.loads(json.dumps(trajectory.to_dict()))) == trajectory


def test_log_probabilities_of_another_length_are_refused():
    with pytest.raises(TrajectoryError, match="2 ids came with 1 log-probabilities"):
        Segment(Role.THOUGHT, Source.POLICY, (1, 2), "ab", (-1.0,))


def test_another_schema_version_is_refused_by_number():
    row = {**Trajectory((), (), StopReason.ANSWERED, "autocoa").to_dict(), "schema_version": 99}
    with pytest.raises(TrajectoryError, match="must be 1, got 99"):
        Trajectory.from_dict(row)


@pytest.mark.parametrize("field", ["origin", "outcome"])
def test_a_stored_call_of_an_unknown_kind_is_refused(field):
    row = Trajectory((1,), (OBSERVED,), StopReason.ANSWERED, "autocoa").to_dict()
    row["segments"][0]["call"][field] = "elsewhere"
    with pytest.raises(TrajectoryError, match="'elsewhere' is not a valid"):
        Trajectory.from_dict(row)


def test_a_stored_call_is_read_back_with_its_types():
    row = json.loads(json.dumps(Trajectory((1,), (OBSERVED,), StopReason.ANSWERED, "autocoa").to_dict()))
    call = Trajectory.from_dict(row).segments[0].call
    assert call == CALL and type(call.origin) is Origin and type(call.outcome) is Outcome


@pytest.mark.parametrize("origin", Origin)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_call_has_one_counter_for_who_answered_and_one_at_most_for_what_went_wrong(origin, outcome):
    counted = [name for name, value in vars(Counts.of_call(origin, outcome)).items() if value]
    assert sum(name in (*CALLS, "notices") for name in counted) == 1
    assert len(counted) == (1 if outcome in (Outcome.OK, Outcome.REFUSED) else 2)


def test_counts_add_up_field_by_field_and_stay_as_they_are():
    one, two = Counts(actions=1, cost=0.5), Counts(actions=2, turns=1)
    assert one + two == Counts(actions=3, turns=1, cost=0.5) and one == Counts(actions=1, cost=0.5)


def written(folder, **change):
    trajectory = Trajectory(
        (1,), (Segment(Role.THOUGHT, Source.POLICY, (5,), "é", (-0.1,)),), StopReason.NO_ANSWER, "autocoa"
    )
    options = {"step": 3, "split": "train", "uid": "u", "info": {"golds": ["x"]}, **change}
    TrajectoryDump(folder, train_share=options.pop("share", 1.0)).write(
        trajectory, Reward(0.0, None, {}, ()), **options
    )
    return trajectory


def test_a_dump_reads_back_what_was_written_with_its_step_and_reward(tmp_path):
    trajectory = written(tmp_path)
    (row,) = read_dump(tmp_path, "train", 3)
    assert row["trajectory"] == trajectory and row["step"] == 3 and row["info"] == {"golds": ["x"]}


def test_validation_is_dumped_whole_and_training_by_its_share(tmp_path):
    written(tmp_path, share=0.0)
    written(tmp_path, share=0.0, split="val")
    assert not list(read_dump(tmp_path, "train")) and len(list(read_dump(tmp_path, "val"))) == 1


def test_the_samples_of_a_prompt_are_kept_or_left_out_together(tmp_path):
    for uid in map(str, range(50)):
        for session in range(4):
            written(tmp_path, uid=uid, share=0.5, info={"session": session})
    kept = [row["uid"] for row in read_dump(tmp_path, "train")]
    assert 10 < len(set(kept)) < 40 and all(kept.count(uid) == 4 for uid in kept)


def test_a_torn_line_is_named_by_file_and_number(tmp_path):
    written(tmp_path)
    path = next((tmp_path / "train").iterdir())
    path.write_text(path.read_text() + '{"half', encoding="utf-8")
    with pytest.raises(TrajectoryError, match=rf"{path.name}:2: "):
        list(read_dump(tmp_path, "train"))
