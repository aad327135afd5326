"""A real worker process as the panel meets it, and what the tests ask of it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_dicom import clinical, grid_lps, save_slices, to_ras

from uncol.core.model_store import Store
from uncol.core.protocol import EVENTS, PROTOCOL, WORKER_ENVIRONMENT
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile

ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
ENDS = tuple(name for name in EVENTS if name.endswith(("greeting", "_result", "error", "cancelled")))
SHAPE = (10, 40, 48)
PATIENCE_S = float(os.environ.get("UNCOL_PATIENCE_S", "120"))
LONGEST_WAIT_S = 2.5 * PATIENCE_S
PROMPT_S = 2.0
"""The promise is 1 s; machines that test are busy."""

needs_posix = pytest.mark.skipif(os.name == "nt", reason="these tests send POSIX signals")


class Child:
    """A worker process and everything that it says; after the first, a line that is no JSON fails the test."""

    def __init__(self, home: Path, cache: Path, *, command: list[str] | None = None, **options: Any) -> None:
        self.home, self.store = home, Store(home / "models")
        folders = ["--models", self.store.folder, "--cache", cache, "--jobs", home / "jobs"]
        worker = [sys.executable, "-m", "uncol.worker", *map(str, folders)]
        self.process = subprocess.Popen(
            [*(command or []), *worker],
            env=child_environment() | options.pop("environment", {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self.errors, self.first_line = bytearray(), b""
        self._events: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._last_id = self._job_count = 0
        for work in (self._read, self._read_errors):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        for line in self.process.stdout:
            self._events.put(line)
        self._events.put(b"")

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while chunk := self.process.stderr.read1(1 << 16):  # type: ignore[attr-defined]  # a buffered reader
            self.errors += chunk

    def send_line(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def request(self, op: str, **fields: Any) -> int:
        """Send a request; return its id."""
        self._last_id += 1
        self.send_line(json.dumps({"id": self._last_id, "op": op, **fields}, default=str).encode())
        return self._last_id

    def next_event(self, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        try:
            line = self._events.get(timeout=timeout_s)
        except queue.Empty:
            pytest.fail(f"The worker said nothing for {timeout_s} s; stderr: {self.errors.decode()[-2000:]}")
        if not line:
            pytest.fail(f"The worker ended; stderr: {self.errors.decode()[-2000:]}")
        event: dict[str, Any] = json.loads(line)
        return event

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on to the first event for which this holds; a worker that only says other things fails the test."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        while not holds(event := self.next_event()):
            if time.monotonic() > deadline:
                pytest.fail(
                    f"{LONGEST_WAIT_S} s of other events, last: {event}; stderr: {self.errors.decode()[-2000:]}"
                )
        return event

    def end_of(self, request_id: int | None) -> dict[str, Any]:
        return self.until(lambda event: event["id"] == request_id and event["event"] in ENDS)

    def end_of_any(self) -> dict[str, Any]:
        """Read on to the next end, whichever request it is of."""
        return self.until(lambda event: event["event"] in ENDS)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return how it ends."""
        return self.end_of(self.request(op, **fields))

    def greet(self) -> dict[str, Any]:
        greeting = self.ask("hello", protocol=PROTOCOL)
        self.job_folder = Path(greeting.get("job_folder", ""))
        return greeting

    def is_alive(self) -> bool:
        """Whether the worker still answers."""
        return self.ask("cancel", target="nothing")["event"] == "cancel_result"

    def new_job(self) -> Path:
        """Make a folder in the worker's job folder, with the ball and its labels."""
        self._job_count += 1
        job = self.job_folder / f"run-{self._job_count}"
        job.mkdir()
        for name, volume in zip(("image", "labels"), ball(), strict=True):
            VolumeFile.write(job / f"{name}.npy", volume)
        return job

    def start_training(self, name: str, job: Path | None = None, **fields: Any) -> int:
        """Start a fine-tuning that would take very long, and wait until it learns."""
        job = job or self.new_job()
        number = self.request("fine_tune", **fine_tune_fields(job, name, steps=100_000), **fields)
        self.until(lambda event: event["id"] == number and bool(event.get("losses")))
        return number

    def wait(self, timeout_s: float = 60) -> int:
        return self.process.wait(timeout_s)

    def stop_listening(self) -> None:
        """Close our end of the worker's stdout, as a panel does that has died in a strange way."""
        assert self.process.stdout is not None
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self.process.stdout.fileno())
        os.close(nothing)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with suppress_broken_pipe():
                pipe.close()


@contextmanager
def suppress_broken_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        return


def child_environment() -> dict[str, str]:
    return {**os.environ, **WORKER_ENVIRONMENT, "PYTHONPATH": str(ENGINE_FOLDER)}


def ball() -> tuple[Volume, Volume]:
    """A bright ball in noise on an oblique, left-handed grid; five slices are annotated, 255 elsewhere."""
    k, j, i = np.indices(SHAPE)
    inside = ((k - 5) * 3.0) ** 2 + (j - 20) ** 2 + (i - 24) ** 2 < 13**2
    grey = np.where(inside, 120, 20) + np.random.default_rng(0).normal(0, 15, SHAPE)
    labels = np.full(SHAPE, 255, np.uint8)
    labels[[0, 2, 5, 7, 9]] = inside[[0, 2, 5, 7, 9]]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0.8, -0.6, 0], [-0.6, -0.8, 0], [0, 0, 1]]) @ np.diag([1.0, 1.0, 3.0])
    matrix[:3, 3] = (10.5, -20.25, 1 / 3)
    return Volume(grey.astype(np.int16), matrix), Volume(labels, matrix)


def file_fields(name: str) -> dict[str, Any]:
    """A volume in the job on the grid of the ball, by the name of its file."""
    return {"file": f"{name}.npy", "ijk_to_ras": ball()[0].ijk_to_ras.tolist()}


def fine_tune_fields(job: Path, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "cases": [{"image": file_fields("image"), "labels": file_fields("labels")}],
        "out": name,
        "proposal": str(job),
        "structures": [{"value": 1, "name": "ball"}],
        "seed": 0,
        **fields,
    }


def box_fields(job: Path) -> dict[str, Any]:
    boxes = [{"structure": "ball", "lower_ijk": [11, 7, 4], "upper_ijk": [37, 33, 6]}]
    return {"out": str(job), "image": file_fields("image"), "boxes": boxes}


def export_fields(job: Path) -> dict[str, Any]:
    """An export of what is on the voxels of five DICOM slices, counted from the top down."""
    images = save_slices(job.parent.parent / "dicom", edit=lambda _n, header: clinical(header))
    grid = to_ras(grid_lps()) @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1.0, 4], [0, 0, 0, 1]])
    labels = np.zeros((5, 6, 8), np.uint8)
    labels[0, 2:4, 3:5] = 3
    files = [
        VolumeFile.write(job / f"{name}.npy", Volume(voxels, grid))
        for name, voxels in (("found", labels), ("doubts", labels / np.float32(4)))
    ]
    found, doubts = ({"file": each.file.name, "ijk_to_ras": each.ijk_to_ras} for each in files)
    structures = [{"value": 3, "name": "liver", "origin": {"model_sha256": "ab" * 32}}]
    paths = [str(each) for each in images.iterdir()]
    return {"out": job.name, "images": paths, "labels": [found], "uncertainty": doubts, "structures": structures}
