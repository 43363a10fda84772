"""Is the tokenizer that was loaded the one that was saved, or the one that data was made with?

transformers 5.10 replaces any saved fast tokenizer by its own class when config.json says `qwen2`, which includes the
paper's DeepSeek-R1-Distill-Qwen; ids then differ from the ones the model was trained with, without a word. Probing both
on the same strings tells. Data that was born with ids carries the `fingerprint` of the tokenizer that made them.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any, Literal

from .errors import TokenizerError

# Where tokenizers of the same vocabulary differ: digits, contractions, spaces, newlines, accents, scripts, code, tags.
PROBES = (
    "Hello world, it's 12345 o'clock!",
    "  two  spaces\n\nand\ttabs \r\n end ",
    "naïve café Ünïcode 北京大学 日本語 العربية",
    "<think>\nx</think>\n\n<begin_search> q </end_search>\\boxed{42}",
    "def f(x):\n    return x**2  # 3.14",
)


def fingerprint(tokenizer: Any) -> str:
    """Name what turns text into ids: 16 hexadecimal digits, the same in every process.

    Hashed are the whole vocabulary, added tokens included, and the ids of `PROBES`; not the chat template and not which
    token ends a sequence. Two tokenizers with one fingerprint give the same ids.
    """
    vocabulary = getattr(tokenizer, "get_vocab", tokenizer.get_added_vocab)()
    ids = [list(tokenizer.encode(probe, add_special_tokens=False)) for probe in PROBES]
    made = json.dumps([sorted(vocabulary.items()), ids])
    return hashlib.sha256(made.encode("ascii")).hexdigest()[:16]


def check_tokenizer(tokenizer: Any, folder: str | Path, *, mode: Literal["error", "warn", "off"] = "error") -> None:
    """Compare the loaded tokenizer with `tokenizer.json` in the model folder.

    Nothing happens when the folder has no such file. Raises `TokenizerError`, or warns, naming both classes and the
    first string on which they differ.
    """
    path = Path(folder).expanduser() / "tokenizer.json"
    if mode == "off" or not path.is_file():
        return
    from tokenizers import Tokenizer

    saved = Tokenizer.from_file(str(path))
    for probe in PROBES:
        expected = saved.encode(probe, add_special_tokens=False).ids
        seen = list(tokenizer.encode(probe, add_special_tokens=False))
        if seen != expected:
            message = _describe(tokenizer, path, probe, seen, expected)
            if mode == "error":
                raise TokenizerError(message)
            warnings.warn(message, stacklevel=2)
            return


def _describe(tokenizer: Any, path: Path, probe: str, seen: list[int], expected: list[int]) -> str:
    config = path.with_name("tokenizer_config.json")
    named = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class") if config.is_file() else None
    return (
        f"{path.parent} was saved with tokenizer class {named or 'unknown'}, but {type(tokenizer).__name__} was loaded:"
        f" {probe[:24]!r}... gives ids {seen[:6]}... instead of {expected[:6]}...; save the model with another"
        " model_type, or set autocoa.tokenizer_check=warn if you accept this"
    )
