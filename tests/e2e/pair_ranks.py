"""What each rank runs in `test_contrastive_ranks`, and the pairs it runs on.

    python -m torch.distributed.run --nproc-per-node 2 pair_ranks.py FOLDER

Every case is a `PairTrainer` of its own that trains one step on all pairs; gradients are taken where the optimizer
would use them. Rank 0 writes `<world size>.pt`: for each case its gradients by parameter, its metrics, its reference,
and the pairs that its micro-batches held.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

VOCABULARY, PAIRS, BAD_TOKEN = 48, 8, 47
Row = dict[str, torch.Tensor]


class FakePairs(Dataset):
    """Random pairs of different lengths, deterministic; `config.replay_per_pair` replay rows follow each.

    The chosen side of every other pair has an untrained stretch, as an observation would be; replay weights are
    fractions. Pair 5 alone contains `BAD_TOKEN`, in its rejected side.
    """

    def __init__(
        self, parquet_files: Any, tokenizer: Any, config: Any, processor: Any = None, max_samples: int = -1
    ) -> None:
        self.items = [make_pair(index, config.get("replay_per_pair", 0)) for index in range(PAIRS)]
        self.names = [f"pair-{index}" for index in range(PAIRS)]

    def __len__(self) -> int:
        return PAIRS

    def __getitem__(self, index: int) -> dict[str, list[Row]]:
        return self.items[index]


def make_pair(index: int, replay: int) -> dict[str, list[Row]]:
    """Draw one item; the same index gives the same pair whatever the number of replay rows."""
    generator = torch.Generator().manual_seed(index)

    def draw(low: int, high: int) -> torch.Tensor:
        length = int(torch.randint(low, high, (1,), generator=generator))
        # 0 is the tokenizer's padding: verl tells the model, whose embedding then learns nothing from it
        return torch.randint(1, BAD_TOKEN, (length,), generator=generator)

    prefix, chosen, rejected = draw(3, 9), draw(2, 12), draw(2, 12)
    if index == 5:
        rejected[0] = BAD_TOKEN
    rows = [_row(torch.cat([prefix, side]), len(prefix), index) for side in (chosen, rejected)]
    if index % 2:
        rows[0]["loss_mask"][len(prefix) + 1] = 0.0
    for _ in range(replay):
        row = _row(draw(4, 20), 1, index)
        row["loss_mask"] *= 0.25 + 0.75 * torch.rand(len(row["loss_mask"]), generator=generator)
        rows.append(row)
    return {"rows": rows}


def _row(ids: torch.Tensor, untrained: int, index: int) -> Row:
    mask = torch.ones(len(ids))
    mask[:untrained] = 0.0
    return {"input_ids": ids, "position_ids": torch.arange(len(ids)), "loss_mask": mask, "row": torch.tensor([index])}


def cases() -> Iterator[tuple[str, list[str]]]:
    """Name and overrides of every case; all of them cut the batch into several micro-batches."""
    # a pair has up to 38 tokens, a replay row up to 19
    cuts = {
        "dynamic": ["data.use_dynamic_bsz=true", "data.max_token_len_per_gpu=60"],
        "static": ["data.use_dynamic_bsz=false", "data.micro_batch_size_per_gpu=2"],
    }
    layouts = {"packed": ["model.use_remove_padding=true"], "padded": ["model.use_remove_padding=false"]}
    for (cut, first), (layout, second), replay in product(cuts.items(), layouts.items(), (0, 1)):
        yield f"{cut}-{layout}-replay{replay}", [*first, *second, *replay_rows(replay)]
    variant = ["+autocoa.contrastive.beta=2.0", "+autocoa.contrastive.margin=0.5", "+autocoa.contrastive.alpha=0.05"]
    dynamic, padded = cuts["dynamic"], layouts["padded"]
    yield "variant", [*dynamic, *padded, *variant, "+autocoa.contrastive.normalise=sum", *replay_rows(2)]
    yield "reference", [*dynamic, *padded, "+autocoa.contrastive.reference=initial"]


def replay_rows(count: int) -> list[str]:
    longer = [f"data.max_token_len_per_gpu={60 + 20 * count}"] if count else []
    return [f"+autocoa.contrastive.replay_per_pair={count}", f"+data.replay_per_pair={count}", *longer]


def base_overrides(folder: Path, name: str) -> list[str]:
    """What every run here changes in verl's SFT configuration: CPU, fake pairs, one step on all of them."""
    return [
        f"model.path={folder}/model",
        "+model.override_config.attn_implementation=sdpa",
        "model.enable_gradient_checkpointing=false",
        "model.use_remove_padding=false",
        "engine.strategy=fsdp2",
        "engine.use_torch_compile=false",
        "+engine.mixed_precision.param_dtype=fp32",
        f"data.custom_cls.path={__file__}",
        "data.custom_cls.name=FakePairs",
        f"data.train_batch_size={PAIRS}",
        "data.num_workers=0",
        "checkpoint.save_contents=[]",
        "trainer.device=cpu",
        f"trainer.default_local_dir={folder}/runs/{name}",
        "trainer.total_training_steps=1",
        "trainer.resume_mode=disable",
        "trainer.logger=[]",
    ]


def compose_pairs(folder: Path, name: str, overrides: Sequence[str]) -> Any:
    """verl's SFT configuration with these overrides."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("sft_trainer_engine", overrides=[*base_overrides(folder, name), *overrides])


def run_case(config: Any) -> dict[str, Any]:
    """Train one step; return what the optimizer was given, the step's metrics, and the reference table."""
    from verl.utils import tensordict_utils as tu

    from autocoa_plugin.verl_adapters.contrastive.trainer import PairTrainer

    trainer = PairTrainer(config)
    train_batch, loss_fn = trainer.training_client.train_batch, trainer.loss_fn
    kept: dict[str, Any] = {"micro_batches": [], "reference": loss_fn.reference}

    def take_gradients() -> float:
        parameters = trainer.engine.module.named_parameters()
        kept["gradients"] = {name: full(parameter.grad) for name, parameter in parameters}
        return 0.0

    def train_and_keep(data: Any) -> Any:
        output = train_batch(data)
        kept["metrics"] = dict(tu.get(output, "metrics"))
        return output

    def note_and_compute(model_output: Any, data: Any, dp_group: Any = None) -> Any:
        kept["micro_batches"].append(data["row"].values().tolist())
        return loss_fn(model_output, data, dp_group)

    trainer.training_client.set_loss_fn(note_and_compute)
    trainer.engine.optimizer_step = take_gradients
    trainer.training_client.train_batch = train_and_keep
    trainer.ckpt_handler.save_checkpoint = lambda step: None
    trainer.fit()
    return kept


def full(tensor: Any) -> torch.Tensor:
    """A parameter's whole gradient, collected from all ranks."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def main() -> None:
    folder = Path(sys.argv[1])
    from verl.utils.distributed import destroy_global_process_group, initialize_global_process_group

    from autocoa_plugin.errors import TrainingError

    torch.set_num_threads(1)
    initialize_global_process_group()
    world = int(os.environ["WORLD_SIZE"])
    results = {name: run_case(compose_pairs(folder, f"{world}-{name}", overrides)) for name, overrides in cases()}
    if world == 1:
        overrides = [f"model.path={folder}/damaged", *dict(cases())["static-padded-replay0"]]
        try:
            run_case(compose_pairs(folder, "damaged", overrides))
        except TrainingError as error:
            results["damaged"] = {"error": str(error)}
    if torch.distributed.get_rank() == 0:
        torch.save(results, folder / f"{world}.pt")
    destroy_global_process_group()


if __name__ == "__main__":
    main()
