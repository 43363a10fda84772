"""The observation loss against plain loops over tokens, on batches as verl's engine makes them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import torch
from composed import compose_recipe
from pair_batches import jagged, prepare_micro_batches
from ray import cloudpickle
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.utils import tensordict_utils as tu
from verl.utils.metric import Metric
from verl.workers.config import FSDPActorConfig
from verl.workers.utils.losses import ppo_loss

import autocoa_plugin.verl_adapters.plugin  # noqa: F401  -- registers ${autocoa.file:...}
from autocoa_plugin.errors import ConfigError, TrainingError
from autocoa_plugin.tinyworld.base_model import export_base
from autocoa_plugin.trajectory import Call, Origin, Outcome, Role, Segment, Source, StopReason, Trajectory
from autocoa_plugin.verl_adapters.chain_output import ChainOutput
from autocoa_plugin.verl_adapters.observation_loss import (
    TOKENS,
    install,
    loss_with_observations,
    observation_nats,
    prepare,
)

CLIP, ENTROPY, KL = 0.2, 0.03, 0.05
Loss = Callable[..., tuple[torch.Tensor, dict[str, Any]]]

# prompt length, then one letter per response token: p policy, r real observation, n notice or imagined observation
ROWS = ((3, "pprrrpp"), (1, "ppnnpp"), (4, "prrpprp"), (2, "ppp"), (2, "prpnnp"), (5, "rrpp"))


def actor_config(**options: Any) -> Any:
    """verl's actor configuration, with KL and entropy terms on; `policy_loss` and the rest as verl has it."""
    settings = {"clip_ratio": CLIP, "entropy_coeff": ENTROPY, "use_kl_loss": True, "kl_loss_coef": KL, **options}
    return FSDPActorConfig(strategy="fsdp2", rollout_n=1, ppo_micro_batch_size_per_gpu=1, **settings)


def ones_where(letters: str, text: str) -> list[int]:
    return [int(letter in letters) for letter in text]


def observation_tokens(rows: Sequence[tuple[int, str]]) -> int:
    return sum(text.count("r") for _, text in rows)


def make_batch(rows: Sequence[tuple[int, str]] = ROWS, *, dp_size: int = 1, **changes: Any) -> TensorDict:
    """A mini-batch of one rank: random numbers at every position, those of observations too.

    `changes` replaces fields or non-tensors; the denominators are those of the mini-batch on all `dp_size` ranks, which
    have the same rows.
    """
    numbers = torch.Generator().manual_seed(1)
    draw = lambda low, high: jagged(  # noqa: E731
        [
            (low + (high - low) * torch.rand(len(text), generator=numbers, dtype=torch.float64)).tolist()
            for _, text in rows
        ]
    ).double()
    ids = [torch.randint(3, 90, (prompt + len(text),), generator=numbers) for prompt, text in rows]
    nested = partial(torch.nested.as_nested_tensor, layout=torch.jagged)
    mask = nested([torch.tensor(ones_where("p", text)) for _, text in rows])
    tensors = {
        "prompts": nested([row[:prompt] for row, (prompt, _) in zip(ids, rows, strict=True)]),
        "responses": nested([row[prompt:] for row, (prompt, _) in zip(ids, rows, strict=True)]),
        "input_ids": nested(ids),
        "position_ids": nested([torch.arange(len(row)) for row in ids]),
        "response_mask": mask,
        "loss_mask": mask,
        "observation_mask": nested([torch.tensor(ones_where("r", text)) for _, text in rows]),
        "old_log_probs": draw(-3, -0.1),
        "ref_log_prob": draw(-3, -0.1),
        "advantages": draw(-1, 1),
    }
    numbers_of_batch = {
        "dp_size": dp_size,
        "batch_num_tokens": dp_size * sum(text.count("p") for _, text in rows),
        "global_batch_size": dp_size * len(rows),
        TOKENS: float(dp_size * observation_tokens(rows)),
        "use_dynamic_bsz": False,
        "micro_batch_size_per_gpu": len(rows),
    }
    for name, value in changes.items():
        (tensors if isinstance(value, torch.Tensor) else numbers_of_batch)[name] = value
    return tu.get_tensordict(tensors, non_tensor_dict=numbers_of_batch)


