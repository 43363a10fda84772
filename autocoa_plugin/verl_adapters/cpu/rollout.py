"""vLLM's CPU server as a rollout backend: rollout.name=vllm_cpu. Upstream: verl/workers/rollout/vllm_rollout/.

verl's own vLLM backend does the work; two things differ. The socket that carries weights is named after the Ray
cluster too: job ids start at 01000000 in each cluster, so two runs on one host would share it. A weight update that
fails in the vLLM worker is raised in the trainer (`weight_transfer`).
Imported only by processes that run this backend; registered by `patches`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import ray
import torch
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica
from verl.workers.rollout.vllm_rollout.vllm_rollout import ServerAdapter

from ...errors import EngineError
from .patches import ROLLOUT_NAME
from .weight_transfer import WatchedSender, run_id


def _job() -> tuple[str, str]:
    context = ray.get_runtime_context()
    return context.get_job_id(), context.gcs_address


class CpuHttpServer(vLLMHttpServer):
    """verl's vLLM server; tells its worker process the unique name of the run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        os.environ["VERL_RAY_JOB_ID"] = run_id(*_job())  # read by the worker when it opens the socket


class CpuReplica(vLLMReplica):
    """verl's vLLM replica with `CpuHttpServer` in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(CpuHttpServer)

    def _get_server_name_prefix(self) -> str:
        return f"{ROLLOUT_NAME}_"


class CpuServerAdapter(ServerAdapter):
    """The trainer's hand on the server: same calls as verl's, weights sent by `WatchedSender`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        job_id, gcs_address = _job()
        self.zmq_handle = self.zmq_handle.replace(job_id, run_id(job_id, gcs_address))

    @torch.no_grad()
    async def update_weights(
        self,
        weights: Iterator[tuple[str, torch.Tensor]] | AsyncIterator[tuple[str, torch.Tensor]],
        global_steps: int | None = None,
        wire_format: str = "named_tensors",
        **kwargs: Any,
    ) -> None:
        """Send full tensors to the server and wait until it has loaded them.

        Raises:
            EngineError: the server could not load them, or `wire_format` is not "named_tensors".
        """
        if wire_format != "named_tensors":
            raise EngineError(f"rollout {ROLLOUT_NAME} takes wire_format='named_tensors', got {wire_format!r}")
        call = {**kwargs, "use_shm": self.use_shm}
        loaded = await self._execute_method("update_weights_from_ipc", non_block=True, kwargs=call)
        await self._sender(loaded).async_send_weights(weights)
        if loaded is not None:  # this rank leads its server
            await loaded
            await self.server_handle.clear_kv_cache.remote()
            if global_steps is not None:
                await self.server_handle.set_global_steps.remote(global_steps)

    def _sender(self, loaded: Any) -> WatchedSender:
        return WatchedSender(
            None if loaded is None else loaded.future(),
            zmq_handle=self.zmq_handle,
            bucket_size_mb=self.config.checkpoint_engine.update_weights_bucket_megabytes,
            use_shm=self.use_shm,
        )
