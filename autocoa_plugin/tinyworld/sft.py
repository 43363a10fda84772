"""Rows for supervised fine-tuning: gold trajectories, and replayed pre-training lines.

    trajectory   prompt  thought  action  observation  thought  answer
    loss_mask    0 0 0   1 1 1 1  1 1 1   0 0 0 0 0 0  1 1 1 1  1 1 1      replay: 0 1 1 1 1 1 1 ...

Replay keeps the skill of copying unseen names; without it the policy answers with names it has memorised.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..environments.base import Environment
from ..tokenization import Codec
from ..trajectory import Trajectory
from .lines import known_line, reading_line
from .trajectories import TeacherMix, draw_plans, write_trajectories
from .world import World


@dataclass(frozen=True)
class SftRow:
    """One training sequence. `loss_mask`: 1 = the token is trained on, 0 = it is not; as long as `input_ids`."""

    input_ids: tuple[int, ...]
    loss_mask: tuple[int, ...]
    kind: str  # "trajectory" or "replay"
    text: str


def trajectory_row(trajectory: Trajectory, codec: Codec) -> SftRow:
    """Turn a trajectory into a row; prompt and observations carry no loss."""
    ids = (*trajectory.prompt_ids, *trajectory.response_ids)
    mask = (0,) * len(trajectory.prompt_ids) + tuple(trajectory.response_mask)
    return SftRow(ids, mask, "trajectory", codec.decode(ids))


def replay_row(world: World, rng: random.Random, codec: Codec) -> SftRow:
    """A reading line and a known line; every token but the first, which nothing precedes, carries loss."""
    text = f"{reading_line(world, rng)} {known_line(world, rng)}"
    ids = tuple(codec.encode(text))
    return SftRow(ids, (0,) + (1,) * (len(ids) - 1), "replay", text)


def sft_rows(
    world: World,
    *,
    codec: Codec,
    environment: Environment,
    count: int,
    seed: int,
    replay: float = 0.5,
    mix: TeacherMix | None = None,
) -> list[SftRow]:
    """Write `count` trajectory rows and `replay * count` replay rows, shuffled; the same seed writes the same rows."""
    plans = draw_plans(world, count, seed, mix)
    rows = [trajectory_row(each, codec) for each in write_trajectories(plans, codec=codec, environment=environment)]
    rng = random.Random(f"replay {seed}")
    rows += [replay_row(world, rng, codec) for _ in range(round(replay * count))]
    rng.shuffle(rows)
    return rows


def sft_schema() -> Any:
    """The pyarrow schema of sft.parquet."""
    import pyarrow as pa

    return pa.schema(
        [
            ("input_ids", pa.list_(pa.int32())),
            ("loss_mask", pa.list_(pa.int8())),
            ("kind", pa.string()),
            ("text", pa.string()),
        ]
    )


def write_sft(rows: Sequence[SftRow], path: Path) -> None:
    """Write rows to parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([vars(row) for row in rows], schema=sft_schema()), path)
