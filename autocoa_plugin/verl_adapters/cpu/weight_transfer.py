"""A weight update that fails aloud. Upstream: verl/workers/rollout/vllm_rollout/bucketed_weight_transfer.py.

    trainer  WatchedSender ── bucket ──> vLLM worker      ack: next bucket
                           <── ack ─────                  exception there: verl's sender would wait for ever

The sender looks at the pending result of the receiver's call while it waits for an acknowledgement.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

import zmq
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightSender

from ...errors import EngineError

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
