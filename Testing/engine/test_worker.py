"""The worker as the panel meets it: a real child process, its lines, its faults, and what it leaves behind."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import stat
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

from uncol.io import read_image
from uncol.messages import LINE_LIMIT_BYTES, PROTOCOL, WORKER_ENVIRONMENT
from uncol.model_store import Store
from uncol.nrrd import read_nrrd, write_nrrd
from uncol.volume import Volume

ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
ENDS = ("result", "error", "cancelled")
SHAPE = (10, 40, 48)
PATIENCE_S = 120.0
PROMPT_S = 2.0
"""The promise is 1 s; machines that test are busy."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="these tests send POSIX signals")


class Child:
    """A worker process and everything that it says; after the first, a line that is no JSON fails the test."""

    def __init__(self, home: Path, cache: Path, *, command: list[str] | None = None, **options: Any) -> None:
        self.home, self.store = home, Store(home / "models")
        folders = ["--models", self.store.folder, "--cache", cache, "--jobs", home / "jobs"]
        worker = [sys.executable, "-m", "uncol", "worker", *map(str, folders)]
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
        """Read on to the first event for which this holds."""
        while not holds(event := self.next_event()):
            pass
        return event

    def end_of(self, request_id: int | None) -> dict[str, Any]:
        return self.until(lambda event: event["id"] == request_id and event["event"] in ENDS)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return how it ends."""
        return self.end_of(self.request(op, **fields))

    def greet(self) -> dict[str, Any]:
        greeting = self.ask("hello", protocol=PROTOCOL)
        self.job_folder = Path(greeting.get("job_folder", ""))
        return greeting

    def new_job(self) -> Path:
        """Make a folder in the worker's job folder, with the ball and its labels."""
        self._job_count += 1
        job = self.job_folder / f"run-{self._job_count}"
        job.mkdir()
        image, labels = ball()
        write_nrrd(job / "image.nrrd", image)
        write_nrrd(job / "labels.nrrd", labels)
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


def fine_tune_fields(job: Path, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "job": str(job),
        "cases": [{"image": "image.nrrd", "labels": "labels.nrrd"}],
        "out": name,
        "structures": [{"value": 1, "name": "ball"}],
        "seed": 0,
        **fields,
    }


def box_fields(job: Path) -> dict[str, Any]:
    boxes = [{"structure": "ball", "lower_ijk": [11, 7, 4], "upper_ijk": [37, 33, 6]}]
    return {"job": str(job), "image": "image.nrrd", "boxes": boxes}


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def is_gone(pid: int) -> bool:
    """Say whether a process is dead; one that nobody has buried yet counts as dead."""
    status = Path(f"/proc/{pid}/stat")
    if sys.platform == "linux":
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def eventually(holds: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the foundation model's embeddings of the ball are kept, so that they are computed only once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Callable[..., Child]]:
    """Return a function that starts a worker of the test's own; it is killed at the end."""
    children: list[Child] = []

    def start_one(*, greet: bool = True, **options: Any) -> Child:
        child = Child(tmp_path, options.pop("cache", cache), **options)
        children.append(child)
        if greet:
            assert child.greet()["event"] == "result"
        return child

    yield start_one
    for child in children:
        child.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Child]:
    """One worker for the tests that leave it alive, as the panel keeps it."""
    child = Child(tmp_path_factory.mktemp("worker"), cache)
    child.greet()
    yield child
    child.close()


@pytest.fixture(scope="module")
def model(shared: Child) -> str:
    """A model that was trained for a moment."""
    job = shared.new_job()
    result = shared.ask("fine_tune", **fine_tune_fields(job, "ball", steps=30))
    assert result["event"] == "result", result
    return "ball"