def random_output(data: TensorDict, seed: int = 2) -> dict[str, torch.Tensor]:
    """Log-probabilities and entropies of the whole sequences, as leaves of the graph, float64."""
    numbers, offsets = torch.Generator().manual_seed(seed), data["input_ids"].offsets()
    flat = [torch.rand(int(offsets[-1]), generator=numbers, dtype=torch.float64) for _ in range(2)]
    return {"log_probs": (-3 * flat[0]).requires_grad_(), "entropy": (2 * flat[1]).requires_grad_()}


def as_jagged(leaves: dict[str, torch.Tensor], data: TensorDict) -> dict[str, torch.Tensor]:
    offsets = data["input_ids"].offsets()
    return {key: torch.nested.nested_tensor_from_jagged(leaf, offsets) for key, leaf in leaves.items()}


def loss_and_gradients(loss: Loss, data: TensorDict, leaves: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The loss of one batch, and its gradients with respect to log-probabilities and entropies."""
    leaves = {key: leaf.detach().clone().requires_grad_() for key, leaf in leaves.items()}
    value, _ = loss(model_output=as_jagged(leaves, data), data=data)
    value.backward()
    return value.detach(), leaves["log_probs"].grad, leaves["entropy"].grad


def stock(**options: Any) -> Loss:
    return partial(ppo_loss, actor_config(**options))


def ours(weight: float, **options: Any) -> Loss:
    return partial(loss_with_observations, config=actor_config(**options), weight=weight)


def by_hand(
    data: TensorDict, log_probs: torch.Tensor, entropy: torch.Tensor, weight: float, trained: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The loss of one rank's mini-batch as a loop over tokens; `log_probs` and `entropy` are flat.

    `trained` says for every response token whether GRPO may see it. Written from the formulas, not from verl's code:
    clipped ratio, low-variance KL max(-10, min(10, e^d - d - 1)), entropy bonus, all means over policy tokens.
    """
    grpo, nats, start = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64), 0
    rows = zip(*(data[key].unbind() for key in ("prompts", "responses")), strict=True)
    for row, (prompt, response) in enumerate(rows):
        for step in range(len(response)):
            at = start + len(prompt) + step - 1  # the position before a token predicts it
            if data["observation_mask"][row][step]:
                nats = nats - log_probs[at]
            if not trained[row][step]:
                continue
            advantage = data["advantages"][row][step]
            ratio = torch.exp(log_probs[at] - data["old_log_probs"][row][step])
            clipped = torch.clamp(ratio, 1 - CLIP, 1 + CLIP)
            worst = torch.maximum(-advantage * ratio, -advantage * clipped)
            # dual clip: a token of negative advantage costs at most 3 times that (verl's clip_ratio_c)
            grpo = grpo + (torch.minimum(worst, -3.0 * advantage) if advantage < 0 else worst)
            difference = data["ref_log_prob"][row][step] - log_probs[at]
            grpo = grpo + KL * torch.clamp(torch.exp(difference) - difference - 1, -10, 10) - ENTROPY * entropy[at]
        start += len(prompt) + len(response)
    dp_size = data["dp_size"]
    loss = grpo / data["batch_num_tokens"] * dp_size
    return loss + weight * nats / data[TOKENS] * dp_size if data[TOKENS] else loss


def trained_tokens(rows: Sequence[tuple[int, str]] = ROWS) -> list[list[int]]:
    return [ones_where("p", text) for _, text in rows]


def positions_of(letters: str, rows: Sequence[tuple[int, str]] = ROWS) -> list[int]:
    """Flat positions that predict the response tokens of these kinds."""
    found, start = [], 0
    for prompt, text in rows:
        found += [start + prompt + step - 1 for step, letter in enumerate(text) if letter in letters]
        start += prompt + len(text)
    return found


# --- masked: observations are nowhere in verl's loss ---


