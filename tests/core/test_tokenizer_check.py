"""A tokenizer that transformers silently replaced is found out."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("transformers", reason="needs the extra verl")

import transformers
from tokenizer_families import FAMILIES

from autocoa_plugin.errors import TokenizerError
from autocoa_plugin.tokenization import check_tokenizer


@pytest.fixture
def folder(tmp_path):
    """A word-level tokenizer in the folder of a model that calls itself qwen2."""
    FAMILIES["word_level"]().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", "vocab_size": 1000}))
    return tmp_path


def test_a_replaced_tokenizer_class_is_refused_with_both_names(folder):
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    saved = json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"]
    if type(loaded).__name__ == saved:
        pytest.skip(f"this transformers ({transformers.__version__}) keeps the saved class {saved}")
    with pytest.raises(TokenizerError, match=f"class {saved}, but {type(loaded).__name__} was loaded"):
        check_tokenizer(loaded, folder)


def test_the_check_can_be_a_warning(folder):
    other = FAMILIES["byte_bpe"]()
    with pytest.warns(UserWarning, match="was loaded"):
        check_tokenizer(other, folder, mode="warn")
    check_tokenizer(other, folder, mode="off")


def test_the_saved_tokenizer_passes(folder):
    check_tokenizer(FAMILIES["word_level"](), folder)


def test_a_folder_without_tokenizer_file_is_left_alone(tmp_path):
    check_tokenizer(FAMILIES["byte_bpe"](), tmp_path)