class TestGreeting:
    def test_hello_tells_what_the_panel_needs(self, shared: Child) -> None:
        greeting = shared.ask("hello", protocol=PROTOCOL)

        assert greeting["protocol"] == PROTOCOL
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", greeting["uncol"])
        assert greeting["devices"][-1] == "cpu"
        assert greeting["teachers"] == ["LiteMedSAM"]

    def test_the_job_folder_is_private_and_named_for_the_process(self, shared: Child) -> None:
        folder = Path(shared.ask("hello", protocol=PROTOCOL)["job_folder"])

        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.parent == (shared.home / "jobs").resolve()
        assert re.fullmatch(rf"uncol-worker-{shared.process.pid}-\w+", folder.name)

    def test_the_worker_lets_other_programs_go_first(self, shared: Child) -> None:
        ours = os.getpriority(os.PRIO_PROCESS, 0)

        assert os.getpriority(os.PRIO_PROCESS, shared.process.pid) == min(19, ours + 10)

    @pytest.mark.slow
    def test_nothing_is_done_before_the_right_hello(self, start: Callable[..., Child]) -> None:
        child = start(greet=False)

        early = child.ask("models", action="list")
        other = child.ask("hello", protocol=2)
        still = child.ask("models", action="list")

        assert early["kind"] == still["kind"] == "user"
        assert early["message"] == still["message"] == 'The first request must be {"op": "hello", "protocol": 1}.'
        assert other["message"].startswith("This engine speaks version 1 of the messages, version 2 was asked for.")
        assert child.greet()["event"] == "result"
        assert child.ask("models", action="list")["event"] == "result"


GARBAGE: list[Any] = [
    pytest.param(b"", None, "not JSON", id="empty line"),
    pytest.param(b"hello", None, "not JSON", id="a word"),
    pytest.param(b'{"id": 5, "op": "hello"', None, "not JSON", id="cut off"),
    pytest.param(b"\xff\xfe\x00", None, "not JSON", id="no text"),
    pytest.param(b"[" * 100_000, None, "not JSON", id="deeply nested"),
    pytest.param(b"[1]", None, "not a JSON object", id="a list"),
    pytest.param(b"null", None, "not a JSON object", id="null"),
    pytest.param(b"x" * (LINE_LIMIT_BYTES + 1), None, "longer than 1048576 bytes", id="too long"),
    pytest.param(b'{"op": "hello"}', None, 'has no "id"', id="no id"),
    pytest.param(b'{"id": true, "op": "hello"}', None, 'has no "id"', id="id of another type"),
    pytest.param(b'{"id": 901}', 901, "no request null", id="no op"),
    pytest.param(b'{"id": "a-1", "op": "dance"}', "a-1", 'no request "dance". Known requests: hello', id="unknown op"),
    pytest.param(b'{"id": 902, "op": ["hello"]}', 902, r'no request ["hello"]', id="op of another type"),
]


