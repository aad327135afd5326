"""Work side by side: in processes that may be killed, and on a Dask cluster that may lose workers and its scheduler."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from side_work import Piece, double, has_begun, lost

from uncol.core.errors import CancelledError, ConfigError, UncolError
from uncol.core.progress import UNWATCHED, Monitor
from uncol.pipelines import side_by_side
from uncol.pipelines.side_by_side import Work, dask_cluster, each_result, processes

ENGINE = Path(__file__).parents[3] / "UnCoLSegment"
DOUBLE = Work(double, has_begun, lost)
LIGHT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ENGINE, Path(__file__).parents[1])))}
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
pytestmark = needs_posix


def test_each_piece_is_done_once_in_other_processes(tmp_path: Path) -> None:
    with processes(2) as place:
        found = [*each_result(DOUBLE, [Piece(n, tmp_path, seconds=0.1) for n in range(1, 7)], place, UNWATCHED)]

    assert sorted(found) == [2, 4, 6, 8, 10, 12]
    pids = [Piece(n, tmp_path).trace.read_text().split() for n in range(1, 7)]
    assert all(len(each) == 1 for each in pids)
    assert str(os.getpid()) not in {each for pid in pids for each in pid}


def test_a_piece_that_ends_its_process_is_lost_and_no_other(tmp_path: Path) -> None:
    pieces = [Piece(n, tmp_path, kills={3: "always", 5: "once"}.get(n, "")) for n in range(1, 9)]

    with processes(2) as place:
        found = [*each_result(DOUBLE, pieces, place, UNWATCHED)]

    assert sorted(found) == [-3, 2, 4, 8, 10, 12, 14, 16]


def test_a_cancel_ends_the_processes_at_once(tmp_path: Path, wait_until_gone: Callable[..., None]) -> None:
    pieces = [Piece(1, tmp_path), Piece(2, tmp_path, seconds=600), Piece(3, tmp_path, seconds=600)]
    found: list[int] = []
    monitor = Monitor(should_stop=lambda: bool(found) and all(map(has_begun, pieces)))

    with processes(2) as place:
        results = each_result(DOUBLE, pieces, place, monitor)
        found.append(next(results))
        with pytest.raises(CancelledError):
            next(results)
        for piece in pieces[1:]:
            wait_until_gone(int(piece.trace.read_text()))
    assert found == [2]


def test_processes_end_with_their_caller_however_it_ends(tmp_path: Path, wait_until_gone: Callable[..., None]) -> None:
    code = (
        "import sys; from pathlib import Path; from side_work import *\n"
        "from uncol.core.progress import UNWATCHED\n"
        "from uncol.pipelines.side_by_side import *\n"
        "folder = Path(sys.argv[1]); pieces = [Piece(n, folder, seconds=600) for n in (1, 2)]\n"
        "with processes(2) as place:\n"
        "    list(each_result(Work(double, has_begun, lost), pieces, place, UNWATCHED))\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=LIGHT)
    pieces = [Piece(n, tmp_path) for n in (1, 2)]
    _wait(lambda: all(each.trace.exists() and each.trace.read_text().strip() for each in pieces))

    caller.kill()
    caller.wait()

    for piece in pieces:
        wait_until_gone(int(piece.trace.read_text()))


def _wait(is_there: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Cluster:
    """A scheduler and two workers, each a process of its own, as on several machines."""

    def __init__(self, folder: Path, allowed_failures: int = 3) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._folder, self._late = folder, list[subprocess.Popen[bytes]]()
        self._log = (folder / "log").open("wb")
        environment = LIGHT | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures)}
        self.scheduler, *self.workers = (
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                cwd=folder,
                env=environment,
                stdout=self._log,
                stderr=self._log,
            )
            for command in (
                ["scheduler", "--host", self.address, "--no-dashboard"],
                *[["worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]] * 2,
            )
        )
        self.wait_for(b"Register worker", times=2)

    def join(self, environment: dict[str, str], *options: str) -> int:
        """Start one more worker; return the number of its process."""
        command = [sys.executable, "-m", "dask", "worker", self.address, "--no-dashboard", "--no-nanny", *options]
        late = subprocess.Popen(command, cwd=self._folder, env=environment, stdout=self._log, stderr=self._log)
        self._late.append(late)
        return late.pid

    def wait_for(self, said: bytes, times: int = 1) -> None:
        """Wait until the scheduler has said something."""
        _wait(lambda: (self._folder / "log").read_bytes().count(said) >= times)

    def close(self) -> None:
        for process in (*self.workers, *self._late, self.scheduler):
            process.kill()
            process.wait()
        self._log.close()


@contextmanager
def running_cluster(folder: Path, **settings: int) -> Iterator[Cluster]:
    folder.mkdir()
    cluster = Cluster(folder, **settings)
    try:
        yield cluster
    finally:
        cluster.close()


def test_a_cluster_goes_on_whatever_worker_leaves_or_joins_but_not_without_its_scheduler(tmp_path: Path) -> None:
    pieces = [Piece(n, tmp_path, seconds=0.5) for n in range(1, 13)]
    found: list[int] = []

    with running_cluster(tmp_path / "cluster") as cluster:
        with dask_cluster(cluster.address, wants_gpu=False) as place:
            for each in each_result(DOUBLE, pieces, place, UNWATCHED):
                found.append(each)
                if len(found) == 3:
                    cluster.workers[0].kill()
                    cluster.join({**LIGHT, "PYTHONPATH": ""})  # it has no UnCoL, and does nothing
        assert sorted(found) == [2 * n for n in range(1, 13)]
        pids = {each.trace.read_text().split()[-1] for each in pieces}
        assert pids == {str(worker.pid) for worker in cluster.workers}

        with (
            pytest.raises(ConfigError, match=r"offers a graphics card\. Start workers with --resources GPU=1"),
            dask_cluster(cluster.address, wants_gpu=True),
        ):
            pass
        _check_graphics_card(cluster, [Piece(n, tmp_path, seconds=0.3) for n in range(14, 18)])

        gone = rf'The Dask scheduler at "{re.escape(cluster.address)}" is gone\. What is finished is kept'
        more = [Piece(n, tmp_path, seconds=0.2) for n in range(20, 40)]
        with dask_cluster(cluster.address, wants_gpu=False) as place:
            results = each_result(DOUBLE, more, place, UNWATCHED)
            next(results)
            cluster.scheduler.kill()
            with pytest.raises(UncolError, match=gone):
                list(results)


def _check_graphics_card(cluster: Cluster, pieces: list[Piece]) -> None:
    """A worker with a graphics card alone gets what needs one, and one piece at a time whatever its threads."""
    worker = cluster.join(LIGHT, "--nthreads", "4", "--resources", "GPU=1", "--name", "with-card")
    cluster.wait_for(b"name: with-card")
    with dask_cluster(cluster.address, wants_gpu=True) as place:
        began_s = time.monotonic()
        assert len([*each_result(DOUBLE, pieces, place, UNWATCHED)]) == len(pieces)

    assert time.monotonic() - began_s >= sum(each.seconds for each in pieces)
    assert {int(each.trace.read_text()) for each in pieces} == {worker}


def test_a_piece_that_ends_workers_is_lost_and_a_cluster_without_workers_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "_IDLE_S", 3.0)
    monkeypatch.setattr(side_by_side, "_CONNECT_S", 3)
    pieces = [Piece(n, tmp_path, kills="always" if n == 2 else "") for n in range(1, 5)]

    with (
        running_cluster(tmp_path / "cluster", allowed_failures=0) as cluster,
        dask_cluster(cluster.address, wants_gpu=False) as place,
    ):
        results = each_result(DOUBLE, pieces, place, UNWATCHED)
        while next(results) != -2:  # it ends one of two workers in the crowd, and the other one alone
            pass
        more = each_result(DOUBLE, pieces[:1], place, UNWATCHED)
        with pytest.raises(UncolError, match="No worker has joined the Dask scheduler"):
            next(more)

    assert os.getpid() not in map(int, pieces[1].trace.read_text().split())


def test_an_address_where_no_scheduler_answers_is_told() -> None:
    with (
        pytest.raises(ConfigError, match='No Dask scheduler answers at "nonsense://nowhere"'),
        dask_cluster("nonsense://nowhere", wants_gpu=False),
    ):
        pass


def test_without_dask_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)

    with (
        pytest.raises(ConfigError, match=r"pip install dask distributed"),
        dask_cluster("tcp://127.0.0.1:1", wants_gpu=False),
    ):
        pass
