"""What a file or a model folder contains, as a short string: two equal strings mean that nothing has changed.

    file_fingerprint("pairs.parquet")     "sha256:5f0c..."             the whole file
    model_fingerprint("outputs/sft1")     "model:91ab..."              weights, configuration, tokenizer
    model_fingerprint("org/name")         "id:org/name"                a model that is not a local folder

Whether something else than before is acceptable is for the callers to say (`identity`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

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