class TestLines:
    @pytest.mark.parametrize(("line", "request_id", "sentence"), GARBAGE)
    def test_a_line_that_is_no_request_is_answered_and_the_worker_lives(
        self, shared: Child, line: bytes, request_id: Any, sentence: str
    ) -> None:
        shared.send_line(line)

        answer = shared.next_event()

        assert (answer["id"], answer["event"], answer["kind"]) == (request_id, "error", "user")
        assert sentence in answer["message"]
        assert answer["details"] == ""
        assert shared.ask("models", action="list")["event"] == "result"

    @pytest.mark.parametrize(
        ("op", "fields", "sentence"),
        [
            ("hello", {"protocol": 1, "color": 2}, 'Request "hello" has no field "color". Known fields: protocol.'),
            ("shutdown", {"now": True}, 'Request "shutdown" has no field "now". Known fields: none.'),
            ("hello", {}, 'Request "hello" lacks the field "protocol".'),
            ("hello", {"protocol": "1"}, 'field "protocol": a whole number is needed, got "1".'),
            ("cancel", {}, 'lacks the field "target"'),
            ("segment", {"image": "a"}, 'lacks the field "job"'),
            ("segment", {"job": "a", "image": 3, "model": "m"}, 'field "image": a text is needed, got 3.'),
            ("segment", {"job": "a", "image": "a\0b", "model": "m"}, "a text is needed"),
            ("segment", {"job": "a", "image": "b"}, "exactly one of a model, boxes or annotated slices"),
            ("segment", {"job": "a", "image": "b", "model": "m", "labels": "l"}, "exactly one of"),
            ("segment", {"job": "a", "image": "b", "model": "m", "device": "tpu"}, "one of auto, cpu, cuda, mps"),
            ("segment", {"job": "a", "image": "b", "boxes": {}}, "a list is needed"),
            ("segment", {"job": "a", "image": "b", "boxes": [5]}, 'field "boxes" must be a JSON object, got 5.'),
            (
                "segment",
                {"job": "a", "image": "b", "boxes": [{"structure": "x", "lower_ijk": [0, 0], "upper_ijk": [1, 1, 1]}]},
                "three whole numbers",
            ),
            (
                "segment",
                {
                    "job": "a",
                    "image": "b",
                    "boxes": [{"structure": "x", "lower_ijk": [2, 0, 0], "upper_ijk": [1, 1, 1]}],
                },
                'Box of "x" is empty',
            ),
            (
                "segment",
                {"job": "a", "image": "b", "model": "m", "structures": [{"value": 0, "name": "x"}]},
                "label value 0; use 1 to 254",
            ),
            ("fine_tune", {"job": "a", "cases": [], "out": "m"}, "nothing to learn from"),
            ("fine_tune", {"job": "a", "cases": [{"image": "b"}], "out": "m"}, 'lacks the field "labels"'),
            ("fine_tune", fine_tune_fields(Path("a"), "m", minutes=float("nan")), "a number is needed"),
            ("fine_tune", fine_tune_fields(Path("a"), "m", resume=1), "true or false"),
            ("fine_tune", fine_tune_fields(Path("a"), "m", preview_s=0), "preview_s must be above 0"),
            ("fine_tune", fine_tune_fields(Path("a"), "m") | {"seed": -1}, "seed must be a whole number from 0"),
            ("models", {"action": "sell"}, "one of list, show, rename"),
            ("models", {"action": "rename", "name": "a"}, 'To rename a model, the request needs the field "new_name"'),
            ("models", {"action": "show"}, 'needs the field "name"'),
            ("models", {"action": "import"}, 'needs the field "path"'),
        ],
    )
    def test_a_request_that_is_not_understood_says_what_is_wrong(
        self, shared: Child, op: str, fields: dict[str, Any], sentence: str
    ) -> None:
        answer = shared.ask(op, **fields)

        assert (answer["event"], answer["kind"]) == ("error", "user")
        assert sentence in answer["message"]

    def test_lines_may_arrive_in_pieces_and_several_at_once(self, shared: Child) -> None:
        assert shared.process.stdin is not None
        line = b'{"id": "x-1", "op": "models", "action": "list"}\r\n'
        for piece in (line[:10], line[10:], line.replace(b"x-1", b"x-2") + line.replace(b"x-1", b"x-3")):
            shared.process.stdin.write(piece)
            shared.process.stdin.flush()
            time.sleep(0.05)

        assert [shared.next_event()["id"] for _ in range(3)] == ["x-1", "x-2", "x-3"]

    @pytest.mark.slow
    def test_what_libraries_print_goes_to_stderr_and_breaks_no_line(
        self, start: Callable[..., Child], tmp_path: Path
    ) -> None:
        # As soon as stdout leads where stderr leads, Python, C and a child of the worker print there all the time.
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(
            "import os, subprocess, sys, threading, time\n"
            "def chatter():\n"
            "    while os.fstat(1).st_ino != os.fstat(2).st_ino:\n"
            "        time.sleep(0.01)\n"
            "    while True:\n"
            "        print('from Python', flush=True)\n"
            "        os.write(1, b'from C')\n"
            "        subprocess.run([sys.executable, '-S', '-c', 'print(\"from a child\")'])\n"
            "print('printed early', end='', flush=True)\n"
            "if 'worker' in ' '.join(sys.orig_argv):\n"
            "    threading.Thread(target=chatter, daemon=True).start()\n"
        )
        searched = f"{tmp_path / 'site'}{os.pathsep}{ENGINE_FOLDER}"
        child = start(environment={"PYTHONPATH": searched})

        for _ in range(20):
            assert child.ask("models", action="list")["models"] == []
            time.sleep(0.02)

        assert eventually(lambda: b"from a child" in child.errors)
        assert b"from Python" in child.errors
        assert b"from C" in child.errors
        assert child.first_line == b"printed early\n"


