"""Pairs as batches: groups stay whole however verl cuts, and what does not fit is named before training."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import torch
from hypothesis import given
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


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_rows_whose_likelihood_is_not_finite_are_named(bad: float) -> None:
    data = TensorDict({"loss_mask": jagged([[0, 1, 1], [0, 1]]), "row": jagged_rows(0, 1)}, batch_size=[2])
    with pytest.raises(TrainingError, match=r"^the log-likelihood of row 'b' is not finite; .*optim\.lr") as told:
        check_finite(jagged([LOG_PROBS[0], [bad, -3.0]]), data, ["a", "b"], loss=torch.tensor(bad))
    assert "\n" not in str(told.value)


def test_what_stands_at_a_position_without_loss_does_not_matter() -> None:
    # the last position of each row predicts nothing, and token 1 of the second row has no loss
    data = TensorDict({"loss_mask": jagged([[0, 1, 1], [0, 0]]), "row": jagged_rows(0, 1)}, batch_size=[2])
    check_finite(jagged([[-1.0, -2.0, math.nan], [math.nan, math.nan]]), data, ["a", "b"])


def test_all_rows_are_named_when_none_of_them_alone_is_the_cause() -> None:
    data = TensorDict({"loss_mask": jagged([[0, 1, 1], [0, 1]]), "row": jagged_rows(1, 0)}, batch_size=[2])
    with pytest.raises(TrainingError, match="the loss is inf although each row's is finite, in rows 'b', 'a'; "):
        check_finite(jagged(LOG_PROBS), data, ["a", "b"], loss=torch.tensor(math.inf))


def test_rows_are_not_looked_at_while_the_loss_is_finite() -> None:
    data = TensorDict({"loss_mask": jagged([[0, 1]]), "row": jagged_rows(0)}, batch_size=[1])
    check_finite(jagged([[math.nan, 0.0]]), data, ["a"], loss=torch.tensor(1.0))


def test_a_long_list_of_rows_is_cut() -> None:
    names = [f"r{index}" for index in range(11)]
    data = TensorDict({"loss_mask": jagged([[0, 1]] * 11), "row": jagged_rows(*range(11))}, batch_size=[11])
    with pytest.raises(TrainingError, match=r"of rows 'r0', .*, 'r7' and 3 more is not finite"):
        check_finite(jagged([[math.nan, 0.0]] * 11), data, names)


def jagged_rows(*rows: int) -> torch.Tensor:
    return torch.nested.as_nested_tensor([torch.tensor([row]) for row in rows], layout=torch.jagged)


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


def test_fewer_pairs_than_a_batch_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.val_files has 3 pairs, fewer than data\.train_batch_size=4"):
        check_datasets(recipe(), Named(range(4)), Named(range(3)))


def test_a_data_set_that_is_not_of_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pkg://some.where gives list, which has no names"):
        check_datasets(recipe(), [1, 2, 3, 4], None)


@pytest.mark.parametrize(
    ("data", "ranks", "message"),
    [
        ({"train_batch_size": 5}, 2, "train_batch_size=5 pairs cannot be shared by 2 data-parallel ranks"),
        (
            {"train_batch_size": 6},
            2,
            "each of 2 ranks 3 pairs, which is no multiple of data.micro_batch_size_per_gpu=2",
        ),
        ({"pad_mode": "right"}, 1, "data.pad_mode must be no_padding, got right"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_refused(data: dict[str, object], ranks: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_batch(recipe(**data).data, ranks=ranks)


def test_dynamic_batches_need_no_micro_batch_size() -> None:
    check_batch(recipe(train_batch_size=6, use_dynamic_bsz=True).data, ranks=2)


def test_settings_are_read_from_autocoa_contrastive() -> None:
    assert contrastive_config(OmegaConf.create({"autocoa": {"contrastive": {"alpha": 0.5}}})).alpha == 0.5
    assert contrastive_config(OmegaConf.create({})).alpha == 0.2
    with pytest.raises(ConfigError, match=r"autocoa.contrastive: unknown key alhpa \(did you mean 'alpha'\?\)"):
        contrastive_config(OmegaConf.create({"autocoa": {"contrastive": {"alhpa": 0.5}}}))
