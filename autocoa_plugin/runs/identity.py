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
from .files import write_atomically
import hashlib
from dataclasses import dataclass, fields


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


def setting_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
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


# What a file or a model folder contains, as a short string: two equal strings mean that nothing has changed.
#
#     file_fingerprint("pairs.parquet")     "sha256:5f0c..."             the whole file
#     model_fingerprint("outputs/sft1")     "model:91ab..."              weights, configuration, tokenizer
#     model_fingerprint("org/name")         "id:org/name"                a model that is not a local folder
#
# Whether something else than before is acceptable is for the callers to say (`identity`).


_CHUNK_BYTES = 1 << 20
_SAMPLES = 32
# training changes every tensor of a model; to read all shards of a large one would take minutes
_WHOLE_MODEL_FILE_BYTES = 64 << 20
_WHOLE_FILE_BYTES = 1 << 30
# what a checkpoint is loaded from; a README or training arguments next to it change nothing
_MODEL_SUFFIXES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")


def file_fingerprint(path: str | Path, *, whole_below_bytes: int = _WHOLE_FILE_BYTES) -> str:
    """Return "sha256:<64 digits>" of a file; raises `OSError` when it cannot be read.

    Of a larger file, its size and 32 evenly spaced megabytes are hashed: "sampled:<64 digits>".
    """
    path = Path(path)
    size = path.stat().st_size
    whole = size <= whole_below_bytes
    digest = hashlib.sha256(b"" if whole else str(size).encode())
    with path.open("rb") as file:
        for start in range(0, size, _CHUNK_BYTES) if whole else _sample_starts(size):
            file.seek(start)
            digest.update(file.read(_CHUNK_BYTES))
    return f"{'sha256' if whole else 'sampled'}:{digest.hexdigest()}"


def model_fingerprint(model: str | Path) -> str:
    """Return "model:<32 digits>" of the files in a Hugging Face folder; an id of a hub stands for itself.

    Raises `OSError` when a file cannot be read.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return f"id:{model}"
    total = hashlib.sha256()
    for path in sorted(each for each in folder.iterdir() if each.suffix in _MODEL_SUFFIXES and each.is_file()):
        content = file_fingerprint(path, whole_below_bytes=_WHOLE_MODEL_FILE_BYTES)
        total.update(f"{path.name} {content}\n".encode())
    return f"model:{total.hexdigest()[:32]}"


def _sample_starts(size: int) -> list[int]:
    return [index * (size - _CHUNK_BYTES) // (_SAMPLES - 1) for index in range(_SAMPLES)]


# What a number depends on, so that unlike numbers do not stand in one column.
#
#     questions   the set: SHA-256 over ids, wording and gold answers, and how many there are
#     metric      version of the metrics; the judge's model and prompt
#     world       who answers actions (corpus, index, top_k, world model, nobody) and the budgets
#     protocol    tags and notices
#     prompt      system prompt, examples, chat template
#     sampling    temperature and the like, samples per question, seed
#     model       which weights and which tokenizer
#
# Two runs are alike when all parts but the model are: that is what a comparison of models means.


PARTS = ("questions", "metric", "world", "protocol", "prompt", "sampling", "model")


@dataclass(frozen=True)
class Fingerprint:
    """One JSON-ready mapping per part."""

    questions: Mapping[str, Any]
    metric: Mapping[str, Any]
    world: Mapping[str, Any]
    protocol: Mapping[str, Any]
    prompt: Mapping[str, Any]
    sampling: Mapping[str, Any]
    model: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over all parts, the same in every process."""
        return digest({each.name: getattr(self, each.name) for each in fields(self)})


def digest(content: Any) -> str:
    """Name any JSON-ready value: 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def differences(
    first: Fingerprint, second: Fingerprint, *, but: Iterable[str] = ("model",)
) -> dict[str, tuple[Any, Any]]:
    """Which keys differ, as "part.key" -> (first, second); parts in `but` may."""
    found: dict[str, tuple[Any, Any]] = {}
    for part in PARTS:
        if part in but:
            continue
        left, right = getattr(first, part), getattr(second, part)
        for key in sorted({*left, *right}):
            if digest(left.get(key)) != digest(right.get(key)):
                found[f"{part}.{key}"] = (left.get(key), right.get(key))
    return found
