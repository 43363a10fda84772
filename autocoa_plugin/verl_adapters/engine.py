"""Engine over verl's rollout server (`LLMServerClient.generate`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engines.base import FinishReason, Generation, Sampling


class VerlEngine:
    """Engine of one trajectory over verl's `LLMServerClient`.

    `request_id` keeps all turns on the server that holds their prefix. `sampling_params` are verl's for this batch.
    `first_step` and `last_step` are the weight versions that sampled the first and the last turn; None before that.
    """

    def __init__(
        self,
        server_manager: Any,
        *,
        request_id: str,
        sampling_params: dict[str, Any],
        max_context_tokens: int,
    ) -> None:
        self.max_context_tokens: int | None = max_context_tokens
        self.first_step: int | None = None
        self.last_step: int | None = None
        self._server, self._request_id, self._params = server_manager, request_id, sampling_params

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; vLLM's "stop" and "length" are both "completed" here, so the loop counts tokens itself."""
        params = {
            **self._params,
            **sampling.options,
            "temperature": sampling.temperature,  # verl's own for a turn; a world model may have another
            "max_tokens": max_tokens,
            "stop": list(stop),
            "skip_special_tokens": False,  # or stop strings that are special tokens would never match
            "include_stop_str_in_output": True,
            **({"bad_words": list(sampling.forbidden)} if sampling.forbidden else {}),
        }
        output = await self._server.generate(request_id=self._request_id, prompt_ids=list(ids), sampling_params=params)
        self._note_steps(output.extra_fields)
        reason = FinishReason.ABORT if output.stop_reason == "aborted" else FinishReason.STOP
        logprobs = None if output.log_probs is None else tuple(output.log_probs)
        return Generation(tuple(output.token_ids), logprobs, reason, dict(output.extra_fields))

    def _note_steps(self, extra: dict[str, Any]) -> None:
        first, last = extra.get("min_global_steps"), extra.get("max_global_steps")
        if self.first_step is None and first is not None:
            self.first_step = int(first)
        if last is not None:
            self.last_step = int(last)
