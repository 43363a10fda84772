"""Identity of a run: what it was made with, as flat keys and values, and which of them differ between two runs.

    {"optim": {"lr": 5e-5}, "data": {...}}  ->  {"optim.lr": 5e-5, "data.train_batch_size": 32, ...}

A training run is described by its settings (`decisive`), an evaluation or a synthesis by an `Identity`; files and
models stand in both by their content (`file_fingerprint`, `model_fingerprint`). Whether a folder may go on is checked
in `folder.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PARTS = ("questions", "metric", "world", "protocol", "prompt", "sampling", "model")


@dataclass(frozen=True)
class Identity:
    """Identity of a run: all that its numbers depend on, so that unlike numbers do not stand in one column.

        questions   the set: SHA-256 over ids, wording and gold answers, and how many there are
        metric      version of the metrics; the judge's model and prompt
        world       who answers actions (corpus, index, top_k, world model, none) and the budgets
        protocol    tags and notices
        prompt      system prompt, examples, chat template
        sampling    temperature and the like, samples per question, seed
        model       which weights and which tokenizer

    One JSON-ready mapping per part, with flat keys. Two runs are alike when all parts but the model are: that is what a
    comparison of models means.
    """

    questions: Mapping[str, Any]
    metric: Mapping[str, Any]
    world: Mapping[str, Any]
    protocol: Mapping[str, Any]
    prompt: Mapping[str, Any]
    sampling: Mapping[str, Any]
    model: Mapping[str, Any]

    @property
    def flat(self) -> dict[str, Any]:
        """All parts as "part.key" -> value, without what is None: an option that is not set is none."""
        parts = ((part, getattr(self, part)) for part in PARTS)
        named = {f"{part}.{key}": content[key] for part, content in parts for key in sorted(content)}
        return {key: value for key, value in named.items() if value is not None}

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over all parts, the same in every process."""
        return digest({part: getattr(self, part) for part in PARTS})


def digest(content: Any) -> str:
    """Name any JSON-ready value: 16 hexadecimal digits."""
    return hashlib.sha256(_text(content).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, but: Iterable[str] = ()
) -> dict[str, tuple[str, str]]:
    """Find the keys whose values differ, with both values as JSON; a key that one side lacks is "nothing" there.

    Keys that match a pattern of `but` ("model.*") may differ. Tuples equal lists: one side was often read from a file.
    """
    patterns = (*but, *_OUR_FILES)
    old, new = without(old, patterns), without(new, patterns)
    keys = [*new, *(key for key in old if key not in new)]
    texts = {key: tuple(_text(side[key]) if key in side else "nothing" for side in (old, new)) for key in keys}
    return {key: (before, now) for key, (before, now) in texts.items() if before != now}


def describe(different: Mapping[str, tuple[str, str]], *, shown: int = 12, here: str = "here") -> str:
    """Spell the first differences: "optim.lr=5e-05 (here 0.0001), seed=1 (here 2) and 4 more"."""
    parts = [f"{key}={shortened(old)} ({here} {shortened(new)})" for key, (old, new) in list(different.items())[:shown]]
    more = f" and {len(different) - shown} more" if len(different) > shown else ""
    return ", ".join(parts) + more


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


def decisive(settings: Mapping[str, Any], *, but: Iterable[str] = ()) -> dict[str, Any]:
    """Flatten the settings of a training run to those that decide what is learnt; `but` are more patterns to leave out.

    Left out is where and when things are written, what is only watched, and how fast it is computed.
    """
    return without(flatten(settings), (*_WRITING, *_SPEED, *but))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def shortened(text: str) -> str:
    """Cut a value that is too long for a sentence: "sha256:4041cca2...dc27f856"."""
    return text if len(text) <= 48 else f"{text[:36]}...{text[-9:]}"


# in which file of ours a class stands changes with our versions; the class is named beside it
_OUR_FILES = ("*custom_cls.path=pkg://autocoa_plugin.*",)
# "*" matches dots as well; "key=value" stands for a key with that value only
_WRITING = (
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
_SPEED = (
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


# -------------------------------------------------------- fingerprints: two equal strings mean that nothing has changed


_SAMPLE_BYTES = 1 << 20
_SAMPLES = 32
# training changes every tensor of a model; to read all shards of a large one would take minutes
_WHOLE_MODEL_FILE_BYTES = 64 << 20
_WHOLE_FILE_BYTES = 1 << 30
# what a checkpoint is loaded from; a README or training arguments next to it change nothing
_MODEL_SUFFIXES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits; raises `OSError` when it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_fingerprint(path: str | Path, *, whole_below_bytes: int = _WHOLE_FILE_BYTES) -> str:
    """Return "sha256:<64 digits>" of a file; raises `OSError` when it cannot be read.

    Of a larger file, its size and 32 evenly spaced megabytes are hashed: "sampled:<64 digits>".
    """
    size = Path(path).stat().st_size
    if size <= whole_below_bytes:
        return f"sha256:{file_sha256(path)}"
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for start in _sample_starts(size):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return f"sampled:{digest.hexdigest()}"


def model_fingerprint(model: str | Path) -> str:
    """Return "model:<32 digits>" of a Hugging Face folder: weights, configuration, tokenizer.

    An id of a hub stands for itself: "id:org/name".

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
    return [index * (size - _SAMPLE_BYTES) // (_SAMPLES - 1) for index in range(_SAMPLES)]


