"""Questions spread over the processes of a Ray cluster (`--ray N`), by the code that runs in one process.

    waiting ──> a block per question ──> N actors, so many questions at a time each ──> attempts as they come ──> keep

Attempts are kept in this process, so the log has one writer, and a run goes on with or without Ray.

A Ray Data pipeline whose actors drive one event loop each from as many threads as they have questions. Ray Data's own
asynchronous functions hand nothing out before a question's last attempt, and in the order of the questions: one slow
question would hold back, and with a crash lose, what others have finished.

Where it runs is told in `ray_cluster.py`, what runs in each process in `synthesis/ray_worker.py`. Ray is imported when
`--ray` is used and not before.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..config import require
from ..errors import AutoCoAError, EngineError
from ..questions.question import Question
from ..synthesis.attempt import Attempt, Key
from ..synthesis.ray_worker import OpenWorker, RayWorker, StopSwitch, pack, unpack
from .ray_cluster import last_line, ray_cluster

_POLL_S = 0.2  # how often a wish to stop is looked for while nothing comes
_DRAIN_S = 3.0  # for the pipeline of a cluster that goes on without us


def run_on_ray(
    open_worker: OpenWorker,
    waiting: Iterable[tuple[Question, Sequence[Attempt]]],
    keep: Callable[[Attempt], object],
    *,
    workers: int,
    at_a_time: int,
    should_stop: Callable[[], bool] = lambda: False,
    finish: Callable[[Question], object] = lambda _: None,
) -> bool:
    """Ask for what is missing of each question and `keep` every attempt the moment it is there; True: all was asked.

    `open_worker` is pickled, so a function of a module (or a `partial` of one); each of the `workers` processes opens
    it once and asks `at_a_time` questions at a time. Once `should_stop` says so, no further attempt is begun, those
    under way are kept, and False is returned. `finish` is told which question has all it gets. What a question takes of
    a worker besides the engine's time is about 10 ms.
    Raises the first error of a worker as it was, what was kept stays kept; `ConfigError` without Ray or with fewer CPUs
    than workers, `EngineError` when Ray itself fails.
    """
    require(workers >= 1, f"ray_workers must be >= 1, got {workers}")
    require(at_a_time >= 1, f"a worker must ask >= 1 question at a time, got {at_a_time}")
    work = [pack(each) for each in waiting]
    if not work:
        return True
    with ray_cluster(workers) as ray:
        switch = ray.remote(num_cpus=0)(StopSwitch).remote()
        worker = (open_worker, partial(_is_on, switch))
        with _reading(_pipeline(ray, work, worker, workers, at_a_time)) as rows:
            try:
                return _keep_all(rows, keep, finish, len(work), should_stop, lambda: ray.get(switch.turn_on.remote()))
            except ray.exceptions.RayError as error:
                raise EngineError(f"Ray gave up: {last_line(error)}") from error
            finally:
                switch.turn_on.remote()


def _keep_all(
    rows: Iterable[tuple[str, str]],
    keep: Callable[[Attempt], object],
    finish: Callable[[Question], object],
    n_questions: int,
    should_stop: Callable[[], bool],
    turn_on: Callable[[], object],
) -> bool:
    counts, seen, is_stopping = Counter[str](), set[Key](), False
    for kind, packed in rows:
        counts[kind] += 1
        if kind == "error":
            raise _of_worker(*unpack(packed))
        if kind == "ended":
            finish(unpack(packed))
        # where Ray begins a process anew, it may hand out twice what that had given
        if kind == "attempt" and (attempt := unpack(packed)).key not in seen:
            seen.add(attempt.key)
            keep(attempt)
        if not is_stopping and should_stop():
            is_stopping = True
            turn_on()
        is_idle = counts["begun"] == counts["ended"] + counts["left"]
        if counts["ended"] == n_questions or (is_stopping and is_idle):
            break
    return counts["ended"] == n_questions


def _of_worker(error: Exception, trace: str) -> Exception:
    """What a worker raised; of a bug, with the lines that raised it there."""
    if not isinstance(error, (AutoCoAError, OSError)):
        error.add_note(f"in a Ray worker:\n{trace}")
    return error


def _is_on(switch: Any) -> bool:
    import ray

    return ray.get(switch.is_on.remote())


def _pipeline(ray: Any, work: Sequence[str], worker: tuple[Any, ...], workers: int, at_a_time: int) -> Any:
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.enable_auto_log_stats = context.print_on_execution_start = False
    context.target_min_block_size = context.target_max_block_size = 1  # bytes: hand every row out at once
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items([{"work": each} for each in work], override_num_blocks=len(work))
        pool = ray.data.ActorPoolStrategy(
            size=workers,
            max_tasks_in_flight_per_actor=at_a_time,
            max_concurrent_calls_per_actor=at_a_time,
            enable_true_multi_threading=True,
        )
        return rows.map_batches(
            RayWorker,
            fn_constructor_args=worker,
            batch_size=None,
            compute=pool,
            num_cpus=1,
            **_without_retries(rows.map_batches),
        )


def _without_retries(map_batches: Callable[..., Any]) -> dict[str, int]:
    """What lets a process that dies end the run: begun anew for ever, one that cannot live would never end."""
    known = inspect.signature(map_batches).parameters
    # on its way from Ray's `**ray_remote_args` to parameters of its own
    has = "max_restarts" in known or any(each.kind is each.VAR_KEYWORD for each in known.values())
    return {"max_restarts": 0} if has else {}


@contextmanager
def _reading(dataset: Any) -> Iterator[Iterator[tuple[str, str]]]:
    """Yield the rows of a pipeline as they come, and ("", "") now and then; the pipeline ends with the block."""
    arrived: queue.Queue[tuple[str, str] | BaseException | None] = queue.Queue()
    is_over = threading.Event()

    def read() -> None:
        try:
            for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for row in batch.to_pylist():
                    arrived.put((row["kind"], row["packed"]))
                if is_over.is_set():
                    return
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    def rows() -> Iterator[tuple[str, str]]:
        while True:
            try:
                row = arrived.get(timeout=_POLL_S)
            except queue.Empty:
                row = ("", "")
            if row is None:
                return
            if isinstance(row, BaseException):
                raise row
            yield row

    reader = threading.Thread(target=read, name="ray data reader", daemon=True)
    reader.start()
    try:
        yield rows()
    finally:
        is_over.set()
        reader.join(_DRAIN_S)
