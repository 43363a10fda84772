"""What counts as the same: files, models, settings; and how a difference is said."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.runs.identity import (
    Identity,
    decisive,
    describe,
    differences,
    file_fingerprint,
    flatten,
    model_fingerprint,
)

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
SETTINGS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.one_of(VALUES, st.lists(VALUES, max_size=3)))


def test_a_file_has_the_sha256_of_its_content(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert file_fingerprint(tmp_path / "a") == "sha256:" + hashlib.sha256(b"x" * 3_000_000).hexdigest()


@pytest.mark.parametrize("position", [0, 20_200_000, 39_999_999])
def test_a_large_file_is_sampled_from_its_first_byte_to_its_last(tmp_path, position):
    # 40 MB with 32 samples of 1 MiB: they begin (40,000,000 - 2^20) / 31 bytes apart, so number 16
    # begins at byte 20,103,954
    content = bytearray(40_000_000)
    (tmp_path / "a").write_bytes(content)
    before = file_fingerprint(tmp_path / "a", whole_below_bytes=1 << 20)
    content[position] = 1
    (tmp_path / "a").write_bytes(content)
    assert before.startswith("sampled:") and file_fingerprint(tmp_path / "a", whole_below_bytes=1 << 20) != before


def test_a_models_content_is_its_weights_configuration_and_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = model_fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("about")
    assert model_fingerprint(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"2")
    changed = model_fingerprint(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert len({before, changed, model_fingerprint(tmp_path)}) == 3


def test_a_model_that_is_no_folder_stands_for_itself():
    assert model_fingerprint("org/name") == "id:org/name"


def test_nested_settings_become_dotted_keys():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}}) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": {}}


@pytest.mark.parametrize(
    "key",
    [
        "trainer.default_local_dir",
        "trainer.save_freq",
        "trainer.max_actor_ckpt_to_keep",
        "actor_rollout_ref.actor.checkpoint.save_contents",
        "data.micro_batch_size_per_gpu",
        "actor_rollout_ref.rollout.agent.num_workers",
        "autocoa.dump.folder",
        "autocoa.scorecard",
        "autocoa.scorecard.every",
        "autocoa.cassette.path",
        "autocoa.routing.validation",
        "autocoa.search.price_per_1000",
        "autocoa.world_model.max_concurrency",
        "autocoa.world_model.api_key_env",
    ],
)
def test_where_when_and_how_fast_are_left_out(key):
    assert decisive({key: 1}) == {}


@pytest.mark.parametrize(
    "key",
    [
        "optim.lr",
        "data.train_batch_size",
        "actor_rollout_ref.actor.ppo_mini_batch_size",
        "autocoa.observation_loss",
        "autocoa.observation_weight",
        "autocoa.first_prompt",
        "autocoa.routing.policy",
        "autocoa.routing.environment",
        "autocoa.routing.phases",
        "autocoa.routing.real_calls_per_step",
        "autocoa.routing.seed",
        "autocoa.world_model.author",
        "autocoa.world_model.url",
        "autocoa.world_model.model",
        "autocoa.world_model.temperature",
        "autocoa.cassette.on_miss",
    ],
)
def test_what_changes_what_is_learnt_is_kept(key):
    assert decisive({key: 1}) == {key: 1}


def test_a_tape_matters_when_it_answers_and_not_when_it_only_records():
    assert decisive({"autocoa": {"cassette": None}}) == decisive({"autocoa": {"cassette": {"mode": "record"}}}) == {}
    replay = {"autocoa.cassette.mode": "replay"}
    assert decisive({**replay, "autocoa.cassette.path": "a"}) == replay


@given(SETTINGS)
def test_settings_do_not_differ_from_themselves(settings):
    assert differences(settings, settings) == {}


@given(SETTINGS, SETTINGS)
def test_differences_are_the_keys_whose_values_differ(old, new):
    def text(settings, key):
        return repr(settings[key]) if key in settings else None

    assert set(differences(old, new)) == {key for key in {*old, *new} if text(old, key) != text(new, key)}


def test_a_difference_is_said_with_both_values_and_the_rest_is_counted():
    # 2 lists of keys: lr and d differ, c and e are on one side only; three are shown
    different = differences({"lr": 5e-5, "c": (1, 2), "d": "x"}, {"lr": 1e-4, "d": "y", "e": [1]})
    assert describe(different, shown=3) == 'lr=5e-05 (here 0.0001), d="x" (here "y"), e=nothing (here [1]) and 1 more'


def test_tuples_and_lists_are_the_same_after_a_file():
    assert differences({"a": [1, 2]}, {"a": (1, 2)}) == {}


def test_an_identity_is_flat_without_what_is_not_set():
    identity = Identity({"count": 2}, {"judge": None}, {"top_k": 3, "a": None}, {}, {}, {}, {"content": "m"})
    assert identity.flat == {"questions.count": 2, "world.top_k": 3, "model.content": "m"}
    other = {"questions.count": 2, "world.top_k": 5}
    assert differences(identity.flat, other, but=("model.*",)) == {"world.top_k": ("3", "5")}


def test_a_class_of_ours_may_stand_in_another_file_than_when_a_run_began():
    old = {"data.custom_cls.path": "pkg://autocoa_plugin.verl_adapters.pair_dataset", "data.custom_cls.name": "Pairs"}
    moved = {**old, "data.custom_cls.path": "pkg://autocoa_plugin.verl_adapters.record_dataset"}
    assert differences(old, moved) == {}
    assert list(differences(old, {**moved, "data.custom_cls.name": "Rows"})) == ["data.custom_cls.name"]
    assert list(differences(old, {**old, "data.custom_cls.path": "pkg://mine"})) == ["data.custom_cls.path"]
