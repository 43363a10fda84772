"""Scorecard during training: does the policy still imagine what the search tool would answer?

    step 0, N, 2N, ...   queries ── the rollout server imagines ──┐
                                └── the real tool answers ────────┴─> scorecard/<group>/<measure>, one file per step

Asked when the server has the step's weights and is awake (`verl_adapters/trainer.py` says when). Real answers are
cached in this process: only the first card makes real calls. The server gives no log-probabilities of given tokens, so
cross-entropy is null here; `autocoa scorecard` measures it on a checkpoint.
Written against verl 0.9.1, `verl/workers/rollout/llm_server.py` (`LLMServerClient.generate`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...assembly import build_real, protocol_of
from ...engines.base import Sampling
from ...environments.world_model import build_world_model
from ...errors import ConfigError
from ...ledger import LedgerEntry
from ...runs.files import now
from ...settings import Settings
from ...tokenization import Codec
from ...verl_adapters.engine import VerlEngine
from ...verl_adapters.runtime import settings_of
from .imagine import Compared, Judge, first_error, group_cards, judge_queries, total_spent
from .queries import choose, encode_query, read_queries
from .scorecard import ScoreCard, file_identity, real_identity, save_cards


class TrainingScorecard:
    """Scorecard of the policy behind verl's server client `client`; cards are written into `folder`.

    `model` names the policy on the card. Observations are sampled as `autocoa.world_model` says, greedily where it
    leaves the temperature to the rollout. `spent` is what the last card cost.
    Raises `ConfigError` or `DataError` when it is made with queries or a real tool that cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tokenizer: Any,
        client: Any,
        folder: str | Path,
        model: str,
        max_context_tokens: int,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        if settings.scorecard is None:
            raise ConfigError("scorecard is not configured: set autocoa.scorecard.queries")
        self.settings, self.card_settings = settings, settings.scorecard
        self.folder, self.model, self.max_context_tokens = Path(folder), model, max_context_tokens
        self.spent = LedgerEntry()
        self._real, self._world_model = build_real(settings), build_world_model(settings.world_model)
        if self._real is None:
            raise ConfigError("scorecard needs the real search tool: set autocoa.search")
        self._client, self._codec = client, Codec(tokenizer, protocol_of(settings, self._real))
        rows = choose(read_queries(self.card_settings.queries, self._codec.protocol), limit=self.card_settings.limit)
        options = dict(template_options or {})
        self._queries = [
            encode_query(row, self._codec, system_prompt=settings.system_prompt, template_options=options)
            for row in rows
        ]

    @classmethod
    def of(cls, trainer: Any) -> TrainingScorecard:
        """Make the scorecard of a verl trainer, from its configuration and its rollout server."""
        config = trainer.config
        rollout = config.actor_rollout_ref.rollout
        return cls(
            settings_of(config),
            tokenizer=trainer.tokenizer,
            client=trainer.get_llm_client(),
            folder=Path(config.trainer.default_local_dir) / "scorecards",
            model=str(config.actor_rollout_ref.model.path),
            max_context_tokens=rollout.get("max_model_len") or rollout.prompt_length + rollout.response_length,
            template_options=config.data.get("apply_chat_template_kwargs"),
        )

    def is_due(self, step: int) -> bool:
        """True before training (step 0) and after every `scorecard.every` steps."""
        return step % self.card_settings.every == 0

    def measure(self, step: int) -> dict[str, float]:
        """Fill in a card, write it as `scorecard_step_XXXXXX.json`, and return its numbers as metrics.

        "scorecard/<group>/<measure>" where something was measured, "scorecard/<group>/failed" queries without one of
        the two observations, "scorecard/real_calls" of this card, "scorecard/seconds". Must not run while weights are
        brought to the server.
        """
        started = time.perf_counter()
        # a thread of its own: `asyncio.run` would take away the event loop that verl keeps in this one
        with ThreadPoolExecutor(1) as thread:
            compared = thread.submit(asyncio.run, self._judge(step)).result()
        self.spent = total_spent(compared)
        card = self._card(step, compared)
        save_cards([card], self.folder / f"scorecard_step_{step:06d}.json")
        return {
            **card_metrics(card),
            "scorecard/real_calls": float(self.spent.real_calls),
            "scorecard/seconds": time.perf_counter() - started,
        }

    async def _judge(self, step: int) -> list[Compared]:
        engines = [self._engine(f"scorecard_{step}_{index}") for index in range(len(self._queries))]
        judge = Judge(
            self._codec,
            engines[0],
            self._world_model,
            self._real,
            sampling=Sampling(temperature=self._temperature),
            max_tokens=self.settings.limits.max_observation_tokens,
            timeout_s=self.settings.limits.call_timeout_s,
            metadata={"global_step": step, "split": "scorecard"},
        )
        return await judge_queries(self._queries, judge, engines=engines)

    def _engine(self, request_id: str) -> VerlEngine:
        world_model = self.settings.world_model
        params = {
            "temperature": self._temperature,
            "top_p": world_model.top_p,
            "top_k": world_model.top_k,
            "repetition_penalty": 1.0,
            "logprobs": False,
        }
        return VerlEngine(
            self._client,
            request_id=request_id,
            sampling_params=params,
            max_context_tokens=self.max_context_tokens,
        )

    @property
    def _temperature(self) -> float:
        return self.settings.world_model.temperature or 0.0

    def _card(self, step: int, compared: Sequence[Compared]) -> ScoreCard:
        return ScoreCard(
            model=self.model,
            protocol=self._codec.protocol.name,
            sampling={
                **{name: value for name, value in asdict(self.settings.world_model).items() if name in _SAMPLING},
                "temperature": self._temperature,
                "max_observation_tokens": self.settings.limits.max_observation_tokens,
            },
            real=real_identity(self.settings.search, others=self.settings.foreign()),
            queries={**file_identity(self.card_settings.queries), "limit": self.card_settings.limit},
            groups=group_cards(compared),
            spent=self.spent,
            step=step,
            created=now(),
            first_error=first_error(compared),
        )


_SAMPLING = ("author", "url", "model", "temperature", "top_p", "top_k", "max_tokens", "prompt")


def card_metrics(card: ScoreCard) -> dict[str, float]:
    """Spell the means of a card as metrics; what was not measured is left out."""
    metrics: dict[str, float] = {}
    for group in card.groups:
        for name, found in group.measures.items():
            if found.mean is not None:
                metrics[f"scorecard/{group.group}/{name}"] = found.mean
        metrics[f"scorecard/{group.group}/failed"] = float(group.queries - group.compared)
    return metrics
