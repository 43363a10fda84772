"""How likely a policy finds the real observation: who can tell.

`TransformersEngine` scores by itself; an OpenAI-compatible server does when it knows vLLM's `prompt_logprobs`; verl's
rollout server and scripts do not, and the measure is then null.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ..engines.base import Engine
from ..errors import EngineError, EngineUnsupportedError

_RETRIED = (429, 500, 502, 503, 504)


@runtime_checkable
class Scorer(Protocol):
    """Tells log-probabilities of given tokens."""

    async def log_probs(self, ids: Sequence[int], start: int) -> tuple[float, ...]:
        """One log-probability (nats, temperature 1) for each of `ids[start:]`, given all ids before it."""
        ...


def scorer_of(engine: Engine) -> Scorer | None:
    """Return the engine itself when it can score, else None."""
    return engine if isinstance(engine, Scorer) else None


class ServerScorer:
    """Scores with the model `model` of a server at `base_url` ("http://127.0.0.1:8000/v1"), such as `vllm serve`.

    One token is sampled per call, which the server insists on. At most `max_in_flight` calls are under way.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        max_attempts: int = 4,
        max_in_flight: int = 32,
    ) -> None:
        self.base_url, self.model = base_url.rstrip("/"), model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s, self._max_attempts, self._max_in_flight = timeout_s, max_attempts, max_in_flight

    async def log_probs(self, ids: Sequence[int], start: int) -> tuple[float, ...]:
        """Ask the server; raises `EngineUnsupportedError` when it does not tell, `EngineError` when it fails."""
        if not 1 <= start <= len(ids):
            raise EngineError(f"start must be between 1 and the number of ids ({len(ids)}), got {start}")
        body = {
            "model": self.model,
            "prompt": list(ids),
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,  # of the token itself alone
            "add_special_tokens": False,
        }
        return self._read(await self._post(body), ids, start)

    def _read(self, answer: Any, ids: Sequence[int], start: int) -> tuple[float, ...]:
        try:
            rows = answer["choices"][0]["prompt_logprobs"]
        except (KeyError, IndexError, TypeError) as error:
            raise EngineUnsupportedError(
                f"{self.base_url} answered without prompt_logprobs, which vLLM gives: {str(answer)[:200]}"
            ) from error
        if not isinstance(rows, list) or len(rows) != len(ids):
            raise EngineUnsupportedError(f"{self.base_url} gave prompt_logprobs {str(rows)[:80]} for {len(ids)} ids")
        try:
            return tuple(
                float(row[str(token)]["logprob"]) for row, token in zip(rows[start:], ids[start:], strict=True)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"{self.base_url} left a prompt token out of prompt_logprobs: {error!r}") from error

    async def _post(self, body: dict[str, Any]) -> Any:
        import aiohttp

        from ..retrieval.pool import pool

        url, problem = f"{self.base_url}/completions", ""
        shared = await pool()
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        for attempt in range(self._max_attempts):
            if attempt:
                await asyncio.sleep(min(5.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.0))
            try:
                async with (
                    shared.gate(url, self._max_in_flight),
                    shared.session.post(url, json=body, headers=self._headers, timeout=timeout) as response,
                ):
                    if response.status == 200:
                        return await response.json(content_type=None)
                    problem = f"HTTP {response.status}: {(await response.text(errors='replace'))[:200]}"
                    if response.status not in _RETRIED:
                        break
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
        raise EngineError(f"{url} does not score: {problem}")
