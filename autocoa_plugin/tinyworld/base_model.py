"""Tiny base model: its architecture, the copy that ships inside the package, and the manifest of a world folder.

A Llama of 0.4 million parameters. Llama, because transformers 5.10 replaces the saved tokenizer of a model_type qwen2;
head size 32 is the smallest that vLLM's CPU backend takes. The weights are stored in bfloat16 and computed in float32,
which is what config.json says. `pretrain.py` makes the folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..data.records import SCHEMA_VERSION
from ..errors import DataError, nearest
from ..runs.files import write_json
from ..runs.identity import file_sha256
from .stage_config import StageConfig

SHIPPED = Path(__file__).parent / "base"
CHECKSUMS = "SHA256SUMS"
MAX_POSITIONS = 512


def build_model(vocabulary_size: int, eos_token_id: int, pad_token_id: int, seed: int) -> Any:
    """Build the untrained `LlamaForCausalLM`, float32, with weights drawn from `seed`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=32,
        attention_bias=True,
        tie_word_embeddings=True,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        _initialise(name, weight)
    return model


def _initialise(name: str, weight: Any) -> None:
    """Draw a weight: transformers' std of 0.02 is too small for a width of 96, copying is then learnt much later."""
    import torch

    if weight.dim() == 2:
        std = 0.02 if "embed" in name else 0.7 * weight.shape[1] ** -0.5
        torch.nn.init.normal_(weight, 0.0, std)
    elif name.endswith("bias"):
        torch.nn.init.zeros_(weight)


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS` (the format of sha256sum) over every other file of a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS)
    (folder / CHECKSUMS).write_text("".join(f"{file_sha256(path)}  {path.name}\n" for path in files))


def verify_checksums(folder: Path) -> list[Path]:
    """Return the files listed in a folder's `SHA256SUMS` after checking each.

    Raises:
        DataError: the list or a file is missing, or a file has another checksum.
    """
    remake = "make it again with `python -m autocoa_plugin.tinyworld.pretrain`"
    if not (folder / CHECKSUMS).is_file():
        raise DataError(f"no tinyworld base model at {folder} ({CHECKSUMS} is missing); {remake}")
    files = []
    for line in (folder / CHECKSUMS).read_text().splitlines():
        expected, name = line.split(maxsplit=1)
        seen = file_sha256(folder / name) if (folder / name).is_file() else "no file"
        if seen != expected:
            raise DataError(
                f"{folder / name}: sha256 is {seen}, expected {expected}; reinstall the package, or {remake}"
            )
        files.append(folder / name)
    return files


def export_base(folder: str | Path, source: Path = SHIPPED) -> Path:
    """Copy the shipped base model (config, weights, tokenizer) to a folder and return the folder.

    Raises:
        DataError: the shipped files are missing or differ from their checksums.
    """
    target = Path(folder)
    files = verify_checksums(source)
    target.mkdir(parents=True, exist_ok=True)
    for path in [*files, source / CHECKSUMS]:
        shutil.copyfile(path, target / path.name)
    return target


# -------------------------------- the manifest: what a folder was built from, so that it is built once and found again


FORMAT_VERSION = 4  # counted up when the same settings would write other files
SOURCES = ("tinyworld_1hop", "tinyworld_2hop", "tinyworld_3hop", "tinyworld_known")
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class BuildConfig:
    """Settings of a world folder: the stage data, and which sources of questions go into train.parquet.

    `seed` is of the teacher's draws and of the order of train.parquet.

    Raises `DataError` for a kind of question that does not exist.
    """

    seed: int = 0
    train_sources: tuple[str, ...] = SOURCES
    stages: StageConfig = field(default_factory=StageConfig)

    def __post_init__(self) -> None:
        for source in self.train_sources:
            if source not in SOURCES:
                raise DataError(f"train_sources: no source {source!r}{nearest(source, SOURCES)}; there are {SOURCES}")


def is_complete(folder: Path, config: BuildConfig) -> bool:
    """True when the manifest names this config and version, and every file it lists has its size."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        sizes = manifest["files"].items()
        return manifest["build"] == _identity(config) and all((folder / name).stat().st_size == n for name, n in sizes)
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def save(folder: Path, config: BuildConfig, paths: Iterable[Path]) -> None:
    """Write the manifest over the files at `paths`."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
    write_json(folder / MANIFEST_FILE, {"build": _identity(config), "files": sizes})


def _identity(config: BuildConfig) -> Any:
    sums = SHIPPED / CHECKSUMS
    base = file_sha256(sums) if sums.is_file() else None
    # through JSON, so that tuples compare equal to the lists that are read back
    versions = {"version": FORMAT_VERSION, "records": SCHEMA_VERSION, "base": base}
    return json.loads(json.dumps({**versions, "config": asdict(config)}))
