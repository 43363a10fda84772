"""What a training run was made with, as flat keys and values that two runs can be compared by.

    {"optim": {"lr": 5e-5}, "data": {...}}  ->  {"optim.lr": 5e-5, "data.train_batch_size": 32, ...}

Keys that change where, when and how fast, but not what is learnt, are left out. Used for the folders of
`autocoa stages` and, under verl's own launcher, by `verl_adapters/experiment.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..atomic import write_atomically

# "*" matches dots as well; "key=value" stands for a key with that value only
WRITING = (
    "trainer.default_*_dir",
    "trainer.project_name",
    "trainer.experiment_name",
    "trainer.logger",
    "trainer.*_freq",
    "trainer.val_*",
    "trainer.log_*",
    "trainer.max_*ckpt_to_keep",
    "trainer.remove_previous_ckpt_in_save",
    "trainer.del_local_ckpt_after_load",
    "trainer.resume_*",
    "trainer.*_data_dir",
    "trainer.profile_interval",
    "trainer.esi_redundant_time",
    "checkpoint.*",
    "*.checkpoint.*",
    "*profiler.*",
    "*.trace.*",
    "data.val_*",
    "*.val_kwargs.*",
    "data.report_folder",
    "autocoa.dump.*",
    "autocoa.scorecard*",
    "autocoa.search.price_per_1000",
    "autocoa.routing.validation",
    "autocoa.world_model.api_key_env",
    # a tape that only records changes nothing; a replay answers in place of the tool, wherever the tape lies
    "autocoa.cassette=None",
    "autocoa.cassette.path",
    "autocoa.cassette.mode=record",
    "hydra.*",
)
# verl sums the loss over a whole batch, however it is cut into micro-batches
SPEED = (
    "*num_workers",
    "*micro_batch_size*",
    "*max_token_len*",
    "*use_dynamic_bsz",
    "*offload*",
    "*gradient_checkpointing*",
    "*gpu_memory_utilization",
    "*max_num_seqs",
    "*max_num_batched_tokens",
    "*enforce_eager",
    "*checkpoint_engine.*",
    "autocoa.*.max_concurrency",
    "autocoa.poll_interval_s",
    "ray_kwargs.*",
    "transfer_queue.*",
)


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys; lists and an empty mapping stay values."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value})
    return flat


def without(flat: Mapping[str, Any], patterns: Iterable[str]) -> dict[str, Any]:
    """Leave out the keys that match one of the patterns: "optim.*" by key, "mode=record" by key and value."""
    patterns = tuple(patterns)

    def is_left_out(key: str, value: Any) -> bool:
        return any(fnmatchcase(f"{key}={value}" if "=" in each else key, each) for each in patterns)

    return {key: value for key, value in flat.items() if not is_left_out(key, value)}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the keys whose values differ, with both values as text; a key that one side lacks is "nothing" there."""
    keys = [*new, *(key for key in old if key not in new)]
    texts = {key: (_text(old, key), _text(new, key)) for key in keys}
    return {key: pair for key, pair in texts.items() if pair[0] != pair[1]}


def describe(different: Mapping[str, tuple[str, str]], *, shown: int = 3) -> str:
    """Say the first differences: "optim.lr=5e-05 (here 0.0001), seed=1 (here 2) and 4 more"."""
    parts = [f"{key}={_short(old)} (here {_short(new)})" for key, (old, new) in list(different.items())[:shown]]
    more = f" and {len(different) - shown} more" if len(different) > shown else ""
    return ", ".join(parts) + more


def _short(text: str) -> str:
    return text if len(text) <= 48 else f"{text[:36]}...{text[-9:]}"


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that is whole or not there at all."""
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")


def _text(mapping: Mapping[str, Any], key: str) -> str:
    # through JSON, because one side was read from a file: tuples are lists there
    return json.dumps(mapping[key], ensure_ascii=False, default=str) if key in mapping else "nothing"
