"""Rollout backend over vLLM's CPU server: rollout.name=vllm_cpu. Upstream: verl/workers/rollout/vllm_rollout/.

verl's own vLLM backend does the work; two things differ. The socket that carries weights is named after the Ray
cluster too: job ids start at 01000000 in each cluster, so two runs on one host would share it. A weight update that
fails in the vLLM worker is raised in the trainer (upstream: bucketed_weight_transfer.py):

    trainer  WatchedSender ── bucket ──> vLLM worker      ack: next bucket
                           <── ack ─────                  exception there: verl's sender would wait for ever

The sender looks at the pending result of the receiver's call while it waits for an acknowledgement.
Imported only by processes that run this backend; registered by `patches`.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

import ray
import torch
import zmq
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightSender
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica
from verl.workers.rollout.vllm_rollout.vllm_rollout import ServerAdapter

from ...errors import EngineError
from .patches import ROLLOUT_NAME


def _job() -> tuple[str, str]:
    context = ray.get_runtime_context()
    return context.get_job_id(), context.gcs_address


class CpuHttpServer(vLLMHttpServer):
    """vLLM server of verl that gives its worker process the unique name of the run."""

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
    """Adapter through which the trainer drives the server: same calls as verl's, weights sent by `WatchedSender`."""

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


# ------------------------------------------------------------------------------------ a weight update that fails aloud


BUCKET_TIMEOUT_S = 600.0
POLL_MS = 200


def run_id(job_id: str, gcs_address: str) -> str:
    """Name a run uniquely on its host: Ray's job id and the port of the Ray cluster it belongs to."""
    return f"{job_id}-{gcs_address.rpartition(':')[2]}"


class WatchedSocket:
    """A ZMQ request socket whose `recv` gives up when the receiver has failed.

    `receiver` is the pending result of the receiver's call; None on ranks that did not make that call, which only have
    the time limit.
    """

    def __init__(
        self, socket: zmq.Socket[Any], receiver: Future[Any] | None, timeout_s: float = BUCKET_TIMEOUT_S
    ) -> None:
        self._socket = socket
        self._receiver = receiver
        self._timeout_s = timeout_s
        socket.setsockopt(zmq.LINGER, 0)  # an unread message must not keep the process alive

    def send_pyobj(self, message: Any) -> None:
        """Send one bucket's description; waits for the worker to connect.

        Raises:
            EngineError: as `recv`.
        """
        self._wait(zmq.POLLOUT)
        self._socket.send_pyobj(message)

    def recv(self) -> bytes:
        """Wait for the acknowledgement of a bucket.

        Raises:
            EngineError: the receiver failed (its own error is the cause), ended early, or stayed silent too long.
        """
        self._wait(zmq.POLLIN)
        return self._socket.recv()

    def close(self) -> None:
        self._socket.close()

    def _wait(self, event: int) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not self._socket.poll(POLL_MS, event):
            # the last acknowledgement may arrive together with the result: look at the socket once more
            if self._receiver is not None and self._receiver.done() and not self._socket.poll(POLL_MS, event):
                cause = self._receiver.exception()
                raise EngineError(f"weight update failed in the vLLM worker: {cause}") from cause
            if time.monotonic() > deadline:
                raise EngineError(f"weight update: the vLLM worker took no bucket for {self._timeout_s:.0f} s")


class WatchedSender(BucketedWeightSender):
    """verl's sender of weights over a `WatchedSocket`."""

    def __init__(self, receiver: Future[Any] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._receiver = receiver

    def _init_socket(self) -> None:
        super()._init_socket()
        socket: Any = self.socket
        self.socket = WatchedSocket(socket, self._receiver)