class TestSegment:
    def test_a_box_gives_labels_and_uncertainty_on_exactly_the_grid(self, shared: Child) -> None:
        job = shared.new_job()

        result = shared.ask("segment", **box_fields(job))

        assert result["event"] == "result", result
        assert (result["segmentation"], result["uncertainty"]) == ("segmentation.nrrd", "uncertainty.nrrd")
        image, _ = ball()
        labels, doubt = read_nrrd(job / "segmentation.nrrd"), read_nrrd(job / "uncertainty.nrrd")
        for volume, dtype in ((labels, np.uint8), (doubt, np.float32)):
            assert volume.voxels.dtype == dtype
            np.testing.assert_allclose(volume.ijk_to_ras, image.ijk_to_ras, rtol=0, atol=1e-12)
        assert dice(labels.voxels[4:7] == 1, image.voxels[4:7] > 70) > 0.8
        assert doubt.voxels.min() >= 0 < doubt.voxels.max() <= 1
        assert result["report"]["structures"][0]["name"] == "ball"
        assert result["report"]["intended_use"] == "Research use only. Not a medical device."

    def test_annotated_slices_stay_as_they_are(self, shared: Child) -> None:
        job = shared.new_job()

        shared.ask("segment", job=job, image="image.nrrd", labels="labels.nrrd", structures=[{"value": 1, "name": "b"}])

        annotated = ball()[1].voxels
        found = read_nrrd(job / "segmentation.nrrd").voxels
        assert (found == annotated)[annotated != 255].all()

    @pytest.mark.parametrize("by", ["name", "path"])
    def test_a_model_segments_by_its_name_or_its_folder(self, shared: Child, model: str, by: str) -> None:
        job = shared.new_job()

        chosen = model if by == "name" else shared.store.path_of(model)
        result = shared.ask("segment", job=job.name, image="image.nrrd", model=chosen)

        assert result["event"] == "result", result
        assert result["report"]["model"] == model
        assert read_nrrd(job / "segmentation.nrrd").shape_kji == SHAPE

    def test_other_readers_read_the_results(self, shared: Child, model: str) -> None:
        job = shared.new_job()
        shared.ask("segment", job=job, image="image.nrrd", model=model)

        assert np.array_equal(read_image(job / "uncertainty.nrrd").voxels, read_nrrd(job / "uncertainty.nrrd").voxels)

    def test_inputs_that_cannot_be_used_are_one_sentence(self, shared: Child) -> None:
        job = shared.new_job()
        image, _ = ball()
        write_nrrd(job / "flat.nrrd", image.with_voxels(np.zeros(SHAPE, np.int16)))
        (job / "broken.nrrd").write_bytes((job / "image.nrrd").read_bytes()[:500])

        flat = shared.ask("segment", **(box_fields(job) | {"image": "flat.nrrd"}))
        broken = shared.ask("segment", **(box_fields(job) | {"image": "broken.nrrd"}))
        unknown = shared.ask("segment", job=job, image="image.nrrd", model="nobody")

        assert (flat["kind"], broken["kind"], unknown["kind"]) == ("user", "user", "user")
        assert 'Image "flat.nrrd" is constant' in flat["message"]
        assert 'Image "broken.nrrd" cannot be read' in broken["message"]
        assert 'There is no model "nobody"' in unknown["message"]

    @pytest.mark.slow
    def test_a_full_disk_is_one_sentence_and_the_worker_lives(
        self, start: Callable[..., Child], tmp_path: Path
    ) -> None:
        import resource  # Windows has none

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

        child = start(preexec_fn=limit, cache=tmp_path / "empty-cache")
        job = child.new_job()
        number = child.request("segment", **box_fields(job))

        log = child.until(lambda event: event["event"] == "log")
        end = child.end_of(number)

        assert (log["id"], log["level"]) == (number, "warning")
        assert "Embeddings are no longer kept on disk" in log["message"]
        assert (end["event"], end["kind"]) == ("error", "user")
        assert "uncertainty.nrrd" in end["message"]
        assert "Free some space" in end["message"]
        assert child.ask("models", action="list")["event"] == "result"


