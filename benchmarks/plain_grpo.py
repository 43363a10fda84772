"""GRPO in a plain PyTorch loop around our own rollout: for comparisons that need dozens of runs.

The rollout, the environments, the reward and the mask are the plugin's; only what verl does (batches, workers, vLLM,
the optimizer step) is replaced by some hundred lines in one process, one thread. Loss and hyper-parameters are those of
`recipes/setting/tinyworld.yaml`: one on-policy update per step, advantages divided by the group's standard deviation,
mean over policy tokens, AdamW. A 2-second step instead of 4, no start-up of a minute; not bit for bit what verl does.
"""

from __future__ import annotations

import asyncio
import copy
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autocoa_plugin.answering import WorldModelSettings
from autocoa_plugin.engines.base import Generation, Sampling
from autocoa_plugin.engines.transformers_local import TransformersEngine
from autocoa_plugin.environments.authors import imagination_ids
from autocoa_plugin.environments.base import Context, Environment
from autocoa_plugin.environments.world_model import WorldModel
from autocoa_plugin.loop import rollout
from autocoa_plugin.protocol import Action
from autocoa_plugin.rewards import RewardConfig, score
from autocoa_plugin.tinyworld.held_out import LIMITS, TOP_K, WhenToAct, play_questions
from autocoa_plugin.tinyworld.measures import written_decisions
from autocoa_plugin.tinyworld.questions import Question, train_questions, validation_questions
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, prompt_text
from autocoa_plugin.tinyworld.world import generate
from autocoa_plugin.tinyworld.world_files import Files, open_environment
from autocoa_plugin.tokenization import Codec
from autocoa_plugin.trajectory import Trajectory

PROMPTS, SAMPLES, LEARNING_RATE, MICRO_BATCH = 16, 8, 2e-4, 32


class LocalAuthor:
    """Imagines with a model in this process: the policy itself, or a frozen checkpoint (`engine`)."""

    def __init__(self, engine: TransformersEngine | None = None) -> None:
        self.engine, self.is_own = engine, engine is None

    async def imagine(
        self, action: Action, context: Context, *, max_tokens: int, stop: Sequence[str]
    ) -> Generation | str:
        """Sample greedily after the observation's opening tag."""
        engine, ids = self.engine or context.engine, imagination_ids(action, context)
        return await engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=Sampling(temperature=0.0))


@dataclass(frozen=True)
class Step:
    """What one training step did; shares and means over its trajectories, `observation_nats` over real tokens."""

    step: int
    imagined: bool
    exact_match: float
    mixed_groups: float
    actions: float
    real_calls: int
    observation_nats: float | None
    seconds: float


