"""The losses against plain loops over Python floats."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="needs torch")

import torch
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.config import from_mapping
from autocoa_plugin.data.settings import ContrastiveConfig
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.losses import (
    contrastive_loss,
    masked_nats,
    next_token_weights,
    preference,
    sequence_means,
    sequence_sums,
)

log_probability = st.floats(-30, 0)
weight = st.sampled_from([0.0, 0.3, 1.0])
# one sequence: a list of (log-probability, weight) per position
sequences = st.lists(st.lists(st.tuples(log_probability, weight), min_size=1, max_size=9), min_size=1, max_size=5)


def flat(batch: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Values of all sequences one after the other in float64, and the offsets."""
    lengths = torch.tensor([0, *(len(row) for row in batch)])
    return torch.tensor([value for row in batch for value in row], dtype=torch.float64), lengths.cumsum(0)


def naive_loss(chosen: float, rejected: float, alpha: float, beta: float = 1.0, margin: float = 0.0) -> float:
    return math.log1p(math.exp(-beta * (chosen - rejected - margin))) - alpha * chosen


def test_each_weight_moves_to_the_position_that_predicts_its_token() -> None:
    # sequences of 3 and 2 tokens; their first weights (9) predict nothing and vanish, their last positions get 0
    loss_mask, offsets = flat([[9, 1, 0.5], [9, 1]])
    assert next_token_weights(loss_mask, offsets).tolist() == [1, 0.5, 0, 1, 0]
    assert loss_mask.tolist() == [9, 1, 0.5, 9, 1]


def test_weights_given_as_integers_become_floats() -> None:
    assert next_token_weights(torch.tensor([0, 1, 1]), torch.tensor([0, 3])).dtype == torch.float32


@given(sequences)
def test_sums_and_means_equal_a_loop_over_the_positions(batch: list[list[tuple[float, float]]]) -> None:
    log_probs, offsets = flat([[value for value, _ in row] for row in batch])
    weights, _ = flat([[each for _, each in row] for row in batch])
    sums, means = (function(log_probs, weights, offsets).tolist() for function in (sequence_sums, sequence_means))
    for row, total, mean in zip(batch, sums, means, strict=True):
        count = sum(each for _, each in row)
        assert total == pytest.approx(sum(value * each for value, each in row), abs=1e-9)
        if count:
            assert mean == pytest.approx(sum(value * each for value, each in row) / count, abs=1e-9)


def test_the_likelihood_of_a_sequence_without_weights_has_no_value() -> None:
    log_probs, offsets = flat([[-1, -2], [-3]])
    means = sequence_means(log_probs, torch.tensor([0.0, 0.0, 1.0]), offsets)
    assert math.isnan(means[0]) and means[1] == -3


def test_positions_without_weight_count_nothing_even_when_they_are_not_finite() -> None:
    log_probs = torch.tensor([-1.0, -math.inf, math.nan], requires_grad=True)
    total = sequence_sums(log_probs, torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0, 3]))
    total.sum().backward()
    assert total.tolist() == [-1.0]
    assert log_probs.grad is not None and log_probs.grad.tolist() == [1.0, 0.0, 0.0]


def test_half_precision_is_summed_in_float32() -> None:
    # 4,096 summands of -1 in bfloat16 would stop growing at -256
    ones = torch.full((4096,), -1.0, dtype=torch.bfloat16)
    assert sequence_sums(ones, torch.ones(4096), torch.tensor([0, 4096])).tolist() == [-4096.0]


@given(
    st.lists(st.tuples(log_probability, log_probability), min_size=1, max_size=6),
    st.floats(0, 2),
    st.floats(0.1, 5),
    st.floats(0, 3),
)
def test_the_loss_of_a_pair_equals_its_formula(
    pairs: list[tuple[float, float]], alpha: float, beta: float, margin: float
) -> None:
    chosen, rejected = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    losses = contrastive_loss(chosen, rejected, alpha=alpha, beta=beta, margin=margin).tolist()
    for loss, (first, second) in zip(losses, pairs, strict=True):
        assert loss == pytest.approx(naive_loss(first, second, alpha, beta, margin), rel=1e-9, abs=1e-9)


def test_the_papers_loss_of_two_equal_sides_is_log_2_plus_the_auxiliary_term() -> None:
    # -log sigmoid(0) = log 2; 0.2 * 1.5 = 0.3
    side = torch.tensor([-1.5])
    assert contrastive_loss(side, side, alpha=0.2).tolist() == pytest.approx([math.log(2) + 0.3])