def masking_faults(data: TensorDict, loss: Loss) -> list[str]:
    """What of the observations leaks into a loss that is to be masked; [] when nothing does.

    Looks at gradients, at every field a term reads, and at the denominators, through a loop over policy tokens.
    """
    leaves, hidden, faults = random_output(data), positions_of("rn"), []
    value, *gradients = loss_and_gradients(loss, data, leaves)
    for name, gradient in zip(leaves, gradients, strict=True):
        if gradient[hidden].any():
            faults.append(f"gradient of {name} at an observation")
    for field in ("old_log_probs", "ref_log_prob", "advantages"):
        moved = [
            row + 0.7 * (1 - torch.tensor(mask))
            for row, mask in zip(data[field].unbind(), trained_tokens(), strict=True)
        ]
        changed = data.clone()
        changed[field] = torch.nested.as_nested_tensor(moved, layout=torch.jagged)
        if not all(map(torch.equal, loss_and_gradients(loss, changed, leaves), (value, *gradients))):
            faults.append(f"{field} of an observation moves the loss or its gradient")
    flat = {key: leaf.detach().clone().requires_grad_() for key, leaf in leaves.items()}
    expected = by_hand(make_batch(), flat["log_probs"], flat["entropy"], 0.0, trained_tokens())
    expected.backward()
    wanted = (expected.detach(), flat["log_probs"].grad, flat["entropy"].grad)
    if not all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip((value, *gradients), wanted, strict=True)):
        faults.append("not the mean over policy tokens")
    return faults


@pytest.mark.parametrize("loss", [stock(), ours(0.0)], ids=["verl's", "ours at 0"])
def test_masked_means_everywhere(loss):
    assert masking_faults(make_batch(), loss) == []


def test_the_check_of_masking_notices_one_observation_token_that_is_let_through():
    planted = [ones_where("p", text) for _, text in ROWS]
    planted[0][3] = 1  # "pprrrpp": the second observation token of the first row
    mask = torch.nested.as_nested_tensor([torch.tensor(row) for row in planted], layout=torch.jagged)
    batch_num_tokens = sum(map(sum, planted))  # verl counts the tokens of the mask
    faults = masking_faults(make_batch(response_mask=mask, loss_mask=mask, batch_num_tokens=batch_num_tokens), stock())
    assert faults == [
        "gradient of log_probs at an observation",
        "gradient of entropy at an observation",
        "old_log_probs of an observation moves the loss or its gradient",
        "ref_log_prob of an observation moves the loss or its gradient",
        "advantages of an observation moves the loss or its gradient",
        "not the mean over policy tokens",
    ]


def test_the_check_of_masking_notices_a_denominator_that_counts_observations():
    everything = sum(len(text) for _, text in ROWS)
    assert masking_faults(make_batch(batch_num_tokens=everything), stock()) == ["not the mean over policy tokens"]


# --- lambda: one mean over the real observation tokens of a mini-batch ---


# both a rank's three rows and all six divide by these
CUTS = {
    "one micro-batch of 3": {"use_dynamic_bsz": False, "micro_batch_size_per_gpu": 3},
    "one row each": {"use_dynamic_bsz": False, "micro_batch_size_per_gpu": 1},
    "dynamic": {"use_dynamic_bsz": True, "max_token_len_per_gpu": 20},
}


def key_of(ids: torch.Tensor) -> tuple[int, ...]:
    return tuple(ids.tolist())


def in_micro_batches(
    loss: Loss, data: TensorDict, flat: torch.Tensor, **how: Any
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Metric]]:
    """Loss, gradient and metrics of a rank whose mini-batch is cut by verl, in whatever order it then has the rows."""
    sequences = [part.clone().requires_grad_() for part in flat.split(data["input_ids"].offsets().diff().tolist())]
    leaf_of = {key_of(ids): leaf for ids, leaf in zip(data["input_ids"].unbind(), sequences, strict=True)}
    tu.assign_non_tensor(data, **how)
    total, kept = torch.zeros((), dtype=torch.float64), {}
    for part in prepare_micro_batches(data)[0]:
        rows = [leaf_of[key_of(ids)] for ids in part["input_ids"].unbind()]
        output = {"log_probs": torch.nested.as_nested_tensor(rows, layout=torch.jagged)}
        value, metrics = loss(model_output=output, data=part)
        total = total + value
        for name in ("actor/observation_nats", "actor/observation_loss"):
            kept.setdefault(name, metrics[name].init_list()).append(metrics[name])
    total.backward()
    return total.detach(), torch.cat([leaf.grad for leaf in sequences]), kept


