"""Ray cluster that `--ray` runs on: the one that is connected, the one `RAY_ADDRESS` names, or one of its own.

What was not running before is ended with the run, and Ray's account of itself stays off the terminal. The pipeline
that runs there is in `ray_pipeline.py`.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...config import require
from ...errors import ConfigError, EngineError

_NEEDS_RAY = "ray_workers need Ray, which comes with verl: pip install 'autocoa-plugin[verl]'"
_CONNECT_S = 5.0


@contextmanager
def ray_cluster(workers: int) -> Iterator[Any]:
    """Yield the module `ray`, connected to a cluster with a CPU for each of so many workers.

    Raises `ConfigError` without Ray or with fewer CPUs, `EngineError` when the cluster cannot be reached.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(_NEEDS_RAY) from error
    was_running = ray.is_initialized()
    with _quiet():
        try:
            if not was_running:
                _start(ray, workers)
            yield _checked(ray, workers)
        finally:
            if not was_running:
                ray.shutdown()


def _start(ray: Any, workers: int) -> None:
    address = os.environ.get("RAY_ADDRESS")
    # CPUs are a number here, not cores: workers mostly wait for the server
    own = {} if address else {"num_cpus": workers + 1, "include_dashboard": False}
    try:
        _check_reachable(address)
        ray.init(address=address or "local", log_to_driver=False, logging_level="CRITICAL", **own)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        place = f"RAY_ADDRESS={address}" if address else "a Ray cluster of its own"
        raise EngineError(f"cannot connect to {place}: {last_line(error)}") from error


def _check_reachable(address: str | None) -> None:
    """Refuse within seconds, with `OSError`, what Ray itself would try for minutes; "auto" and ray:// are Ray's own."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _checked(ray: Any, workers: int) -> Any:
    cpus = int(ray.cluster_resources().get("CPU", 0))
    require(cpus >= workers, f"ray_workers={workers} need a CPU each, the Ray cluster has {cpus}: ask for fewer")
    return ray


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's own account of a run off the terminal; after its import, which sets levels and filters of its own."""
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        log.setLevel(level)


def last_line(error: Exception) -> str:
    """Find the line of Ray's error, often of many, that says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
