"""Ray pipeline (`--ray N`): questions spread over the processes of a cluster, by the code that runs in one process.

    waiting ──> a block per question ──> N actors, so many questions at a time each ──> attempts as they come ──> keep

Attempts are kept in this process, so the log has one writer, and a run goes on with or without Ray.

A Ray Data pipeline whose actors drive one event loop each from as many threads as they have questions. Ray Data's own
asynchronous functions hand nothing out before a question's last attempt, and in the order of the questions: one slow
question would hold back, and with a crash lose, what others have finished.

The cluster is found or started in `ray_cluster.py`; `RayWorker` runs in each process. Ray is imported when `--ray` is
used and not before.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import pickle
import queue
import threading
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from ...config import require
from ...errors import AutoCoAError, EngineError
from ..asking.question import Question
from .attempt import Attempt, Key
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
    under way are kept, and False is returned. `finish` is called with a question that has all it gets. What a question
    takes of a worker besides the engine's time is about 10 ms.
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
    """Rebuild the error of a worker; of a bug, with the lines that raised it there."""
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
    """Options by which a process that dies ends the run: begun anew for ever, one that cannot live would never end."""
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


# ---------------------------------------- one process: an event loop with one worker, driven from a thread per question


T = TypeVar("T")
Row = dict[str, list[str]]


class Worker(Protocol):
    """Writer of attempts, such as `prepared.Synthesizer`."""

    def attempts(self, question: Question, done: Sequence[Attempt]) -> AsyncIterator[Attempt]:
        """Yield what is missing of a question, each attempt begun only when it is asked for."""
        ...


OpenWorker = Callable[[], AbstractAsyncContextManager[Worker]]
"""Opens a worker with its engine on the running event loop."""


def pack(content: Any) -> str:
    """Spell anything as text, so that no id goes through Arrow or NumPy types."""
    return base64.b64encode(pickle.dumps(content)).decode("ascii")


def unpack(text: str) -> Any:
    """Read what `pack` wrote."""
    return pickle.loads(base64.b64decode(text))


class StopSwitch:
    """Switch that all workers look at before they begin an attempt (a Ray actor)."""

    def __init__(self) -> None:
        self._is_on = False

    def turn_on(self) -> None:
        """Let nothing further begin."""
        self._is_on = True

    def is_on(self) -> bool:
        """True when nothing further may begin."""
        return self._is_on


class RayWorker:
    """Function of a Ray Data pipeline: blocks of packed (question, attempts so far) to rows `kind`, `packed`.

    skipped                         a question of which nothing was begun, because of the switch
    begun  attempt ..  ended        a question that was asked all there is; each attempt and the question are packed
    begun  attempt ..  left         a question that was left, because of the switch
    begun  attempt ..  error        a question that raised: (exception, traceback) is packed

    `is_over` says that nothing further may begin.
    """

    def __init__(self, open_worker: OpenWorker, is_over: Callable[[], bool]) -> None:
        self._open_worker, self._is_over = open_worker, is_over
        self._loop = asyncio.new_event_loop()
        self._opening = asyncio.Lock()
        self._opened_by: AbstractAsyncContextManager[Worker] | None = None
        self._worker: Worker | None = None
        threading.Thread(target=self._loop.run_forever, name="event loop", daemon=True).start()

    def __call__(self, block: Mapping[str, Sequence[str]]) -> Iterator[Row]:
        """Work on a block, each row handed out when it is there; called from several threads."""
        for text in block["work"]:
            yield from self._rows(*unpack(text))

    def _rows(self, question: Question, done: Sequence[Attempt]) -> Iterator[Row]:
        if self._is_over():
            yield _row("skipped")
            return
        yield _row("begun")
        try:
            attempts = self._wait(self._opened()).attempts(question, done)
            while not (is_left := self._is_over()) and (attempt := self._wait(_next(attempts))) is not None:
                yield _row("attempt", attempt)
        except Exception as error:
            yield _row("error", _sendable(error))
            return
        yield _row("left") if is_left else _row("ended", question)

    async def _opened(self) -> Worker:
        async with self._opening:
            if self._worker is None:
                # kept, or it would be collected and closed; it stays open because the process ends with the pipeline
                self._opened_by = self._open_worker()
                self._worker = await self._opened_by.__aenter__()
            return self._worker

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _next(attempts: AsyncIterator[Attempt]) -> Attempt | None:
    return await anext(attempts, None)


def _row(kind: str, content: Any = None) -> Row:
    return {"kind": [kind], "packed": ["" if content is None else pack(content)]}


def _sendable(error: Exception) -> tuple[Exception, str]:
    """An error and its traceback as text; an error that cannot be pickled becomes its class and message."""
    trace = "".join(traceback.format_exception(error))
    try:
        if type(unpack(pack(error))) is type(error):
            return error, trace
    except Exception:
        pass
    return RuntimeError(f"{type(error).__name__}: {error}"), trace