@pytest.mark.parametrize("how", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("ranks", [1, 2])
def test_with_lambda_the_loss_is_the_loop_over_tokens_however_the_batch_is_cut(how, ranks):
    weight = 0.3
    denominators = {
        "batch_num_tokens": sum(text.count("p") for _, text in ROWS),
        "global_batch_size": len(ROWS),
        TOKENS: float(observation_tokens(ROWS)),
    }
    share = len(ROWS) // ranks
    rank_metrics, all_nats = [], 0.0
    for rank in range(ranks):
        rows = ROWS[rank * share : (rank + 1) * share]
        data = make_batch(rows, dp_size=ranks, **denominators)
        flat = random_output(data)["log_probs"].detach()
        found, gradient, metrics = in_micro_batches(ours(weight, entropy_coeff=0.0), data, flat, **how)
        reference = flat.clone().requires_grad_()
        expected = by_hand(data, reference, torch.zeros_like(reference), weight, trained_tokens(rows))
        expected.backward()
        assert torch.allclose(found, expected, rtol=0, atol=1e-6)
        assert torch.allclose(gradient, reference.grad, rtol=0, atol=1e-6)
        rank_metrics.append(metrics)
        all_nats -= float(flat[positions_of("r", rows)].sum())
    mean = all_nats / observation_tokens(ROWS)
    values = {name: Metric.aggregate_dp([metrics[name] for metrics in rank_metrics]) for name in rank_metrics[0]}
    assert values["actor/observation_nats"] == pytest.approx(mean, abs=1e-6)
    assert values["actor/observation_loss"] == pytest.approx(weight * mean, abs=1e-6)


def test_the_loop_over_tokens_is_not_met_when_observations_are_read_one_position_off():
    data = make_batch()
    leaves = random_output(data)
    found, gradient, _ = loss_and_gradients(ours(0.3), data, leaves)
    shifted = [torch.roll(row, 1) for row in data["observation_mask"].unbind()]
    data["observation_mask"] = torch.nested.as_nested_tensor(shifted, layout=torch.jagged)
    reference = leaves["log_probs"].detach().clone().requires_grad_()
    expected = by_hand(data, reference, leaves["entropy"].detach(), 0.3, trained_tokens())
    expected.backward()
    assert abs(found - expected) > 1e-3 and not torch.allclose(gradient, reference.grad, atol=1e-3)


def test_two_mini_batches_of_a_step_weigh_each_token_the_same():
    halves = ROWS[:3], ROWS[3:]  # 6 and 3 real observation tokens: 4.5 per mini-batch
    gradients = []
    for rows in halves:
        data = make_batch(rows, **{TOKENS: observation_tokens(ROWS) / 2})
        leaves = random_output(data)
        with_term, without = (loss_and_gradients(loss, data, leaves)[1] for loss in (ours(1.0), stock()))
        gradients.append((with_term - without)[positions_of("r", rows)])
    assert [len(each) for each in gradients] == [6, 3]
    assert torch.allclose(torch.cat(gradients), torch.full((9,), -1 / 4.5, dtype=torch.float64))


def test_without_real_observations_the_loss_is_verls_own():
    rows = [(prompt, text.replace("r", "n")) for prompt, text in ROWS]
    data = make_batch(rows)
    leaves = random_output(data)
    assert data[TOKENS] == 0.0
    assert all(map(torch.equal, loss_and_gradients(ours(0.3), data, leaves), loss_and_gradients(stock(), data, leaves)))
    assert loss_with_observations(as_jagged(leaves, data), data, config=actor_config(), weight=0.3)[1].keys() == (
        ppo_loss(actor_config(), as_jagged(leaves, data), data)[1].keys()
    )


def test_a_micro_batch_without_observations_adds_zero_and_still_reports():
    data = make_batch([(2, "ppnp")], **{TOKENS: 8.0})  # the mini-batch has some, this part of it none
    leaves = random_output(data)
    assert torch.equal(loss_and_gradients(ours(0.3), data, leaves)[1], loss_and_gradients(stock(), data, leaves)[1])
    _, metrics = loss_with_observations(as_jagged(leaves, data), data, config=actor_config(), weight=0.3)
    assert metrics["actor/observation_nats"].values == [0.0]


def test_an_impossible_token_that_is_no_observation_does_not_spoil_the_term():
    data = make_batch([(2, "prp")])
    log_probs = torch.tensor([-1.0, -1.0, -2.0, -torch.inf, torch.nan])  # the last two: a policy token, nothing
    output = {"log_probs": torch.nested.nested_tensor_from_jagged(log_probs, data["input_ids"].offsets())}
    config = actor_config(entropy_coeff=0.0)
    _, metrics = loss_with_observations(output, data, config=config, weight=0.3)
    assert metrics["actor/observation_nats"].values == [2.0]


# --- a real model ---


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(export_base(tmp_path_factory.mktemp("base") / "model")).train()


def forward(model: Any, data: TensorDict) -> dict[str, torch.Tensor]:
    """Log-probabilities of the next token and entropies as verl's engine lays them out, with their graph."""
    from verl.utils.torch_functional import entropy_from_logits, logprobs_from_logits

    log_probs, entropies = [], []
    for ids in data["input_ids"].unbind():
        logits = model(ids[None]).logits[0]
        log_probs.append(logprobs_from_logits(logits, torch.roll(ids, -1), inplace_backward=False))
        entropies.append(entropy_from_logits(logits))
    pairs = {"log_probs": log_probs, "entropy": entropies}
    return {key: torch.nested.as_nested_tensor(rows, layout=torch.jagged) for key, rows in pairs.items()}


def train_step(model: Any, loss: Loss, data: TensorDict) -> tuple[torch.Tensor, list[torch.Tensor], dict[str, Any]]:
    model.zero_grad()
    value, metrics = loss(model_output=forward(model, data), data=data)
    value.backward()
    return value.detach(), [weight.grad.clone() for weight in model.parameters()], metrics


def test_lambda_0_is_bit_identical_to_verls_loss_in_value_and_every_parameters_gradient(model):
    data = make_batch()
    value, gradients, metrics = train_step(model, ours(0.0), data)
    expected, expected_gradients, expected_metrics = train_step(model, stock(), data)
    assert torch.equal(value, expected) and len(gradients) > 20 and all(gradient.any() for gradient in gradients)
    assert all(map(torch.equal, gradients, expected_gradients))
    assert metrics.keys() == expected_metrics.keys() and "actor/entropy_loss" in metrics and "kl_loss" in metrics
    changed, changed_gradients, _ = train_step(model, ours(0.01), data)
    assert changed != value and not torch.equal(changed_gradients[0], gradients[0])


def test_the_term_is_the_cross_entropy_that_transformers_computes_from_the_same_tokens(model):
    data = make_batch()
    _, gradients, metrics = train_step(model, ours(1.0), data)
    _, without, _ = train_step(model, stock(), data)
    model.zero_grad()
    total = torch.zeros(())
    for ids, mask in zip(data["input_ids"].unbind(), data["observation_mask"].unbind(), strict=True):
        labels = torch.full_like(ids, -100)  # transformers shifts them by one itself
        labels[len(ids) - len(mask) :][mask == 1] = ids[len(ids) - len(mask) :][mask == 1]
        if mask.any():
            total = total + model(ids[None], labels=labels[None]).loss * mask.sum()
    mean = total / observation_tokens(ROWS)
    mean.backward()
    assert metrics["actor/observation_nats"].aggregate() == pytest.approx(float(mean.detach()), abs=1e-5)
    for ours_, verls, parameter in zip(gradients, without, model.parameters(), strict=True):
        assert torch.allclose(ours_ - verls, parameter.grad, atol=1e-5)


# --- the row: from a trajectory to verl ---


def segment(role: Role, source: Source, length: int, call: Call | None = None) -> Segment:
    return Segment(role, source, tuple(range(length)), "", call=call)


def answered(origin: str, outcome: str = "ok") -> Call:
    return Call("search", "{}", Outcome(outcome), Origin(origin), seconds=0.0)


def chain_output(trajectory: Trajectory, **fields: Any) -> ChainOutput:
    return ChainOutput(
        prompt_ids=list(trajectory.prompt_ids),
        response_ids=trajectory.response_ids,
        response_mask=trajectory.response_mask,
        observation_mask=trajectory.observation_mask,
        metrics=AgentLoopMetrics(),
        **fields,
    )


def test_only_what_a_real_tool_answered_is_in_the_mask_of_the_row():
    observations = [
        segment(Role.OBSERVATION, Source.ENVIRONMENT, 3, answered("real")),
        segment(Role.OBSERVATION, Source.POLICY, 2, answered("world_model")),
        segment(Role.OBSERVATION, Source.ENVIRONMENT, 2, answered("world_model")),
        segment(Role.OBSERVATION, Source.ENVIRONMENT, 1, answered("notice")),
        segment(Role.OBSERVATION, Source.ENVIRONMENT, 1, answered("real", "error")),
    ]
    thought = segment(Role.THOUGHT, Source.POLICY, 2)
    row = chain_output(Trajectory((1,), (thought, *observations, thought), StopReason.ANSWERED, "autocoa")).as_dict()
    assert row["observation_mask"].tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert row["response_mask"].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_the_row_keeps_every_field_that_verl_would_give():
    fields: dict[str, Any] = {
        "prompt_ids": [1, 2],
        "response_ids": [3, 4, 5],
        "response_mask": [1, 0, 1],
        "response_logprobs": [-1.0, 0.0, -2.0],
        "reward_score": 0.5,
        "num_turns": 3,
        "metrics": AgentLoopMetrics(tool_calls=1.5),
        "extra_fields": {"min_global_steps": 2},
    }
    verls = AgentLoopOutput(**fields).as_dict()
    row = ChainOutput(**fields, observation_mask=[0, 1, 0]).as_dict()
    mask = row.pop("observation_mask")
    assert mask.tolist() == [0, 1, 0] and mask.dtype == verls["response_mask"].dtype == torch.int64
    assert row.keys() == verls.keys()
    for name, value in verls.items():
        assert torch.equal(row[name], value) if isinstance(value, torch.Tensor) else row[name] == value


def test_a_mask_of_another_length_than_the_response_is_refused():
    with pytest.raises(ValueError, match="observation_mask has 2 numbers for 3 response tokens"):
        ChainOutput(
            prompt_ids=[1],
            response_ids=[1, 2, 3],
            response_mask=[1, 1, 1],
            observation_mask=[0, 1],
            metrics=AgentLoopMetrics(),
        )


# --- the trainer: what is installed, and what goes along with a batch ---


class Workers:
    """verl's worker group as far as `install` goes: keeps the loss it is given, as Ray would bring it to a worker."""

    loss: Any = None

    def set_loss_fn(self, loss_fn):
        self.loss = pickle.loads(cloudpickle.dumps(loss_fn))


def trainer_of(*overrides: str, loss: str = "cross_entropy", weight: float = 0.05) -> Any:
    """As much of `AutoCoATrainer` as this module looks at; two rows make a mini-batch."""
    paths = ("data.train_files=a", "data.val_files=b", "actor_rollout_ref.model.path=c", "autocoa.search.corpus=d")
    small = ("actor_rollout_ref.actor.ppo_mini_batch_size=1", "actor_rollout_ref.rollout.n=2")
    config = compose_recipe("rl_stage2_real", [*paths, *small, *overrides])
    settings = SimpleNamespace(observation_loss=loss, observation_weight=weight)
    return SimpleNamespace(config=config, settings=settings, actor_rollout_wg=Workers())


def test_masked_installs_nothing_and_asks_for_nothing():
    trainer, batch = trainer_of(loss="masked"), KVBatchMeta(keys=["a"], tags=[{}], partition_id="train")
    install(trainer)
    prepare(trainer, batch)  # there is no TransferQueue that could be asked
    assert trainer.actor_rollout_wg.loss is None and batch.extra_info == {}


def test_workers_get_the_loss_with_the_configuration_that_verl_builds_for_its_own():
    from verl.utils.config import omega_conf_to_dataclass

    trainer = trainer_of("actor_rollout_ref.actor.clip_ratio=0.17")
    install(trainer)
    loss = trainer.actor_rollout_wg.loss
    assert loss.func is loss_with_observations and loss.keywords["weight"] == 0.05
    assert loss.keywords["config"] == omega_conf_to_dataclass(trainer.config.actor_rollout_ref.actor)
    assert loss.keywords["config"].clip_ratio == 0.17
    data = make_batch()
    value, metrics = loss(model_output=as_jagged(random_output(data), data), data=data, dp_group=None)
    assert value.isfinite() and "actor/observation_loss" in metrics


def test_distillation_has_another_loss_and_is_refused():
    with pytest.raises(ConfigError, match=r"distillation\.enabled=true replaces it"):
        install(trainer_of("distillation.enabled=true"))


def test_a_batch_that_was_not_prepared_is_refused():
    data = make_batch().exclude(TOKENS)
    with pytest.raises(TrainingError, match=f"the batch has no {TOKENS}"):
        loss_with_observations(as_jagged(random_output(data), data), data, config=actor_config(), weight=0.1)


def test_a_padding_row_with_another_rows_mask_is_refused():
    data = make_batch([(2, "prrp"), (3, "p")])
    masks = [torch.tensor([0, 1, 1, 0])] * 2
    data["observation_mask"] = torch.nested.as_nested_tensor(masks, layout=torch.jagged)
    with pytest.raises(TrainingError, match=r"has \[4, 4\] tokens for responses of \[4, 1\].*prepare"):
        loss_with_observations(as_jagged(random_output(data), data), data, config=actor_config(), weight=0.1)


def test_in_bypass_mode_nobody_knows_the_log_probabilities_of_observations():
    trainer = trainer_of("++algorithm.rollout_correction.bypass_mode=true")
    assert observation_nats(trainer, KVBatchMeta(keys=["a"], tags=[{}], partition_id="train")) == {}


@pytest.fixture(scope="module")
def transfer_queue():
    import ray
    import transfer_queue as queue
    from omegaconf import OmegaConf

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)  # the queue's actors take one each
    queue.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1}}}))
    yield queue
    queue.close()
    ray.shutdown()


