"""The training questions stand in the file in the order in which RL takes them; the seed draws it."""

from __future__ import annotations

import pyarrow.parquet as pq

from autocoa_plugin.tinyworld.base_model import BuildConfig
from autocoa_plugin.tinyworld.pairs import PairSet
from autocoa_plugin.tinyworld.stage_config import StageConfig, TrajectorySet, clean
from autocoa_plugin.tinyworld.world_files import build

ONE = TrajectorySet(1, clean(1.0, 0.0, 0.0))
STAGES = StageConfig(cot=ONE, coa=ONE, coa_stage3=ONE, pairs=PairSet(count=0), replay=1)


def questions(folder, seed):
    """Training and validation questions of a seed's world, in the order of their files."""
    files = build(folder, BuildConfig(seed=seed, stages=STAGES))
    rows = (pq.read_table(path)["extra_info"].to_pylist() for path in (files.train, files.val))
    return [[row["question"] for row in split] for split in rows]


def test_a_seed_draws_the_order_of_the_training_questions_and_of_nothing_else(tmp_path):
    (train, val), (other_train, other_val), (again, _) = (
        questions(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2), ("c", 1))
    )
    assert train == again != other_train and sorted(train) == sorted(other_train)
    assert val == other_val
    # no long run of equal places either: two random orders of n agree in one place on average
    assert sum(one == other for one, other in zip(train, other_train, strict=True)) < 20


def test_rows_are_numbered_in_their_order(tmp_path):
    files = build(tmp_path, BuildConfig(seed=1, stages=STAGES))
    rows = pq.read_table(files.train)["extra_info"].to_pylist()
    assert [row["index"] for row in rows] == list(range(len(rows)))
