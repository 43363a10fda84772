"""Pre-train the shipped base model: `python -m autocoa_plugin.tinyworld.pretrain`.

Language modelling on packed lines. The batch of a step depends on the seed and the step alone, so a run that was
stopped goes on from its checkpoint with the same data. About 17.5 million tokens, twenty minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs.progress import followed
from .base_model import SHIPPED, build_model, write_checksums
from .lines import Reading, sample_line
from .measures import cloze_accuracy, copy_clozes, recall_clozes
from .tokenizer import build_tokenizer
from .world import WORLD_SEED, World, generate


@dataclass(frozen=True)
class Cycle:
    """Learning-rate cycle: it warms up, stays, and falls linearly to 3 % from `decay_from` of the steps.

    `known_shares`: share of lines about popular entities before and after `shares_turn_at` of the steps;
    `reading`: what follows the articles of a reading line.
    """

    steps: int
    known_shares: tuple[float, float]
    reading: Reading = Reading()  # noqa: RUF009 -- frozen
    shares_turn_at: float = 0.45
    decay_from: float = 0.60
    warmup_steps: int = 60

    def known_share_at(self, step: int) -> float:
        """Share of lines about popular entities at a step of this cycle."""
        return self.known_shares[step >= self.shares_turn_at * self.steps]

    def rate_at(self, step: int) -> float:
        """Factor (0 to 1) of the learning rate at a step of this cycle."""
        done = step / self.steps
        falling = 1.0 if done < self.decay_from else max(0.03, (1 - done) / (1 - self.decay_from))
        return min(1.0, (step + 1) / self.warmup_steps) * falling


@dataclass(frozen=True)
class PretrainConfig:
    """Parameters that were measured to give both copying and recollection; `row_tokens` is the packed row's length."""

    cycles: tuple[Cycle, ...] = (Cycle(3800, (0.40, 0.55)),)
    tail_share: float = 0.06
    rows: int = 24
    row_tokens: int = 192
    learning_rate: float = 3e-3
    seed: int = 1
    threads: int = 1
    checkpoint_every: int = 200

    @property
    def steps(self) -> int:
        """Steps of all cycles together."""
        return sum(cycle.steps for cycle in self.cycles)

    def locate(self, step: int) -> tuple[Cycle, int]:
        """The cycle of a step, and the step's number in it."""
        for cycle in self.cycles:
            if step < cycle.steps:
                return cycle, step
            step -= cycle.steps
        raise IndexError(f"step beyond the last cycle by {step}")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        cycle, position = self.locate(step)
        return self.learning_rate * cycle.rate_at(position)


def make_batch(world: World, tokenizer: Any, config: PretrainConfig, step: int) -> Any:
    """Pack the lines of a step into an int64 tensor [rows, row_tokens + 1]."""
    import torch

    rng = random.Random(f"{config.seed} {step}")
    cycle, position = config.locate(step)
    wanted = config.rows * (config.row_tokens + 1)
    ids: list[int] = []
    while len(ids) < wanted:
        line = sample_line(world, rng, cycle.known_share_at(position), config.tail_share, cycle.reading)
        ids += tokenizer.encode(line)
    return torch.tensor(ids[:wanted]).view(config.rows, config.row_tokens + 1)


def train_step(model: Any, optimizer: Any, batch: Any, learning_rate: float) -> float:
    """Take one step on next-token prediction and return the loss in nats per token."""
    import torch

    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    logits = model(input_ids=batch[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def pretrain(config: PretrainConfig, checkpoint: Path) -> tuple[Any, Any]:
    """Train the base model and return (model, tokenizer); goes on from `checkpoint` when it exists."""
    import torch

    torch.set_num_threads(config.threads)
    world = generate(WORLD_SEED)
    tokenizer = build_tokenizer(world)
    model = build_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id, config.seed)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    first = _resume(model, optimizer, checkpoint)
    for step in followed(range(first, config.steps), "pre-training", config.steps - first):
        loss = train_step(model, optimizer, make_batch(world, tokenizer, config, step), config.learning_rate_at(step))
        if (step + 1) % config.checkpoint_every == 0:
            print(f"step {step + 1}: loss {loss:.3f} {measure(model, tokenizer, world)}", file=sys.stderr)
            state = {"step": step + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, checkpoint)
    return model, tokenizer


def _resume(model: Any, optimizer: Any, checkpoint: Path) -> int:
    """Load a checkpoint if there is one; return the next step."""
    import torch

    if not checkpoint.is_file():
        return 0
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def measure(model: Any, tokenizer: Any, world: World, count: int = 200) -> dict[str, float]:
    """Exact-match shares: copying invented names; recalling popular, train-tail and held-out facts without a search."""
    clozes = {"copy": copy_clozes(world, count)}
    clozes |= {group: recall_clozes(world, group, count) for group in ("known", "train", "held")}
    return {name: round(cloze_accuracy(model, tokenizer, items), 3) for name, items in clozes.items()}


def save_base(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save weights in bfloat16 (under 1 MB) with a config that asks for float32, the tokenizer, and the checksums."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n")
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # it is written private, and is shipped to all users
    write_checksums(folder)


def main() -> None:
    """Pre-train and save, from the command line."""
    defaults = PretrainConfig()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=SHIPPED, help="model folder (default: inside the package)")
    parser.add_argument("--checkpoint", type=Path, default=Path("tinyworld_pretrain.pt"))
    parser.add_argument("--threads", type=int, default=defaults.threads)
    arguments = parser.parse_args()
    model, tokenizer = pretrain(PretrainConfig(threads=arguments.threads), arguments.checkpoint)
    save_base(model, tokenizer, arguments.out)
    arguments.checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