@pytest.mark.timeout(240)  # half a minute of it is the start of Ray and the queue, on a busy machine
def test_padding_rows_count_nothing_on_the_way_through_a_real_transfer_queue(transfer_queue):
    from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size

    texts = ("prrp", "prp", "ppp")
    rows = [
        ChainOutput(
            prompt_ids=[1, 2],
            response_ids=[3] * len(text),
            response_mask=ones_where("p", text),
            observation_mask=ones_where("r", text),
            metrics=AgentLoopMetrics(),
            extra_fields={"number": number},
        ).as_dict()
        for number, text in enumerate(texts)
    ]
    for row in rows:  # as verl's worker does
        row["input_ids"] = torch.cat([row["prompts"], row["responses"]])
        row["position_ids"] = torch.arange(len(row["input_ids"]))
    tags = [{"response_len": len(text)} for text in texts]
    stored = {"keys": ["a_0_0", "a_1_0", "b_0_0"], "partition_id": "train", "tags": tags}
    batch = transfer_queue.kv_batch_put(fields=tu.list_of_dict_to_tensordict(rows), **stored)
    batch = upsample_batch_to_divisible_size(batch, 4, eos_token_id=0)
    masks = lambda: [  # noqa: E731
        row.tolist()
        for row in transfer_queue.kv_batch_get(batch.keys, "train", ["observation_mask"])["observation_mask"]
    ]
    # the trap: the fourth row has a response of one token, and the first row's mask
    assert masks() == [[0, 1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 1, 0]]
    old = [{"old_log_probs": -torch.arange(1.0, length + 1)} for length in (4, 3, 3, 1)]
    batch = transfer_queue.kv_batch_put(batch.keys, "train", tu.list_of_dict_to_tensordict(old))

    trainer = trainer_of()
    # -log p is 2 and 3 in the first row, 2 in the second
    expected = {"autocoa/observation_nats": pytest.approx(7 / 3), "autocoa/observation_tokens": 3.0}
    assert observation_nats(trainer, batch) == expected
    prepare(trainer, batch)
    assert masks() == [[0, 1, 1, 0], [0, 1, 0], [0, 0, 0], [0]]
    assert batch.extra_info == {TOKENS: 1.5}  # 3 tokens, 4 rows of which 2 make a mini-batch
    only_padding = batch.select_keys(batch.keys[3:])
    assert observation_nats(trainer, only_padding) == {}
    no_observation = batch.select_keys(batch.keys[2:3])
    assert observation_nats(trainer, no_observation) == {}
    prepare(trainer, no_observation)
    assert no_observation.extra_info == {TOKENS: 0.0}
