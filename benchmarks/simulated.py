"""What simulated RL is worth: exact match against real calls, two world models, an action cost, lambda.

    python benchmarks/simulated.py run --stages outputs/stages/seed1 --world outputs/stages/world1 --seed 1
    python benchmarks/simulated.py report          the tables of results/simulated.md and the plot, from all seeds

`--stages` is a folder of `autocoa stages ... --stages sft1,sft2,sft3`. Every run is 48 steps of 16 questions x 8
rollouts in the plain loop of `plain_grpo.py`; a run that imagines first shares its imagined steps with the others of
its kind, as a curriculum of another ratio would. One seed takes some 15 minutes on one thread; finished cases are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from plain_grpo import LocalAuthor, PlainGrpo
from simulated_report import report

from autocoa_plugin.engines.transformers_local import TransformersEngine
from autocoa_plugin.rewards import RewardConfig
from autocoa_plugin.tinyworld.held_out import train_sample
from autocoa_plugin.tinyworld.measures import (
    draw_facts_to_imagine,
    gold_trajectories,
    measure_fidelity,
    observation_loss,
)
from autocoa_plugin.tinyworld.questions import validation_questions
from autocoa_plugin.tinyworld.world_files import Files, open_environment

RESULTS = Path(__file__).parent / "results"
STEPS, SWITCHES, ACTION_COST = 48, (24, 36, 40, 42), 0.1  # 1:1, 3:1, 5:1, 7:1
LAMBDAS = (0.02, 0.1, 0.5)
Result = dict[str, Any]


class Cases:
    """All comparisons of one seed; each method yields (name, result)."""

    def __init__(self, stages: Path, world: Path, seed: int) -> None:
        self.files, self.seed = Files(world), seed
        self.actor, self.dreamer = stages / "sft1-sft2" / "model", stages / "sft1-sft2-sft3" / "model"

    def run(self, policy: Path, author: Path | None = None, **options: Any) -> PlainGrpo:
        """A fresh policy; `author` is a frozen world model, None the policy itself."""
        engine = author and TransformersEngine.load(author, dtype="float32", max_batch=256)
        return PlainGrpo(policy, self.files, seed=self.seed, author=LocalAuthor(engine), **options)

    def frontier(self) -> Iterator[tuple[str, Result]]:
        """From SFT-1&2, the world model frozen after SFT-3: every ratio of imagined to real steps."""
        run = self.run(self.actor, self.dreamer)
        yield "start", self.result(run)
        done, snapshots = 0, []
        for switch in (*SWITCHES, STEPS):
            run.train(switch - done, 0)
            done = switch
            snapshots.append((switch, run.snapshot()))
        yield "imagined 48", self.result(run)
        for switch, snapshot in snapshots[:-1]:
            run.restore(snapshot)
            run.train(0, STEPS - switch)
            yield f"imagined {switch}, real {STEPS - switch}", self.result(run)

    def all_real(self) -> Iterator[tuple[str, Result]]:
        """The paper's line SFT-1&2 + RL-2, and its first 8 steps alone: what 1/6 of the calls buys by itself."""
        run = self.run(self.actor)
        run.train(0, 8)
        yield "real 8", self.result(run)
        run = self.run(self.actor)
        run.train(0, STEPS)
        yield "real 48", self.result(run)

    def unfaithful(self) -> Iterator[tuple[str, Result]]:
        """The same 5:1 with a world model that never saw SFT-3."""
        run = self.run(self.actor, self.actor)
        run.train(40, 0)
        yield "unfaithful: imagined 40", self.result(run)
        run.train(0, 8)
        yield "unfaithful: imagined 40, real 8", self.result(run)

    def own(self) -> Iterator[tuple[str, Result]]:
        """The paper's way: the policy of SFT-1&2&3 imagines for itself."""
        run = self.run(self.dreamer)
        yield "own: start", self.result(run)
        run.train(40, 0)
        yield "own: imagined 40", self.result(run)
        run.train(0, 8)
        yield "own: imagined 40, real 8", self.result(run)
        run = self.run(self.dreamer)
        run.train(0, STEPS)
        yield "own: real 48", self.result(run)

    def cost(self) -> Iterator[tuple[str, Result]]:
        """A search takes a tenth off the answer's reward: is the decision when to act kept?"""
        reward = RewardConfig(action_cost=ACTION_COST)
        run = self.run(self.actor, reward=reward)
        run.train(0, STEPS)
        yield "cost: real 48", self.result(run)
        run = self.run(self.actor, self.dreamer, reward=reward)
        run.train(40, 8)
        yield "cost: imagined 40, real 8", self.result(run)

    def observation_loss(self) -> Iterator[tuple[str, Result]]:
        """All real with lambda x cross-entropy on the real observations."""
        for weight in LAMBDAS:
            run = self.run(self.actor, observation_weight=weight)
            run.train(0, STEPS)
            yield f"lambda {weight}: real 48", self.result(run)

    def result(self, run: PlainGrpo) -> Result:
        """Everything measured at one point of a run."""
        imagined = sum(each.imagined for each in run.steps)
        facts = draw_facts_to_imagine(run.world, "train", 150)
        with torch.no_grad():
            fidelity = asyncio.run(measure_fidelity(run.engine, run.codec, run.world, facts))
        return {
            "imagined_steps": imagined,
            "real_steps": len(run.steps) - imagined,
            "real_calls": sum(each.real_calls for each in run.steps),
            "seconds": sum(each.seconds for each in run.steps),
            **run.judge(),
            "observation_nats": self.nats(run),
            "own_fidelity": fidelity.exact,
            "history": run.history(),
        }

    def nats(self, run: PlainGrpo) -> dict[str, float | None]:
        """Cross-entropy of real observations in gold trajectories, about train and held-out entities."""
        held = [each for asked in validation_questions(run.world).values() for each in asked]
        environment = open_environment(self.files)
        asked = {"train": train_sample(run.world), "held": held}
        golds = {name: gold_trajectories(each, run.codec, environment) for name, each in asked.items()}
        with torch.no_grad():
            return {name: observation_loss(run.model, run.codec, each).nats_per_token for name, each in golds.items()}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--stages", type=Path, required=True)
    runs.add_argument("--world", type=Path, required=True)
    runs.add_argument("--seed", type=int, required=True)
    runs.add_argument("--only", nargs="*", help="names of the groups of cases, such as frontier")
    runs.add_argument("--folder", type=Path, default=Path("outputs/simulated"))
    runs.set_defaults(go=_run)
    reports = commands.add_parser("report")
    reports.add_argument("--folder", type=Path, default=Path("outputs/simulated"))
    reports.set_defaults(go=lambda arguments: report(arguments.folder, RESULTS))
    arguments = parser.parse_args()
    arguments.go(arguments)


def _run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    cases = Cases(arguments.stages, arguments.world, arguments.seed)
    groups: dict[str, Callable[[], Iterator[tuple[str, Result]]]] = {
        "frontier": cases.frontier,
        "all_real": cases.all_real,
        "unfaithful": cases.unfaithful,
        "own": cases.own,
        "cost": cases.cost,
        "observation_loss": cases.observation_loss,
    }
    for name, group in groups.items():
        path = arguments.folder / f"seed{arguments.seed}" / f"{name}.json"
        if path.is_file() or (arguments.only and name not in arguments.only):
            continue
        found = {}
        for case, result in group():
            found[case] = result
            shown = {key: value for key, value in result.items() if key != "history"}
            print(f"seed {arguments.seed} | {case} | {shown}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
