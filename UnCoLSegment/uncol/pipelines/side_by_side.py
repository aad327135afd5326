"""Many pieces of work side by side through joblib: in processes here, or on the workers of a Dask cluster.

What ends a process, such as a full memory, is found: its pieces are done again one at a time, and the one that ends its
process then, too, is handed back as lost.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from typing import Any, Generic, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from uncol import __version__
from uncol.core.caller import follow
from uncol.core.errors import ConfigError, UncolError
from uncol.core.progress import Monitor

Task = TypeVar("Task")
Result = TypeVar("Result")
_LOOK_INTERVAL_S = 0.2
_CONNECT_S = 10
_IDLE_S = 10.0
"""Longer than it takes until a result arrives, or until the first worker is there."""
_GPU = {"GPU": 1}
"""What a Dask worker offers with `--resources "GPU=1"`: one image at a time has its graphics card."""


class WorkerLostError(Exception):
    """A process ended while it worked."""


@dataclass(frozen=True)
class Place:
    """Where work is done.

    Attributes:
        backend: Sets joblib's backend for the block.
        check: Raises an UncolError when the place is gone.
        stop: Ends what is being done there, as far as that is possible.
        is_idle: Says whether nothing is being done there, or waits for it.
        lost: What joblib raises when a worker was ended.
        dispatched: How much is handed out beforehand, as joblib's `pre_dispatch`.
    """

    backend: Callable[[], AbstractContextManager[Any]]
    check: Callable[[], None]
    stop: Callable[[], None]
    is_idle: Callable[[], bool]
    lost: tuple[type[Exception], ...]
    dispatched: str


@contextmanager
def processes(count: int) -> Iterator[Place]:
    """Lend so many processes (2 or more) of one thread each; they end with this one, however it ends."""

    def stop() -> None:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)

    def backend() -> AbstractContextManager[Any]:
        settings = {"initializer": follow, "initargs": (os.getpid(),)}
        return parallel_config("loky", n_jobs=count, inner_max_num_threads=1, **settings)

    try:
        yield Place(backend, lambda: None, stop, lambda: False, (TerminatedWorkerError,), "2*n_jobs")
    finally:
        stop()


@contextmanager
def dask_cluster(address: str, *, wants_gpu: bool) -> Iterator[Place]:
    """Lend the workers of a Dask cluster.

    Args:
        address: Of its scheduler, as in tcp://host:8786.
        wants_gpu: Whether each piece of work needs a worker that offers `GPU=1`.

    Raises:
        ConfigError: If Dask is not installed, no scheduler answers, or no worker offers what is wanted.
    """
    try:
        from distributed import Client
    except ImportError as error:
        message = "--dask needs the packages dask and distributed. Install them: pip install dask distributed."
        raise ConfigError(message) from error
    with _quiet("distributed"):
        try:
            client = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            message = f'No Dask scheduler answers at "{address}". Check the address, and that it runs there.'
            raise ConfigError(message) from error
        try:
            _check_workers(client, address, wants_gpu=wants_gpu)
            yield _on_cluster(client, address, {"resources": _GPU} if wants_gpu else {})
        finally:
            client.close()


def _on_cluster(client: Any, address: str, wanted: Mapping[str, Any]) -> Place:
    from joblib._dask import DaskDistributedBackend

    class Workers(DaskDistributedBackend):  # type: ignore[misc]  # joblib has no types
        """joblib's Dask backend, except that a cluster of one worker is one, too: joblib would work in this process."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

    def backend() -> AbstractContextManager[Any]:
        return parallel_config(Workers(client=client, wait_for_workers_timeout=_CONNECT_S, **wanted), n_jobs=-1)

    def check() -> None:
        if client.status != "running":
            message = (
                f'The Dask scheduler at "{address}" is gone. What is finished is kept: start it again and run the same '
                "command."
            )
            raise UncolError(message)

    def is_idle() -> bool:
        return all(each.status != "pending" for each in list(client.futures.values()))

    return Place(backend, check, client.close, is_idle, (), "all")


def engine_version() -> str:
    """Return the version of UnCoL; workers are asked for it."""
    return __version__


