"""One round of the supervised benchmark: verl's trainer on a stage's recipe, and a plain loop on the same batches."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module

STAGES = {"SFT-1 contrastive": "sft1", "SFT-2 masked": "sft2", "SFT-3 world model": "sft3"}
_WARM_UP_STEPS = 2
_PLAIN_ROWS = 8  # rows in one micro-batch of the plain loop

Row = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Measured:
    """`tokens_per_s` has one figure per timed step, real tokens only; `real_share` is real over processed tokens."""

    tokens_per_s: list[float]
    real_share: float


def start_process_group(threads: int) -> None:
    """Make this process the only rank of a gloo group, as torchrun would."""
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="29611")
    torch.set_num_threads(threads)
    from verl.utils.distributed import initialize_global_process_group

    initialize_global_process_group()


def measure_verl(stage: str, world: Path, folder: Path, steps: int) -> tuple[Measured, list[list[Row]]]:
    """Train `steps` timed steps with verl's trainer; also returns the rows of every step, in order."""
    config = _config(stage, world, folder, steps + _WARM_UP_STEPS)
    trainer = _trainer(stage, config)
    starts, batches, train_batch = [], [], trainer.training_client.train_batch

    def timed(data: Any) -> Any:
        starts.append(time.perf_counter())
        batches.append(_rows(data))
        return train_batch(data=data)

    trainer.training_client.train_batch = timed
    trainer.ckpt_handler.save_checkpoint = lambda step: None  # not part of a step
    trainer.fit()
    seconds = [after - before for before, after in itertools.pairwise(starts)][_WARM_UP_STEPS - 1 :]
    tokens = [_tokens(rows) for rows in batches[_WARM_UP_STEPS - 1 : -1]]
    # packed: no token is computed that no row asked for
    share = 1.0 if config.model.use_remove_padding else float("nan")
    return Measured([each / took for each, took in zip(tokens, seconds, strict=True)], share), batches


def measure_plain(stage: str, world: Path, batches: list[list[Row]], *, sort: bool) -> Measured:
    """Train on the same batches with a loop of forward, loss, backward, clip, step."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(world / "base", dtype=torch.float32, attn_implementation="sdpa")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    speeds, real, processed = [], 0, 0
    for step, rows in enumerate(batches):
        started = time.perf_counter()
        group = _group(stage)
        ordered = _sorted_groups(rows, group) if sort else rows
        for micro in _chunks(ordered, _PLAIN_ROWS - _PLAIN_ROWS % group):
            log_probs, weights = _log_probs(model, micro)
            _loss(stage, log_probs, weights, rows, group).backward()
            real, processed = real + _tokens(micro), processed + weights.numel() + len(micro)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step >= _WARM_UP_STEPS:
            speeds.append(_tokens(rows) / (time.perf_counter() - started))
    return Measured(speeds, real / processed)


def _config(stage: str, world: Path, folder: Path, steps: int) -> Any:
    from autocoa_plugin.stages.plan import find_files
    from autocoa_plugin.stages.registry import get_stage

    known = get_stage(STAGES[stage])
    files = {key: f"[{','.join(map(str, paths))}]" for key, paths in find_files(known, world.absolute(), ()).items()}
    overrides = {
        "hardware_sft": "cpu",
        "setting": known.setting.format("tinyworld"),
        "model.path": world / "base",
        **files,
        "trainer.default_local_dir": folder,
        "trainer.total_training_steps": steps,
        "trainer.resume_mode": "disable",
    }
    with initialize_config_module("autocoa_plugin.recipes", version_base=None):
        return compose(known.recipe, overrides=[f"{key}={value}" for key, value in overrides.items()])


def _trainer(stage: str, config: Any) -> Any:
    if stage.startswith("SFT-1"):
        from autocoa_plugin.verl_adapters.contrastive.trainer import PairTrainer

        return PairTrainer(config)
    from verl.trainer.sft_trainer import SFTTrainer

    return SFTTrainer(config)


def _group(stage: str) -> int:
    return 3 if stage.startswith("SFT-1") else 1  # chosen, rejected, one replay row


def _rows(data: Any) -> list[Row]:
    columns = {key: data[key].unbind() for key in ("input_ids", "loss_mask")}
    return [{key: column[index] for key, column in columns.items()} for index in range(len(columns["input_ids"]))]


def _tokens(rows: list[Row]) -> int:
    return sum(len(row["input_ids"]) for row in rows)


def _sorted_groups(rows: list[Row], group: int) -> list[Row]:
    groups = sorted(_chunks(rows, group), key=_tokens)
    return [row for each in groups for row in each]


def _chunks(rows: list[Row], size: int) -> Iterator[list[Row]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _log_probs(model: Any, rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([row["input_ids"] for row in rows], batch_first=True)
    weights = pad([row["loss_mask"] for row in rows], batch_first=True)[:, 1:]
    attention = pad([torch.ones_like(row["input_ids"]) for row in rows], batch_first=True)
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1]
    return torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None]).squeeze(2), weights


def _loss(stage: str, log_probs: torch.Tensor, weights: torch.Tensor, batch: list[Row], group: int) -> torch.Tensor:
    if group == 1:
        return -(log_probs * weights).sum() / sum(row["loss_mask"].sum() for row in batch)
    means = (log_probs * weights).sum(1) / weights.sum(1)
    chosen, rejected = means[0::group], means[1::group]
    pairs = (-torch.nn.functional.logsigmoid(chosen - rejected) - 0.2 * chosen).sum() / (len(batch) / group)
    replay = sum(row["loss_mask"].sum() for row in batch[2::group])
    return pairs - (log_probs[2::group] * weights[2::group]).sum() / replay
