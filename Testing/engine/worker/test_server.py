"""The worker as the panel meets it: its greeting, its lines, how it is cancelled, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worker_child import (
    ENGINE_FOLDER,
    PATIENCE_S,
    PROMPT_S,
    Child,
    box_fields,
    child_environment,
    fine_tune_fields,
    needs_posix,
)

from uncol.core.jobs import Case, FineTuneJob, FineTuneResult, SegmentResult
from uncol.core.progress import Progress
from uncol.core.protocol import LINE_LIMIT_BYTES, PROTOCOL
from uncol.core.volume_files import VolumeFile
from uncol.worker.channel import Channel
from uncol.worker.job_folder import JobFolder
from uncol.worker.running_job import RunningJob
from uncol.worker.server import Worker, WorkerSettings

VOLUME = VolumeFile(Path("a.npy"), ((1.0, 0.0, 0.0, 0.0),) * 4)
pytestmark = needs_posix


def eventually(holds: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


class TestGreeting:
    def test_hello_tells_what_the_panel_needs(self, shared: Child) -> None:
        greeting = shared.ask("hello", protocol=PROTOCOL)

        assert greeting["protocol"] == PROTOCOL
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", greeting["uncol"])
        assert greeting["devices"][-1] == "cpu"
        assert greeting["teachers"] == ["LiteMedSAM"]
        assert [each["device"] for each in greeting["graphics_cards"]] == greeting["devices"][:-1]

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

        early = child.ask("cancel", target=1)
        other = child.ask("hello", protocol=1)
        still = child.ask("cancel", target=1)

        assert early["kind"] == still["kind"] == "user"
        wanted = f'The first request must be {{"op": "hello", "protocol": {PROTOCOL}}}.'
        assert early["message"] == still["message"] == wanted
        told = f"This engine speaks version {PROTOCOL} of the messages, version 1 was asked for."
        assert other["message"].startswith(told)
        assert child.greet()["event"] == "greeting"
        assert child.is_alive()


def test_a_worker_loads_only_what_it_needs() -> None:
    program = "import sys, uncol.worker.__main__; print(*sys.modules)\n"
    program += "import uncol.worker.job_runner; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], env=child_environment(), capture_output=True, text=True, check=True
    )
    to_greet, to_work = ({*line.split()} for line in ended.stdout.splitlines())

    assert "uncol.worker.server" in to_greet
    assert not to_greet & {"matplotlib", "monai", "typer", "rich"}
    assert "uncol.pipelines.fine_tune" in to_work
    assert not to_work & {"typer", "rich"}
    assert not to_work & {f"uncol.{room}" for room in ("cli", "demo", "benchmark")}


GARBAGE: list[Any] = [
    pytest.param(b"", None, "not JSON", id="empty line"),
    pytest.param(b"hello", None, "not JSON", id="a word"),
    pytest.param(b'{"id": 5, "op": "hello"', None, "not JSON", id="cut off"),
    pytest.param(b"\xff\xfe\x00", None, "not JSON", id="no text"),
    pytest.param(b"[" * 100_000, None, "not JSON", id="deeply nested"),
    pytest.param(b"[1]", None, "not a JSON object", id="a list"),
    pytest.param(b"null", None, "not a JSON object", id="null"),
    pytest.param(b"x" * (LINE_LIMIT_BYTES + 1), None, f"longer than {LINE_LIMIT_BYTES} bytes", id="too long"),
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
        assert shared.is_alive()

    @pytest.mark.parametrize(
        ("op", "fields", "sentence"),
        [
            ("hello", {"protocol": 2, "color": 2}, 'Request "hello" has no field "color". Known fields: protocol.'),
            ("shutdown", {"now": True}, 'Request "shutdown" has no field "now". Known fields: none.'),
            ("hello", {}, 'Request "hello" lacks the field "protocol".'),
            ("hello", {"protocol": "1"}, 'field "protocol": a whole number is needed, got "1".'),
            ("cancel", {}, 'lacks the field "target"'),
            ("segment", {"image": "a"}, 'lacks the field "out"'),
            ("segment", {"out": "a", "image": 3, "model": "m"}, 'field "image" must be a JSON object, got 3.'),
            ("segment", {"out": "a", "image": {"file": "b"}, "model": "m"}, 'image" lacks the field "ijk_to_ras"'),
            ("segment", {"out": 3, "image": "b", "model": "m"}, 'field "out": a text is needed, got 3.'),
            ("segment", {"out": "a\0b", "image": "b", "model": "m"}, "a text is needed"),
            ("segment", {"out": "a", "image": "b"}, "exactly one of a model (--model), boxes (--box) or slices"),
            ("segment", {"out": "a", "image": "b", "model": "m", "labels": "l"}, "exactly one of"),
            ("segment", {"out": "a", "image": "b", "model": "m", "device": "tpu"}, "one of auto, cpu, cuda, mps"),
            ("segment", {"out": "a", "image": "b", "boxes": {}}, "a list is needed"),
            ("segment", {"out": "a", "image": "b", "boxes": [5]}, 'field "boxes" must be a JSON object, got 5.'),
            (
                "segment",
                {"out": "a", "image": "b", "boxes": [{"structure": "x", "lower_ijk": [0, 0], "upper_ijk": [1, 1, 1]}]},
                "three whole numbers",
            ),
            (
                "segment",
                {
                    "out": "a",
                    "image": "b",
                    "boxes": [{"structure": "x", "lower_ijk": [2, 0, 0], "upper_ijk": [1, 1, 1]}],
                },
                'Box of "x" is empty',
            ),
            (
                "segment",
                {"out": "a", "image": "b", "model": "m", "structures": [{"value": 0, "name": "x"}]},
                "label value 0; use 1 to 254",
            ),
            ("fine_tune", {"cases": [], "out": "m"}, "nothing to learn from"),
            ("fine_tune", {"cases": [{"image": "b"}], "out": "m"}, 'lacks the field "labels"'),
            ("fine_tune", fine_tune_fields(Path("a"), "m", minutes=float("nan")), "a number is needed"),
            ("fine_tune", fine_tune_fields(Path("a"), "m", resume=1), "true or false"),
            ("fine_tune", fine_tune_fields(Path("a"), "m", preview_s=0), "preview_s must be above 0"),
            ("fine_tune", fine_tune_fields(Path("a"), "m") | {"seed": -1}, "seed must be a whole number from 0"),
        ],
    )
    def test_a_request_that_is_not_understood_says_what_is_wrong(
        self, shared: Child, op: str, fields: dict[str, Any], sentence: str
    ) -> None:
        answer = shared.ask(op, **fields)

        assert (answer["event"], answer["kind"]) == ("error", "user")
        assert sentence in answer["message"]

    def test_an_end_that_cannot_be_written_as_a_line_is_told_all_the_same(self, tmp_path: Path) -> None:
        incoming, outgoing = os.pipe()
        settings = WorkerSettings(tmp_path, tmp_path, tmp_path)
        worker = Worker(Channel(incoming, outgoing, LINE_LIMIT_BYTES), JobFolder.make(tmp_path), settings)
        ended = RunningJob(7, FineTuneJob((Case(tmp_path, tmp_path),), tmp_path), worker._send, worker._release)
        unwritable: dict[str, Any] = {"training": {1, 2}}

        ended.tell(Progress("p", 0.5, losses=unwritable))
        ended.end(FineTuneResult(tmp_path, (), unwritable, SegmentResult(VOLUME, VOLUME, {})))

        news, end = (json.loads(line) for line in os.read(incoming, 1 << 20).splitlines())
        assert (news["id"], news["event"], news["kind"]) == (None, "error", "bug")
        assert (end["id"], end["event"], end["kind"]) == (7, "error", "bug")
        assert "TypeError" in end["message"]

    def test_lines_may_arrive_in_pieces_and_several_at_once(self, shared: Child) -> None:
        assert shared.process.stdin is not None
        line = b'{"id": "x-1", "op": "cancel", "target": 1}\r\n'
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
            assert child.is_alive()
            time.sleep(0.02)

        assert eventually(lambda: b"from a child" in child.errors)
        assert b"from Python" in child.errors
        assert b"from C" in child.errors
        assert child.first_line == b"printed early\n"


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
        assert child.ask("segment", **box_fields(job))["event"] == "segment_result"

    def test_a_segmentation_cancelled_halfway_writes_nothing(self, start: Callable[..., Child]) -> None:
        child = start()
        job = child.new_job()
        number = child.request("segment", **box_fields(job))
        child.until(lambda event: event.get("phase") == "Segmenting ball")
        asked = time.monotonic()
        child.request("cancel", target=number)

        assert child.end_of(number)["event"] == "cancelled"
        assert time.monotonic() - asked < PROMPT_S
        assert child.is_alive()
        assert sorted(each.name for each in job.iterdir()) == ["image.npy", "labels.npy"]

    def test_a_training_cancelled_before_it_began_leaves_nothing(self, shared: Child) -> None:
        number = shared.request("fine_tune", **fine_tune_fields(shared.new_job(), "early", steps=100_000))
        shared.request("cancel", target=number)

        end = shared.end_of(number)

        assert (end["event"], end["resumable"]) == ("cancelled", False)
        assert end["message"] == "Fine-tuning was cancelled before there was anything to keep."
        assert eventually(lambda: not (shared.store.folder / "early").exists())


@pytest.mark.slow
class TestEnd:
    def test_shutdown_is_answered_and_leaves_nothing(self, start: Callable[..., Child]) -> None:
        child = start()
        child.new_job()

        assert child.ask("shutdown")["event"] == "shutdown_result"

        assert child.wait() == 0
        assert list((child.home / "jobs").iterdir()) == []

    def test_the_end_of_input_ends_a_training_with_a_checkpoint(self, start: Callable[..., Child]) -> None:
        child = start()
        child.start_training("orphan")
        assert child.process.stdin is not None
        child.process.stdin.close()

        assert child.wait() == 0
        assert child.store.has_unfinished("orphan")
        assert list((child.home / "jobs").iterdir()) == []

    def test_sigterm_ends_it_like_a_shutdown(self, start: Callable[..., Child]) -> None:
        child = start()
        child.process.send_signal(signal.SIGTERM)

        assert child.wait() == 0
        assert list((child.home / "jobs").iterdir()) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
    def test_the_death_of_the_parent_ends_it_although_its_input_stays_open(
        self, start: Callable[..., Child], wait_until_gone: Callable[..., None]
    ) -> None:
        program = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
        child = start(greet=False, command=[sys.executable, "-c", program])
        folder = Path(child.greet()["job_folder"])
        worker = int(folder.name.split("-")[2])
        child.start_training("left-alone")
        assert worker != child.process.pid

        child.process.kill()

        wait_until_gone(worker)
        assert not folder.exists()
        assert child.store.has_unfinished("left-alone")

    def test_a_panel_that_no_longer_listens_ends_it(self, start: Callable[..., Child]) -> None:
        child = start()
        child.start_training("unheard")

        child.stop_listening()

        assert child.wait() == 0
        assert child.store.has_unfinished("unheard")

    def test_images_of_a_killed_worker_are_swept_by_the_next(self, start: Callable[..., Child]) -> None:
        killed = start()
        left = killed.new_job().parent
        killed.process.kill()
        killed.wait()
        assert any(left.rglob("image.npy"))

        living = start()

        assert not left.exists()
        kept = Path(living.greet()["job_folder"])
        third = start()
        assert kept.exists()
        assert Path(third.greet()["job_folder"]).exists()

    def test_a_job_folder_that_cannot_be_made_is_told_with_exit_code_2(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        options = ("--jobs", str(tmp_path / "file"), "--models", str(tmp_path), "--cache", str(tmp_path))
        ended = subprocess.run(
            [sys.executable, "-m", "uncol.worker", *options],
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