def _check_workers(client: Any, address: str, *, wants_gpu: bool) -> None:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if wants_gpu and not any(each["resources"].get("GPU") for each in workers):
        message = (
            f'No worker of the Dask scheduler at "{address}" offers a graphics card. Start workers with '
            "--resources GPU=1, one for each card, or leave out --device cuda."
        )
        raise ConfigError(message)
    answers = client.run(engine_version, on_error="return")
    others = {worker: answer for worker, answer in answers.items() if answer != __version__}
    for worker, answer in others.items():
        has = f"UnCoL {answer}" if isinstance(answer, str) else "no UnCoL"
        message = f"Worker {worker} has {has}; {__version__} is needed, as here. Install it there and start it again."
        raise ConfigError(message)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's log off the terminal: what matters of it comes as one sentence."""
    names = [each for each in logging.root.manager.loggerDict if each == name or each.startswith(f"{name}.")]
    levels = {each: logging.getLogger(each).level for each in names}
    for each in names:
        logging.getLogger(each).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for each, level in levels.items():
            logging.getLogger(each).setLevel(level)


@dataclass(frozen=True)
class Work(Generic[Task, Result]):
    """Pieces of work of one kind.

    Attributes:
        do: Does one; it and the pieces go through pickle.
        has_begun: Whether a piece may have been begun, and so may be what ended a process.
        lost: What is handed back for a piece that ended its process, twice.
    """

    do: Callable[[Task], Result]
    has_begun: Callable[[Task], bool]
    lost: Callable[[Task], Result]


def each_result(work: Work[Task, Result], tasks: Sequence[Task], place: Place, monitor: Monitor) -> Iterator[Result]:
    """Yield what comes of each piece of work as soon as it does, in any order.

    Raises:
        CancelledError: If the monitor says so.
        UncolError: If the place is gone.
    """
    left = dict(enumerate(tasks))

    def done(numbers: Sequence[int]) -> Iterator[Result]:
        for number, result in _in_any_order(work.do, [(each, left[each]) for each in numbers], place, monitor):
            del left[number]
            yield result

    while left:
        try:
            yield from done([*left])
        except WorkerLostError:
            for number in [each for each in left if work.has_begun(left[each])] or [*left]:
                try:
                    yield from done([number])
                except WorkerLostError:
                    yield work.lost(left.pop(number))


def _in_any_order(
    do: Callable[[Task], Result], tasks: Sequence[tuple[int, Task]], place: Place, monitor: Monitor
) -> Iterator[tuple[int, Result]]:
    """Yield results with their numbers while a thread waits for them, so that this one can look whether to stop."""
    arrived: Queue[tuple[int, Result] | BaseException | None] = Queue()

    def wait() -> None:
        try:
            with place.backend():
                parallel = Parallel(
                    return_as="generator_unordered", batch_size=1, max_nbytes=None, pre_dispatch=place.dispatched
                )
                for each in parallel(delayed(_numbered)(do, number, task) for number, task in tasks):
                    arrived.put(each)
            arrived.put(None)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the caller raises it
            arrived.put(error)

    Thread(target=wait, daemon=True).start()
    while (each := _next(arrived, place, monitor)) is not None:
        yield each


def _numbered(do: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    return number, do(task)


def _next(
    arrived: Queue[tuple[int, Result] | BaseException | None], place: Place, monitor: Monitor
) -> tuple[int, Result] | None:
    last_busy_s = time.monotonic()
    while True:
        if monitor.should_stop():
            place.stop()
            monitor.check()
        try:
            each = arrived.get(timeout=_LOOK_INTERVAL_S)
        except Empty:
            place.check()
            if not place.is_idle():
                last_busy_s = time.monotonic()
            elif time.monotonic() - last_busy_s > _IDLE_S:  # joblib waits for ever for what a killed Dask worker did
                raise WorkerLostError from None
            continue
        if isinstance(each, BaseException):
            place.check()
            raise _understood(each, place)
        return each


def _understood(error: BaseException, place: Place) -> BaseException:
    if isinstance(error, place.lost):
        return WorkerLostError()
    if isinstance(error, TimeoutError):
        return UncolError("No worker has joined the Dask scheduler. Start workers and run the same command again.")
    return error
