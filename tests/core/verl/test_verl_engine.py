"""What verl's rollout server is asked for, beyond what the agent loop's tests see."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from autocoa_plugin.engines.base import Sampling
from autocoa_plugin.verl_adapters.engine import VerlEngine


def asked(sampling: Sampling) -> dict[str, Any]:
    """The sampling parameters of one turn."""
    seen: list[dict[str, Any]] = []

    class Server:
        async def generate(self, *, sampling_params: dict[str, Any], **_: Any) -> Any:
            seen.append(sampling_params)
            return SimpleNamespace(token_ids=[1], log_probs=None, stop_reason="completed", extra_fields={})

    engine = VerlEngine(Server(), request_id="a", sampling_params={"top_p": 0.9}, max_context_tokens=99)
    asyncio.run(engine.generate([1], max_tokens=4, stop=(), sampling=sampling))
    return seen[0]


def test_forbidden_texts_are_passed_as_vllm_names_them():
    assert asked(Sampling(forbidden=("<a>", "</a>")))["bad_words"] == ["<a>", "</a>"]


def test_nothing_is_forbidden_unless_it_is_asked_for():
    assert "bad_words" not in asked(Sampling(0.5))