class PlainGrpo:
    """A policy in training; `observation_weight` is lambda of the cross-entropy on real observation tokens."""

    def __init__(
        self,
        model: Path,
        files: Files,
        *,
        seed: int,
        author: LocalAuthor | None = None,
        reward: RewardConfig | None = None,
        observation_weight: float = 0.0,
    ) -> None:
        torch.manual_seed(seed)
        self.engine = TransformersEngine.load(model, dtype="float32", max_batch=256)
        self.model: Any = self.engine.model
        self.files, self.world, self.codec = files, generate(), Codec(self.engine.tokenizer, TINYWORLD)
        self.questions = train_questions(self.world)
        random.Random(seed).shuffle(self.questions)
        self.reward, self.observation_weight = reward or RewardConfig(), observation_weight
        self.imagined = WorldModel(author or LocalAuthor(), WorldModelSettings())
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01
        )
        self.steps: list[Step] = []

    def train(self, imagined: int, real: int) -> None:
        """So many steps in the world model, then so many with the search tool, whose cache starts empty."""
        search = open_environment(self.files, TOP_K)
        for _ in range(imagined):
            self._step(self.imagined, imagined=True)
        for _ in range(real):
            self._step(search, imagined=False)

    def snapshot(self) -> Any:
        """Everything that training changes."""
        return copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict(), self.steps))

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        model, optimizer, self.steps = copy.deepcopy(snapshot)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)

    def _step(self, environment: Environment, *, imagined: bool) -> None:
        started = time.perf_counter()
        first = len(self.steps) * PROMPTS % len(self.questions)
        asked = (self.questions * 2)[first : first + PROMPTS]
        with torch.no_grad():
            trajectories = asyncio.run(self._roll_out(asked, environment))
        golds = [question.answer for question in asked for _ in range(SAMPLES)]
        scores = [score(each, gold, TINYWORLD, self.reward) for each, gold in zip(trajectories, golds, strict=True)]
        rewards = torch.tensor([each.total for each in scores]).view(PROMPTS, SAMPLES)
        spread = rewards.std(1, keepdim=True)
        advantages = ((rewards - rewards.mean(1, keepdim=True)) / (spread + 1e-6)).flatten()
        nats = self._update(trajectories, advantages)
        done = Step(
            step=len(self.steps) + 1,
            imagined=imagined,
            exact_match=sum(each.parts["exact_match"] for each in scores) / len(scores),
            mixed_groups=(spread > 1e-6).float().mean().item(),
            actions=sum(each.counts.actions for each in trajectories) / len(trajectories),
            real_calls=sum(each.counts.real_calls for each in trajectories),
            observation_nats=nats,
            seconds=time.perf_counter() - started,
        )
        self.steps.append(done)

    async def _roll_out(self, asked: list[Question], environment: Environment) -> list[Trajectory]:
        runs = (
            rollout(
                self.codec.encode(prompt_text(question.text)),
                engine=self.engine,
                environment=environment,
                codec=self.codec,
                limits=LIMITS,
            )
            for question in asked
            for _ in range(SAMPLES)
        )
        return await asyncio.gather(*runs)

    def _update(self, trajectories: list[Trajectory], advantages: torch.Tensor) -> float | None:
        policy_tokens = sum(sum(each.response_mask) for each in trajectories)
        real_tokens = sum(sum(each.observation_mask) for each in trajectories)
        by_length = sorted(
            zip(trajectories, advantages.tolist(), strict=True), key=lambda pair: len(pair[0].response_ids)
        )
        nats = 0.0
        self.optimizer.zero_grad()
        for start in range(0, len(by_length), MICRO_BATCH):
            log_probs, weights, real = self._forward(by_length[start : start + MICRO_BATCH])
            loss = -(log_probs * weights).sum() / policy_tokens
            if real_tokens:
                surprise = -(log_probs * real).sum()
                nats += surprise.item()
                if self.observation_weight:
                    loss = loss + self.observation_weight * surprise / real_tokens
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return nats / real_tokens if real_tokens else None

    def _forward(self, rows: list[tuple[Trajectory, float]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-probability, advantage or 0, and 1 on real observations, of tokens 1 .. T - 1: [rows, T - 1] each."""
        width = max(len(each.prompt_ids) + len(each.response_ids) for each, _ in rows)
        ids, attended = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(2))
        weights, real = torch.zeros(len(rows), width), torch.zeros(len(rows), width)
        for row, (each, advantage) in enumerate(rows):
            prompt, tokens = len(each.prompt_ids), [*each.prompt_ids, *each.response_ids]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            attended[row, : len(tokens)] = 1
            weights[row, prompt : len(tokens)] = torch.tensor(each.response_mask) * advantage
            real[row, prompt : len(tokens)] = torch.tensor(each.observation_mask, dtype=torch.float32)
        logits = self.model(input_ids=ids, attention_mask=attended).logits[:, :-1]
        log_probs = torch.log_softmax(logits, dim=-1).gather(-1, ids[:, 1:, None])[..., 0]
        return log_probs, weights[:, 1:], real[:, 1:]

    def judge(self) -> dict[str, float | None]:
        """Held-out exact match by group, and the decisions whether to act (%); greedy, real search."""
        sets = validation_questions(self.world)
        asked = [question for questions in sets.values() for question in questions]
        search = open_environment(self.files, TOP_K)
        with torch.no_grad():
            playing = play_questions(asked, engine=self.engine, environment=search, codec=self.codec)
            played = asyncio.run(playing)
        matches = iter([100 * each.reward.parts["exact_match"] for each in played])
        scores: dict[str, float | None] = {
            group: sum(next(matches) for _ in questions) / len(questions) for group, questions in sets.items()
        }
        rates = WhenToAct.of(written_decisions(each.trajectory, self.world) for each in played).unseen
        scores |= {"unneeded": _percent(rates.unneeded_search), "missed": _percent(rates.missed_search)}
        scores["actions"] = sum(each.trajectory.counts.actions for each in played) / len(played)
        return scores

    def history(self) -> list[dict[str, Any]]:
        """The steps, JSON-ready."""
        return [asdict(replace(each, seconds=round(each.seconds, 2))) for each in self.steps]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
