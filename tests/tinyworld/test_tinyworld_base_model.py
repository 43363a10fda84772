"""The base model: sizes that upstream needs, batches that repeat, a shipped copy that cannot rot unnoticed."""

from __future__ import annotations

import json
import shutil

import pytest

from autocoa_plugin.errors import DataError
from autocoa_plugin.tinyworld.base_model import (
    CHECKSUMS,
    SHIPPED,
    build_model,
    export_base,
    verify_checksums,
    write_checksums,
)
from autocoa_plugin.tinyworld.pretrain import Cycle, PretrainConfig, make_batch
from autocoa_plugin.tinyworld.tokenizer import load_tokenizer


@pytest.fixture
def folder(tmp_path):
    """A model folder of two small files."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "model.safetensors").write_bytes(b"weights")
    write_checksums(source)
    return source


def test_export_copies_every_file_and_the_checksums(folder, tmp_path):
    target = export_base(tmp_path / "deep" / "target", source=folder)
    assert sorted(path.name for path in target.iterdir()) == [CHECKSUMS, "config.json", "model.safetensors"]
    assert verify_checksums(target) == [target / "config.json", target / "model.safetensors"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda source: (source / "model.safetensors").write_bytes(b"weightz"),
            r"model\.safetensors: sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}",
        ),
        (lambda source: (source / "config.json").unlink(), r"config\.json: sha256 is no file"),
        (shutil.rmtree, "no tinyworld base model"),
    ],
    ids=["differs from its checksum", "a missing file", "a missing list"],
)
def test_export_refuses_what_is_not_the_listed_model_and_writes_nothing(folder, tmp_path, spoil, message):
    spoil(folder)
    with pytest.raises(DataError, match=message):
        export_base(tmp_path / "target", source=folder)
    assert not (tmp_path / "target").exists()


def test_the_shipped_copy_is_whole_small_and_belongs_to_this_world(world, tokenizer):
    files = verify_checksums(SHIPPED)
    assert sum(path.stat().st_size for path in files) < 1_000_000
    config = json.loads((SHIPPED / "config.json").read_text())
    shipped = load_tokenizer(SHIPPED)
    assert shipped.get_vocab() == tokenizer.get_vocab()
    assert shipped.chat_template == tokenizer.chat_template
    assert config["vocab_size"] == len(shipped)
    assert config["dtype"] == "float32"


def test_the_model_is_a_llama_whose_vocabulary_is_the_tokenizers(tokenizer):
    model = build_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id, seed=0)
    config = model.config
    assert (config.model_type, config.vocab_size, config.head_dim) == ("llama", len(tokenizer), 32)
    assert (config.eos_token_id, config.pad_token_id, config.bos_token_id) == (1, 0, None)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_pre_training_batch_depends_on_seed_and_step_alone(world, tokenizer):
    config = PretrainConfig(rows=2, row_tokens=16)
    first, again = (make_batch(world, tokenizer, config, step=5) for _ in range(2))
    assert first.shape == (2, 17)
    assert first.equal(again)
    assert not first.equal(make_batch(world, tokenizer, config, step=6))


def test_the_learning_rate_warms_up_stays_falls_and_starts_again():
    cycle = Cycle(1000, (0.4, 0.5), warmup_steps=10)
    config = PretrainConfig(cycles=(cycle, cycle), learning_rate=1.0)
    # step 0 is the first of 10 of the warm-up; 600 is where the fall begins; 800 lies half way to the end
    assert [config.learning_rate_at(step) for step in (0, 9, 600, 999, 1000)] == [0.1, 1.0, 1.0, 0.03, 0.1]
    assert config.learning_rate_at(800) == pytest.approx(0.5)
    assert [cycle.known_share_at(step) for step in (0, 449, 450, 999)] == [0.4, 0.4, 0.5, 0.5]
