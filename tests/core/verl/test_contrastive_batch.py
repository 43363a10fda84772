"""Pairs as batches: groups stay whole however verl cuts, and what does not fit is named before training."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pair_batches import jagged, make_batch, make_items
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.engine.utils import prepare_micro_batches

from autocoa_plugin.errors import ConfigError, DataError, TrainingError
from autocoa_plugin.verl_adapters.contrastive import loss as measures
from autocoa_plugin.verl_adapters.contrastive.loss import PairCollator, check_finite, check_groups_fit
from autocoa_plugin.verl_adapters.contrastive.trainer import check_batch, check_datasets, contrastive_config

# groups of chosen, rejected and one replay row
groups = st.lists(st.lists(st.integers(2, 30), min_size=3, max_size=3), min_size=1, max_size=9)


def test_rows_of_a_pair_follow_one_another() -> None:
    batch = make_batch([[4, 3], [2, 5]])
    assert batch["input_ids"].offsets().diff().tolist() == [4, 3, 2, 5]
    assert batch["row"].values().tolist() == [0, 0, 1, 1]
    assert batch["loss_mask"].values().dtype == torch.float32


def test_rows_of_the_validation_set_are_numbered_after_those_of_training() -> None:
    assert make_batch([[4, 3], [2, 5]], first_row=7)["row"].values().tolist() == [7, 7, 8, 8]


def test_an_item_without_its_replay_row_is_refused_by_name() -> None:
    collator = PairCollator(3, ["a", "b"])
    with pytest.raises(DataError, match=r"pair 'b' comes with 2 rows, expected 3: chosen, rejected and .*pair=1"):
        collator([*make_items([[4, 3, 2]]), {"rows": make_items([[1, 1], [4, 3]])[1]["rows"]}])


@settings(max_examples=40)
@given(groups, st.booleans())
def test_no_cut_of_verls_divides_a_group(lengths: list[list[int]], is_dynamic: bool) -> None:
    data = make_batch(lengths)
    tu.assign_non_tensor(
        data,
        force_group_size=3,
        use_dynamic_bsz=is_dynamic,
        max_token_len_per_gpu=90,  # the largest group: 3 x 30
        micro_batch_size_per_gpu=1,
    )
    micro_batches, _ = prepare_micro_batches(data)
    found = [batch["row"].values().view(-1, 3).tolist() for batch in micro_batches]
    assert sorted(group[0] for each in found for group in each) == list(range(len(lengths)))
    assert all(len(set(group)) == 1 for each in found for group in each)
    for batch, rows in zip(micro_batches, found, strict=True):
        assert batch["input_ids"].offsets().diff().tolist() == [n for group in rows for n in lengths[group[0]]]


def test_a_group_longer_than_a_micro_batch_is_named_with_the_setting_to_raise() -> None:
    with pytest.raises(
        DataError, match=r"limit is 10 tokens \(data.max_token_len_per_gpu\); longer: 'b' \(11 tokens\)"
    ):
        check_groups_fit(make_batch([[5, 5], [6, 5]]), 2, 10, ["a", "b"])


LOG_PROBS = [[-1.0, -2.0, -9.0], [-1.0, -3.0]]
LONG = [[math.nan, 0.0]] * 11
NAN_WITHOUT_LOSS = [[-1.0, -2.0, math.nan], [math.nan, math.nan]]


def check(log_probs, loss_mask, rows, **more) -> None:
    numbers = torch.nested.as_nested_tensor([torch.tensor([row]) for row in rows], layout=torch.jagged)
    data = TensorDict({"loss_mask": jagged(loss_mask), "row": numbers}, batch_size=[len(rows)])
    check_finite(jagged(log_probs), data, [f"r{index}" for index in range(11)], **more)


@pytest.mark.parametrize(
    ("log_probs", "loss_mask", "rows", "loss", "message"),
    [
        *(
            (
                [LOG_PROBS[0], [bad, -3.0]],
                [[0, 1, 1], [0, 1]],
                (0, 1),
                bad,
                r"^the log-likelihood of row 'r1' is not finite; .*optim\.lr",
            )
            for bad in (math.nan, -math.inf)
        ),
        # none of them alone is the cause: all are named
        (
            LOG_PROBS,
            [[0, 1, 1], [0, 1]],
            (1, 0),
            math.inf,
            "the loss is inf although each row's is finite, in rows 'r1', 'r0'; ",
        ),
        (LONG, [[0, 1]] * 11, range(11), math.nan, r"of rows 'r0', .*, 'r7' and 3 more is not finite"),
    ],
    ids=["nan", "infinite", "no row alone", "a long list"],
)
def test_rows_whose_likelihood_is_not_finite_are_named(log_probs, loss_mask, rows, loss, message) -> None:
    with pytest.raises(TrainingError, match=message) as told:
        check(log_probs, loss_mask, rows, loss=torch.tensor(loss))
    assert "\n" not in str(told.value)


def test_what_has_no_loss_or_a_finite_one_does_not_matter() -> None:
    # the last position of each row predicts nothing, and token 1 of the second row has no loss
    check(NAN_WITHOUT_LOSS, [[0, 1, 1], [0, 0]], (0, 1))
    # rows are not looked at while the loss is finite
    check([[math.nan, 0.0]], [[0, 1]], (0,), loss=torch.tensor(1.0))


def test_shares_of_micro_batches_add_up_to_the_measures_of_the_step() -> None:
    zeros = dict.fromkeys(("rejected_logp", "margin", "pair_accuracy"), 0.0)
    parts = [
        measures.pack(
            loss=torch.tensor(a), chosen_logp=-a, replay_loss=0.25, real_tokens=6, processed_tokens=8, **zeros
        )
        for a in (0.5, 1.5)
    ]
    found = measures.reduce(parts, dp_group=None, has_replay=True)
    assert found["contrastive/loss"] == 2.0 and found["contrastive/chosen_logp"] == -2.0
    assert found["contrastive/replay_loss"] == 0.5
    assert found["contrastive/real_token_share"] == 0.75  # 12 of 16
    assert "contrastive/replay_loss" not in measures.reduce(parts, dp_group=None, has_replay=False)


class Named(list):
    """A data set of pairs, as far as its size is concerned."""

    @property
    def names(self) -> list[str]:
        return [f"pair-{index}" for index in self]


def recipe(**data: object) -> object:
    defaults = {"train_batch_size": 4, "micro_batch_size_per_gpu": 2, "use_dynamic_bsz": False}
    fixed = {"pad_mode": "no_padding", "custom_cls": {"path": "pkg://some.where"}}
    return OmegaConf.create({"data": {**defaults, **fixed, **data}})


def test_record_ids_of_both_data_sets_are_collected() -> None:
    names = check_datasets(recipe(), Named(range(5)), Named(range(4)))
    assert [len(each) for each in names.values()] == [5, 4]
    assert check_datasets(recipe(), Named(range(4)), None)["val_files"] == []


def test_dynamic_batches_need_no_micro_batch_size() -> None:
    check_batch(recipe(train_batch_size=6, use_dynamic_bsz=True).data, ranks=2)


def test_settings_are_read_from_autocoa_contrastive() -> None:
    assert contrastive_config(OmegaConf.create({"autocoa": {"contrastive": {"alpha": 0.5}}})).alpha == 0.5
    assert contrastive_config(OmegaConf.create({})).alpha == 0.2


MISSPELLED = OmegaConf.create({"autocoa": {"contrastive": {"alhpa": 0.5}}})


@pytest.mark.parametrize(
    ("launch", "kind", "message"),
    [
        (
            lambda: check_datasets(recipe(), Named(range(4)), Named(range(3))),
            DataError,
            r"data\.val_files has 3 pairs, fewer than data\.train_batch_size=4",
        ),
        (
            lambda: check_datasets(recipe(), [1, 2, 3, 4], None),
            ConfigError,
            r"pkg://some.where gives list, which has no names",
        ),
        (
            lambda: check_batch(recipe(train_batch_size=5).data, ranks=2),
            ConfigError,
            "train_batch_size=5 pairs cannot be shared by 2 data-parallel ranks",
        ),
        (
            lambda: check_batch(recipe(train_batch_size=6).data, ranks=2),
            ConfigError,
            "each of 2 ranks 3 pairs, which is no multiple of data.micro_batch_size_per_gpu=2",
        ),
        (
            lambda: check_batch(recipe(pad_mode="right").data, ranks=1),
            ConfigError,
            "data.pad_mode must be no_padding, got right",
        ),
        (
            lambda: contrastive_config(MISSPELLED),
            ConfigError,
            r"autocoa.contrastive: unknown key alhpa \(did you mean 'alpha'\?\)",
        ),
    ],
    ids=["few pairs", "no pairs", "ranks", "micro batches", "padding", "misspelled"],
)
def test_a_launch_that_cannot_be_is_refused_before_training(launch, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        launch()
