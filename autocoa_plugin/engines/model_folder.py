"""Load a Hugging Face model and its tokenizer from a folder; a wrong folder is refused with the nearest right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ConfigError, nearest
from ..tokenization import check_tokenizer


def load_model(folder: Path, *, dtype: str = "auto") -> tuple[Any, Any]:
    """Load (model, tokenizer); `dtype` "auto" is what config.json says.

    Raises `ConfigError` when the folder holds no model, `TokenizerError` when its tokenizer is not the one saved.
    """
    check_model_folder(folder)
    tokenizer = load_tokenizer(folder)
    try:
        model = _transformers().AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(f"{folder} cannot be loaded as a language model: {first_line(error)}") from error
    return model, tokenizer


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer; raises `ConfigError` when there is none, `TokenizerError` when it is not the one saved."""
    transformers = _transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(f"{folder} holds no tokenizer that can be loaded: {first_line(error)}") from error
    check_tokenizer(tokenizer, folder)
    return tokenizer


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"models and tokenizers need the extra local: pip install 'autocoa-plugin[local]' ({error})"
        ) from error
    return transformers


def check_model_folder(folder: Path) -> None:
    """Raise `ConfigError`, with the nearest folder that is one, when this is no folder of a Hugging Face model."""
    if (folder / "config.json").is_file():
        return
    seen = "has no config.json" if folder.is_dir() else "is no folder"
    # verl writes <checkpoint>/global_step_12/huggingface
    inside = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/config.json")]
    beside = {str(path.parent): path for path in folder.absolute().parent.glob("*/config.json")}
    newest = max(inside, key=lambda path: path.stat().st_mtime, default=None)
    hint = f" (did you mean {str(newest)!r}?)" if newest else nearest(str(folder.absolute()), beside)
    raise ConfigError(f"{folder} {seen}, expected the folder of a Hugging Face model{hint}")


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its class when it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
