"""Engine over an OpenAI-compatible completions server that speaks token ids, such as `vllm serve`; streaming included.

Ids in (`prompt` as a list of ints) and ids out (`return_token_ids`, vLLM >= 0.10.2). A server that answers with text
only would force us to re-encode what was sampled, which invariant 1 forbids: it is refused with a clear error.
A completion may come in pieces (server-sent events); they are put together to the answer that would have come whole:

    data: {"choices": [{"token_ids": [5], ...}]}                          ──add──> [5]
    data: {"choices": [{"token_ids": [6, 7], "finish_reason": "stop"}]}   ──add──> [6, 7]
    data: [DONE]                           ──answer──> {"choices": [{"token_ids": [5, 6, 7], ...}]}

How requests travel, fail and are tried again is in `openai_transport`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from ..errors import EngineAnswerError, EngineError, EngineUnsupportedError
from .base import FinishReason, Generation, Sampling
from .openai_transport import NEEDS_IDS, OpenAITransport, choose_model, served_models
from .streaming import OnIds

_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "abort": FinishReason.ABORT}
_EXACT = {
    "logprobs": 0,  # of the sampled token alone
    "return_token_ids": True,
    "skip_special_tokens": False,  # or stop strings that are special tokens would never match
    "include_stop_str_in_output": True,
    "add_special_tokens": False,
}
# vLLM would otherwise take these from the model's generation_config.json, which verl's rollouts do not follow
_UNTRUNCATED = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
_FORBIDDING = (
    "bad_words"  # vLLM's name; it knows the spellings that its tokenizer gives a text with and without a space
)
_LARGEST_ID = 2**31 - 1
_NOT_THERE, _UNREADABLE = (404, 405), (400, 422)


class OpenAIServerEngine:
    """Samples from the model `model` of the server at `base_url`, e.g. "http://127.0.0.1:8000/v1".

    Make it with `connect`, which asks the server for the model and its context length; use it as `async with`, or close
    it with `aclose`. It belongs to the event loop that first used it. `timeout_s` bounds one request, waiting for a
    free connection excepted; `max_attempts` counts the tries of a request that failed on the way (connection errors,
    HTTP 429 and 5xx), with pauses of at most `max_pause_s` between them unless the server asks for longer ones
    (`openai_transport.Tries`). Log-probabilities are the server's: vLLM reports them before the temperature unless it
    is started with `--logprobs-mode processed_logprobs`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        max_context_tokens: int | None = None,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        max_attempts: int = 4,
        max_pause_s: float = 5.0,
        max_in_flight: int = 256,
    ) -> None:
        self._transport = OpenAITransport(
            base_url,
            api_key=api_key,
            timeout_s=timeout_s,
            max_attempts=max_attempts,
            max_pause_s=max_pause_s,
            max_in_flight=max_in_flight,
            exact=(*_EXACT, _FORBIDDING),
        )
        self.base_url, self.model = self._transport.base_url, model
        self.max_context_tokens = max_context_tokens

    @classmethod
    async def connect(cls, base_url: str, model: str | None = None, **options: Any) -> OpenAIServerEngine:
        """Ask the server which models it serves; take the only one, or `model`. `options` are the constructor's.

        Raises `EngineError` when the server cannot be reached or does not serve the model.
        """
        engine = cls(base_url, model or "", **options)
        try:
            served = await served_models(engine._transport)
            engine.model = choose_model(base_url, model, served)
        except BaseException:
            await engine.aclose()
            raise
        engine.max_context_tokens = served[engine.model] or engine.max_context_tokens
        return engine

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; `info` has the ids that the server says it was shown, where it says so.

        Raises `EngineUnsupportedError` when the answer carries no token ids, `EngineAnswerError` when it is no
        completion or holds a forbidden text, `EngineError` when there is none.
        """
        body = self._body(ids, max_tokens, stop, sampling)
        return self._read(await self._transport.request("POST", "/completions", body), sampling)

    async def stream(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling, on_ids: OnIds
    ) -> Generation:
        """Sample one turn and call `on_ids` with its ids as the server streams them.

        Raises what `generate` raises, and `EngineError` when the stream breaks off.
        """
        body = {**self._body(ids, max_tokens, stop, sampling), "stream": True}
        completion = StreamedCompletion(self.base_url)
        async with aclosing(self._transport.lines("/completions", body)) as lines:
            async for event in read_events(self.base_url, lines):
                on_ids(completion.add(event))
        return self._read(completion.answer(), sampling)

    async def log_probs(self, ids: Sequence[int], start: int) -> tuple[float, ...]:
        """Score `ids[start:]`: the log-probability (nats, temperature 1) of each token given all before it.

        Uses vLLM's `prompt_logprobs`; the server insists on sampling one token as well. Raises `EngineUnsupportedError`
        when it does not tell, `EngineError` when it fails.
        """
        if not 1 <= start <= len(ids):
            raise EngineError(f"start must be between 1 and the number of ids ({len(ids)}), got {start}")
        own = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}  # of the token itself alone
        body = {"model": self.model, "prompt": list(ids), "add_special_tokens": False, **own}
        return self._read_scores(await self._transport.request("POST", "/completions", body), ids, start)

    async def detokenize(self, ids: Sequence[int]) -> str | None:
        """Let the server spell ids with its own tokenizer (vLLM's `POST /detokenize`, beside `/v1`).

        Returns None when the server has no such endpoint. Raises `EngineUnsupportedError` when it does not know the
        ids, `EngineError` when it is down or answers something else.
        """
        url = f"{self.base_url.removesuffix('/v1')}/detokenize"
        status, text = await self._transport.exchange("POST", url, {"model": self.model, "tokens": list(ids)})
        if status in _NOT_THERE:
            return None
        if status in _UNREADABLE:
            raise EngineUnsupportedError(f"{url} cannot spell the ids (HTTP {status}: {text[:200]})")
        spelled = self._transport.read(status, text, path="/detokenize").get("prompt")
        if not isinstance(spelled, str):
            raise EngineError(f"{url} answered without a prompt: {text[:200]}")
        return spelled

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> OpenAIServerEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _body(self, ids: Sequence[int], max_tokens: int, stop: Sequence[str], sampling: Sampling) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": list(ids),
            "max_tokens": max_tokens,
            "stop": list(stop),
            "temperature": sampling.temperature,
            **_UNTRUNCATED,
            **sampling.options,
            **({_FORBIDDING: list(sampling.forbidden)} if sampling.forbidden else {}),
            **_EXACT,
        }

    def _read(self, answer: dict[str, Any], sampling: Sampling) -> Generation:
        choices = answer.get("choices")
        if not (isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict)):
            raise EngineAnswerError(f"{self.base_url} gave no completion, expected one choice: {str(answer)[:200]}")
        choice: dict[str, Any] = choices[0]
        ids = choice.get("token_ids")
        if not (isinstance(ids, list) and all(isinstance(token, int) for token in ids)):
            raise EngineUnsupportedError(f"{self.base_url} answered without token_ids: {NEEDS_IDS}")
        if not all(0 <= token <= _LARGEST_ID for token in ids):
            raise EngineAnswerError(f"{self.base_url} gave token ids from {min(ids)} to {max(ids)}")
        self._check_forbidden(choice, sampling)
        reason = _REASONS.get(str(choice.get("finish_reason")), FinishReason.STOP)
        shown = choice.get("prompt_token_ids")
        info = {} if shown is None else {"prompt_token_ids": shown}
        return Generation(tuple(ids), self._logprobs(choice, len(ids)), reason, info)

    def _logprobs(self, choice: dict[str, Any], n_ids: int) -> tuple[float, ...] | None:
        reported = choice.get("logprobs")
        if not reported:
            return None
        try:
            values = reported["token_logprobs"]
            logprobs = tuple(0.0 if value is None else float(value) for value in values)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineAnswerError(f"{self.base_url} gave log-probabilities {str(reported)[:200]}") from error
        if len(logprobs) != n_ids:
            raise EngineAnswerError(f"{self.base_url} gave {len(logprobs)} log-probabilities for {n_ids} token ids")
        return logprobs

    def _check_forbidden(self, choice: dict[str, Any], sampling: Sampling) -> None:
        """Raise `EngineAnswerError` for a forbidden text: tokens may spell it in a way unknown to the server."""
        text = str(choice.get("text"))
        for each in sampling.forbidden:
            if each in text:
                raise EngineAnswerError(f"{self.base_url} wrote {each!r}, which {_FORBIDDING} forbids: {text[-200:]!r}")

    def _read_scores(self, answer: dict[str, Any], ids: Sequence[int], start: int) -> tuple[float, ...]:
        try:
            rows = answer["choices"][0]["prompt_logprobs"]
        except (KeyError, IndexError, TypeError) as error:
            raise EngineUnsupportedError(
                f"{self.base_url} answered without prompt_logprobs, which vLLM gives: {str(answer)[:200]}"
            ) from error
        if not isinstance(rows, list) or len(rows) != len(ids):
            raise EngineUnsupportedError(f"{self.base_url} gave prompt_logprobs {str(rows)[:80]} for {len(ids)} ids")
        try:
            pairs = zip(rows[start:], ids[start:], strict=True)
            return tuple(float(row[str(token)]["logprob"]) for row, token in pairs)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"{self.base_url} left a prompt token out of prompt_logprobs: {error!r}") from error


# ---------------------------------------------------------------------------------------- streams (server-sent events)

_DATA, _DONE = b"data:", b"[DONE]"
_IGNORED = (b":", b"event:", b"id:", b"retry:")


async def read_events(url: str, lines: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON object of each event; raises `EngineAnswerError` for anything else, `EngineError` for an error."""
    async for line in lines:
        if not line.strip() or line.startswith(_IGNORED):
            continue
        content = line.removeprefix(_DATA).strip()
        if content == _DONE:
            return
        yield _parse(url, line, content)


def _parse(url: str, line: bytes, content: bytes) -> dict[str, Any]:
    shown = line[:200].decode("utf-8", "replace")
    try:
        event = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EngineAnswerError(f"{url} streamed something else than JSON: {shown}") from error
    if not line.startswith(_DATA) or not isinstance(event, dict):
        raise EngineAnswerError(f"{url} gave no event of a completion: {shown}")
    if event.get("error"):
        raise EngineError(f"{url} gave no event of a completion: {shown}")
    return event


class StreamedCompletion:
    """Collects the pieces of one streamed completion."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ids: list[int] = []
        self._logprobs: list[float | None] | None = []
        self._text = ""
        self._shown: Any = None
        self._reason: Any = None

    def add(self, event: dict[str, Any]) -> list[int]:
        """Take one event and return its ids.

        Raises `EngineUnsupportedError` when it has text without ids, `EngineAnswerError` when it is of no completion.
        """
        choices = event.get("choices")
        if not choices:  # usage comes without a choice
            return []
        try:
            return self._take(choices[0])
        except (AttributeError, KeyError, TypeError) as error:
            raise EngineAnswerError(f"{self._url} gave no event of a completion: {str(event)[:200]}") from error

    def _take(self, choice: dict[str, Any]) -> list[int]:
        ids = choice.get("token_ids")
        self._text += choice.get("text") or ""
        if ids is None and choice.get("text"):
            raise EngineUnsupportedError(f"{self._url} streamed text without token_ids: {NEEDS_IDS}")
        values = (choice.get("logprobs") or {}).get("token_logprobs")
        if ids and values is None:
            self._logprobs = None
        elif self._logprobs is not None:
            self._logprobs += values or []
        self._ids += ids or []
        self._shown = choice.get("prompt_token_ids") or self._shown
        self._reason = choice.get("finish_reason") or self._reason
        return list(ids or [])

    def answer(self) -> dict[str, Any]:
        """The answer as it comes whole; raises `EngineError` when the stream ended before the turn did."""
        if self._reason is None:
            raise EngineError(f"{self._url} broke off after {len(self._ids)} tokens of a turn")
        logprobs = None if self._logprobs is None else {"token_logprobs": self._logprobs}
        choice = {"token_ids": self._ids, "text": self._text, "logprobs": logprobs, "finish_reason": self._reason}
        return {"choices": [{**choice, "prompt_token_ids": self._shown}]}
