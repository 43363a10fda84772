"""An independent witness of a training run: what vLLM was really fed, and what the actor really trained on.

verl imports this module in every process (VERL_USE_EXTERNAL_MODULES=witness); it writes JSON lines into the folder
named by AUTOCOA_WITNESS and changes nothing.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from autocoa_plugin.verl_adapters.after_import import after_import


def _write(kind: str, row: dict[str, Any]) -> None:
    path = Path(os.environ["AUTOCOA_WITNESS"]) / f"{kind}.{os.getpid()}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _watch_server(module: ModuleType) -> None:
    generate = module.vLLMHttpServer.generate

    @functools.wraps(generate)
    async def watched(self: Any, prompt_ids: list[int], *args: Any, **kwargs: Any) -> Any:
        fed = list(prompt_ids)
        output = await generate(self, prompt_ids, *args, **kwargs)
        _write("fed", {"prompt": fed, "sampled": list(output.token_ids), "logprobs": list(output.log_probs)})
        return output

    module.vLLMHttpServer.generate = watched


def _watch_actor(module: ModuleType) -> None:
    train_batch = module.TrainingWorker.train_batch

    @functools.wraps(train_batch)
    def watched(self: Any, data: Any) -> Any:
        names = ("input_ids", "response_mask", "old_log_probs", "rollout_log_probs")
        columns = {name: [row.tolist() for row in data[name].unbind()] for name in names}
        for index in range(len(columns["input_ids"])):
            _write("trained", {name: rows[index] for name, rows in columns.items()})
        return train_batch(self, data)

    module.TrainingWorker.train_batch = watched


after_import("verl.workers.rollout.vllm_rollout.vllm_async_server", _watch_server)
after_import("verl.workers.engine_workers", _watch_actor)