class TestPlaces:
    @pytest.mark.parametrize("job", ["/", ".", "..", "../..", "run/../..", "/etc"])
    def test_a_job_lies_inside_the_job_folder(self, shared: Child, job: str) -> None:
        answer = shared.ask("segment", job=job, image="image.nrrd", model="m")

        assert answer["kind"] == "user"
        assert re.match(r'"job" must lie inside the folder ".*uncol-worker-', answer["message"])

    def test_a_job_that_was_not_made_is_told(self, shared: Child) -> None:
        assert '"job" is not there' in shared.ask("segment", job="nowhere", image="i", model="m")["message"]

    @pytest.mark.parametrize("image", ["../image.nrrd", "/etc/hosts", "link.nrrd", "linked/image.nrrd"])
    def test_an_image_lies_inside_its_job(self, shared: Child, tmp_path: Path, image: str) -> None:
        job = shared.new_job()
        write_nrrd(job.parent / "image.nrrd", ball()[0])
        write_nrrd(tmp_path / "image.nrrd", ball()[0])
        (job / "link.nrrd").symlink_to(tmp_path / "image.nrrd")
        (job / "linked").symlink_to(tmp_path)

        answer = shared.ask("segment", **(box_fields(job) | {"image": image}))
        tuned = shared.ask(
            "fine_tune", **(fine_tune_fields(job, "m") | {"cases": [{"image": "image.nrrd", "labels": image}]})
        )

        assert answer["message"].startswith('"image" must lie inside the folder')
        assert tuned["message"].startswith('"labels" must lie inside the folder')

    @pytest.mark.parametrize("out", ["../elsewhere", "/etc/model", "a/b", "Name", ".hidden", ".."])
    def test_a_model_is_written_into_the_store_only(self, shared: Child, out: str) -> None:
        answer = shared.ask("fine_tune", **fine_tune_fields(shared.new_job(), out, steps=2))

        assert (answer["event"], answer["kind"]) == ("error", "user")
        assert re.search(r'"out" must be a model in|is no name for a model', answer["message"])
        assert not (shared.home / "elsewhere").exists()

    def test_a_model_outside_the_store_is_not_opened(self, shared: Child, tmp_path: Path) -> None:
        answer = shared.ask("segment", job=shared.new_job(), image="image.nrrd", model=tmp_path / "model")

        assert answer["message"].startswith('"model" must be a model in')

    def test_a_failed_run_leaves_no_empty_model_folder(self, shared: Child) -> None:
        job = shared.new_job()
        write_nrrd(job / "labels.nrrd", ball()[0].with_voxels(np.zeros(SHAPE, np.uint8)))

        answer = shared.ask("fine_tune", **fine_tune_fields(job, "nothing", steps=2))

        assert "background only" in answer["message"]
        assert not (shared.store.folder / "nothing").exists()