@given(log_probability, log_probability)
def test_swapping_the_sides_turns_the_preference_round(chosen: float, rejected: float) -> None:
    first, second = torch.tensor([chosen], dtype=torch.float64), torch.tensor([rejected], dtype=torch.float64)
    # -log sigmoid(x) - (-log sigmoid(-x)) = -x
    there, back = contrastive_loss(first, second, alpha=0.0), contrastive_loss(second, first, alpha=0.0)
    assert (there - back).item() == pytest.approx(rejected - chosen, abs=1e-9)
    assert preference(first, second) == -preference(second, first)


@given(log_probability, log_probability, log_probability, log_probability)
def test_a_reference_is_subtracted_from_each_side(chosen: float, rejected: float, ours: float, theirs: float) -> None:
    sides = torch.tensor([[chosen], [rejected], [ours], [theirs]], dtype=torch.float64)
    loss = contrastive_loss(*sides[:2], alpha=0.0, beta=0.1, reference_chosen=sides[2], reference_rejected=sides[3])
    assert loss.item() == pytest.approx(naive_loss(chosen - ours, rejected - theirs, alpha=0.0, beta=0.1), abs=1e-9)


def test_the_gradient_pulls_chosen_up_and_rejected_down() -> None:
    sides = torch.tensor([-2.0, -2.0], requires_grad=True)
    contrastive_loss(sides[:1], sides[1:], alpha=0.2).sum().backward()
    # d/dd of -log sigmoid(d) at 0 is -1/2; the auxiliary term adds -0.2 on the chosen side
    assert sides.grad is not None and sides.grad.tolist() == pytest.approx([-0.7, 0.5])


def test_sides_that_do_not_belong_together_are_refused() -> None:
    side = torch.tensor([-1.0])
    with pytest.raises(DataError, match="for both sides or for none"):
        contrastive_loss(side, side, alpha=0.2, reference_chosen=side)
    with pytest.raises(DataError, match=r"chosen has shape \(1,\), rejected \(2,\)"):
        preference(torch.zeros(1), torch.zeros(2))


def test_the_papers_values_are_the_defaults() -> None:
    config = ContrastiveConfig()
    assert (config.alpha, config.beta, config.margin, config.reference, config.normalise) == (0.2, 1, 0, "none", "mean")
    assert config.rows_per_pair == 2 and ContrastiveConfig(replay_per_pair=3).rows_per_pair == 5


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"alpha": -0.1}, "alpha must be >= 0, got -0.1"),
        ({"alpha": math.nan}, "alpha must be >= 0, got nan"),
        ({"beta": 0}, "beta must be > 0"),
        ({"replay_per_pair": -1}, "replay_per_pair must be >= 0"),
        ({"displacement_window_steps": 0}, "displacement_window_steps must be > 0"),
        ({"normalise": "men"}, r"normalise must be one of \['mean', 'sum'\], got 'men' \(did you mean 'mean'\?\)"),
        ({"refrence": "initial"}, r"unknown key refrence \(did you mean 'reference'\?\)"),
    ],
)
def test_a_wrong_setting_is_named(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(ContrastiveConfig, mapping, where="autocoa.contrastive")


@given(st.lists(st.tuples(log_probability, st.booleans()), max_size=20))
def test_masked_nats_are_the_sum_of_a_loop_and_move_masked_tokens_only(tokens):
    log_probs = torch.tensor([value for value, _ in tokens], dtype=torch.float64, requires_grad=True)
    nats = masked_nats(log_probs, torch.tensor([int(counts) for _, counts in tokens]))
    nats.backward()
    assert float(nats.detach()) == pytest.approx(-sum(value for value, counts in tokens if counts), abs=1e-9)
    assert log_probs.grad is not None and log_probs.grad.tolist() == [-1.0 if counts else 0.0 for _, counts in tokens]


def test_masked_nats_ignore_whatever_stands_at_a_token_that_does_not_count():
    log_probs = torch.tensor([[-1.0, -math.inf], [math.nan, -2.0]], dtype=torch.bfloat16)
    nats = masked_nats(log_probs, torch.tensor([[1, 0], [0, 1]]))
    assert float(nats) == 3.0 and nats.dtype == torch.float32
