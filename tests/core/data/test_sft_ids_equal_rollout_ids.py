"""The row that supervised training sees has exactly the ids and the mask of the rollout it was made from.

rollout -> record_of -> file -> read_records -> to_trajectory -> token_row        1,008 rollouts, nine families
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from random_rollouts import codec_of, trajectories
from tokenizer_families import FAMILIES

from autocoa_plugin import Codec, Role, Source, StopReason, Trajectory
from autocoa_plugin.data.from_trajectory import pair_of, record_of
from autocoa_plugin.data.play import pair_to_trajectories, to_trajectory
from autocoa_plugin.data.record_files import read_records, write_records
from autocoa_plugin.data.records import PairRecord, TextRecord
from autocoa_plugin.data.rows import continuation_row, token_row
from autocoa_plugin.errors import DataError
from autocoa_plugin.tokenization import fingerprint

PER_FAMILY = 112  # times nine families: 1,008


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def played(request) -> tuple[str, Codec, list[Trajectory]]:
    codec = codec_of(request.param)
    return request.param, codec, trajectories(request.param, codec, PER_FAMILY)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_sft_row_has_exactly_the_ids_and_mask_of_its_rollout(played, suffix, tmp_path):
    family, codec, rollouts = played
    name = fingerprint(codec.tokenizer)
    path = tmp_path / f"rows{suffix}"
    write_records((record_of(each, id=f"{family}-{n}", tokenizer=name) for n, each in enumerate(rollouts)), path)
    compared = 0
    for record, rollout in zip(read_records(path), rollouts, strict=True):
        assert not isinstance(record, PairRecord | TextRecord)
        again = to_trajectory(record, codec, rollout.prompt_ids)
        assert again.prompt_ids == rollout.prompt_ids
        assert again.response_ids == rollout.response_ids
        assert again.response_mask == rollout.response_mask
        assert [(each.role, each.source) for each in again.segments] == [
            (each.role, each.source) for each in rollout.segments
        ]
        check_rows(again, rollout)
        compared += 1
    assert compared == PER_FAMILY


def check_rows(again: Trajectory, rollout: Trajectory) -> None:
    masked, trained = (token_row(again, weight, id="r", kind="coa") for weight in (0.0, 1.0))
    assert masked.input_ids == trained.input_ids == (*rollout.prompt_ids, *rollout.response_ids)
    assert list(masked.loss_weights) == [0] * len(rollout.prompt_ids) + rollout.response_mask
    assert list(trained.loss_weights) == [0] * len(rollout.prompt_ids) + [1] * len(rollout.response_ids)


def test_the_rollouts_cover_what_a_rollout_can_do(played):
    _, codec, rollouts = played
    seen = Counter[str]()
    for each in rollouts:
        observations = [segment for segment in each.segments if segment.role is Role.OBSERVATION]
        seen["several actions"] += each.counts.actions > 1
        seen["imagined observation"] += any(segment.source is Source.POLICY for segment in observations)
        seen["forced answer"] += each.forced_answer
        seen["unclosed action"] += each.counts.unclosed_actions > 0
        seen["refused action"] += each.counts.notices > 0
        seen["truncated observation"] += each.counts.truncated_observations > 0
        seen["failed tool"] += each.counts.tool_errors > 0
        seen["cut turn"] += each.stop_reason is StopReason.MAX_TURN_TOKENS
        seen["cut response"] += each.stop_reason is StopReason.MAX_RESPONSE_TOKENS
        seen["answered"] += each.stop_reason is StopReason.ANSWERED
        seen["ids that no encoder writes"] += codec.encode(each.text()) != each.response_ids
    assert all(seen.values()), seen


def test_a_pair_of_rollouts_has_exactly_their_ids_and_shares_its_prefix(played, tmp_path):
    family, codec, rollouts = played
    name = fingerprint(codec.tokenizer)
    made: list[tuple[PairRecord, Trajectory, Trajectory]] = []
    ordered = sorted(rollouts, key=lambda each: (each.prompt_ids, each.response_ids))
    for number, (chosen, rejected) in enumerate(pairwise(ordered)):
        try:
            made.append((pair_of(chosen, rejected, id=f"{number}", tokenizer=name, codec=codec), chosen, rejected))
        except DataError:  # other prompts, or nothing in common: no pair
            continue
    path = tmp_path / "pairs.parquet"
    write_records((record for record, _, _ in made), path)
    assert len(made) > 3, f"{family} has too few rollouts that begin alike"
    for record, (_, chosen, rejected) in zip(read_records(path), made, strict=True):
        assert isinstance(record, PairRecord)
        sides = pair_to_trajectories(record, codec, chosen.prompt_ids)
        for side, original in ((sides.chosen, chosen), (sides.rejected, rejected)):
            assert side.response_ids == original.response_ids
            assert side.response_mask == original.response_mask
        first, second = (continuation_row(each, sides.n_shared, id="p") for each in (sides.chosen, sides.rejected))
        shared = len(chosen.prompt_ids) + sides.n_shared
        assert first.input_ids[:shared] == second.input_ids[:shared] and sides.n_shared > 0
        assert not any(first.loss_weights[:shared]) and not any(second.loss_weights[:shared])