class TestFineTune:
    def test_the_result_tells_how_the_training_went(self, shared: Child, model: str) -> None:
        result = shared.ask("models", action="show", name=model)["card"]

        assert result["training"]["steps"] == 30
        assert result["structures"] == [{"value": 1, "name": "ball"}]
        shared.store.verify(model)

    def test_progress_holds_steps_losses_and_time_left(self, shared: Child) -> None:
        number = shared.start_training("progress")
        event = shared.until(lambda event: event["event"] == "progress" and event.get("step", 0) > 3)
        shared.request("cancel", target=number)
        shared.end_of(number)

        assert event["losses"]["supervised"] > 0
        assert event["seconds_left"] > 0
        assert 0 <= event["fraction"] <= 1
        assert event["phase"] == "Learning from annotated slices"

    def test_a_second_job_is_refused_and_the_first_goes_on(self, shared: Child) -> None:
        number = shared.start_training("first")

        second = shared.ask("segment", **box_fields(shared.new_job()))
        listed = shared.ask("models", action="list")
        goes_on = shared.until(lambda event: event["id"] == number)
        shared.request("cancel", target=number)

        assert (second["event"], second["kind"]) == ("error", "user")
        assert second["message"] == f"The engine is busy with request {number}. Wait for its end, or cancel it."
        assert listed["event"] == "result"
        assert goes_on["event"] == "progress"
        assert shared.end_of(number)["event"] == "cancelled"

    def test_a_cancelled_training_ends_at_once_and_can_be_resumed(self, shared: Child) -> None:
        job = shared.new_job()
        number = shared.start_training("resumed", job)
        asked = time.monotonic()
        cancel = shared.request("cancel", target=number)

        assert shared.end_of(cancel) == {"id": cancel, "event": "result", "found": True}
        end = shared.end_of(number)
        ended = time.monotonic()

        assert end["event"] == "cancelled"
        assert end["resumable"] is True
        assert end["message"] == "Fine-tuning was cancelled; it can be resumed."
        assert ended - asked < PROMPT_S
        assert "resumed" in shared.store.unfinished()

        again = shared.ask("fine_tune", **fine_tune_fields(job, "resumed", steps=20))
        assert "holds an unfinished run" in again["message"]
        done = shared.ask("fine_tune", **fine_tune_fields(job, "resumed", steps=20, resume=True))
        assert done["event"] == "result", done
        assert done["model"] == "resumed"
        assert done["training"]["steps"] >= 20
        assert {"curve", "notes", "specialized_reliability", "generalized_reliability"} <= done["training"].keys()
        assert shared.store.has("resumed")

    def test_a_training_that_is_resumed_with_other_labels_is_refused(self, shared: Child) -> None:
        number = shared.start_training("other-labels")
        shared.request("cancel", target=number)
        shared.end_of(number)
        job = shared.new_job()
        write_nrrd(job / "labels.nrrd", ball()[1].with_voxels(np.where(ball()[1].voxels == 1, 2, 0).astype(np.uint8)))

        fields = fine_tune_fields(job, "other-labels", steps=2, resume=True)
        answer = shared.ask("fine_tune", **(fields | {"structures": []}))

        assert answer["kind"] == "user"
        assert "belongs to other images, annotated slices or structures" in answer["message"]

    def test_a_model_is_never_overwritten(self, shared: Child, model: str) -> None:
        answer = shared.ask("fine_tune", **fine_tune_fields(shared.new_job(), model, steps=2))

        assert "already holds a model" in answer["message"]
        shared.store.verify(model)

    def test_previews_come_while_it_learns(self, shared: Child) -> None:
        job = shared.new_job()
        number = shared.start_training("previewed", job, preview_s=1.0)

        first = shared.until(lambda event: event["event"] == "preview")
        labels = read_nrrd(job / first["segmentation"])
        second = shared.until(lambda event: event["event"] == "preview")
        shared.request("cancel", target=number)

        assert first["id"] == number
        assert labels.voxels.dtype == np.uint8
        assert labels.shares_grid_with(ball()[0])
        assert second["segmentation"] != first["segmentation"]
        assert shared.end_of(number)["resumable"] is True


@pytest.mark.slow
class TestCancel:
    def test_nothing_to_cancel_is_no_error(self, shared: Child) -> None:
        assert shared.ask("cancel", target=12345)["found"] is False
        assert shared.ask("cancel", target="x")["found"] is False

    def test_a_cancel_is_prompt_even_while_the_first_model_is_being_loaded(self, start: Callable[..., Child]) -> None:
        child = start()
        job = child.new_job()
        number = child.request("segment", **box_fields(job))
        asked = time.monotonic()
        cancel = child.request("cancel", target=number)

        assert child.end_of(cancel)["found"] is True
        end = child.end_of(number)

        assert time.monotonic() - asked < PROMPT_S
        assert end["event"] == "cancelled"
        assert end["message"] == "Segmentation was cancelled; nothing was written."
        assert end["resumable"] is False
        assert child.ask("segment", **box_fields(job))["event"] == "result"

    def test_a_segmentation_cancelled_halfway_writes_nothing(self, start: Callable[..., Child]) -> None:
        child = start()
        job = child.new_job()
        number = child.request("segment", **box_fields(job))
        child.until(lambda event: event.get("phase") == "Segmenting ball")
        asked = time.monotonic()
        child.request("cancel", target=number)

        assert child.end_of(number)["event"] == "cancelled"
        assert time.monotonic() - asked < PROMPT_S
        assert child.ask("models", action="list")["event"] == "result"
        assert sorted(each.name for each in job.iterdir()) == ["image.nrrd", "labels.nrrd"]

    def test_a_training_cancelled_before_it_began_leaves_nothing(self, shared: Child) -> None:
        number = shared.request("fine_tune", **fine_tune_fields(shared.new_job(), "early", steps=100_000))
        shared.request("cancel", target=number)

        end = shared.end_of(number)

        assert (end["event"], end["resumable"]) == ("cancelled", False)
        assert end["message"] == "Fine-tuning was cancelled before there was anything to keep."
        assert eventually(lambda: not (shared.store.folder / "early").exists())


class TestModels:
    def test_every_action_on_models(self, shared: Child, model: str, tmp_path: Path) -> None:
        def ask(action: str, **fields: Any) -> dict[str, Any]:
            answer = shared.ask("models", action=action, **fields)
            assert answer["event"] == "result", answer
            return answer

        ask("export", name=model, path=tmp_path / "ball.zip")
        assert ask("import", path=tmp_path / "ball.zip", name="copy")["name"] == "copy"
        ask("verify", name="copy")
        assert ask("activate", name=model)["active"] == model
        assert ask("activate", name="copy")["active"] == "copy"
        assert ask("roll_back") == {"id": shared._last_id, "event": "result", "active": model, "name": model}
        assert ask("rename", name=model, new_name="round")["active"] == "round"
        assert {"copy", "round"} <= {each["name"] for each in ask("list")["models"]}
        ask("rename", name="round", new_name=model)
        ask("remove", name="copy")
        assert not shared.store.has("copy")

    def test_what_does_not_work_is_one_sentence(self, shared: Child, tmp_path: Path) -> None:
        (tmp_path / "bad.zip").write_bytes(b"nonsense")

        assert "no zip of a model" in shared.ask("models", action="import", path=tmp_path / "bad.zip")["message"]
        assert 'no model "nobody"' in shared.ask("models", action="remove", name="nobody")["message"]


@pytest.mark.slow
class TestEnd:
    def test_shutdown_is_answered_and_leaves_nothing(self, start: Callable[..., Child]) -> None:
        child = start()
        child.new_job()

        assert child.ask("shutdown")["event"] == "result"

        assert child.wait() == 0
        assert list((child.home / "jobs").iterdir()) == []

    def test_the_end_of_input_ends_a_training_with_a_checkpoint(self, start: Callable[..., Child]) -> None:
        child = start()
        child.start_training("orphan")
        assert child.process.stdin is not None
        child.process.stdin.close()

        assert child.wait() == 0
        assert child.store.unfinished() == ("orphan",)
        assert list((child.home / "jobs").iterdir()) == []

    def test_sigterm_ends_it_like_a_shutdown(self, start: Callable[..., Child]) -> None:
        child = start()
        child.process.send_signal(signal.SIGTERM)

        assert child.wait() == 0
        assert list((child.home / "jobs").iterdir()) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
    def test_the_death_of_the_parent_ends_it_although_its_input_stays_open(self, start: Callable[..., Child]) -> None:
        program = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
        child = start(greet=False, command=[sys.executable, "-c", program])
        folder = Path(child.greet()["job_folder"])
        worker = int(folder.name.split("-")[2])
        child.start_training("left-alone")
        assert worker != child.process.pid

        child.process.kill()

        assert eventually(lambda: is_gone(worker))
        assert not folder.exists()
        assert child.store.unfinished() == ("left-alone",)

    def test_a_panel_that_no_longer_listens_ends_it(self, start: Callable[..., Child]) -> None:
        child = start()
        child.start_training("unheard")

        child.stop_listening()

        assert child.wait() == 0
        assert child.store.unfinished() == ("unheard",)

    def test_images_of_a_killed_worker_are_swept_by_the_next(self, start: Callable[..., Child]) -> None:
        killed = start()
        left = killed.new_job().parent
        killed.process.kill()
        killed.wait()
        assert any(left.rglob("image.nrrd"))

        living = start()

        assert not left.exists()
        kept = Path(living.greet()["job_folder"])
        third = start()
        assert kept.exists()
        assert Path(third.greet()["job_folder"]).exists()

    def test_a_job_folder_that_cannot_be_made_is_told_with_exit_code_2(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        ended = subprocess.run(
            [sys.executable, "-m", "uncol", "worker", "--jobs", str(tmp_path / "file"), "--models", str(tmp_path)],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

        assert ended.returncode == 2
        assert "The worker cannot make its job folder" in ended.stderr
        assert ended.stdout.strip() == ""
