"""What happens to runs of minutes, with real workers: windows beside each other, kills, sleep, a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from parameters import Parameters

from UnCoLSegmentLib.Engine.EngineProcess import EngineProcess, engineCommand, engineEnvironment
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Scene.AnnotatedSlices import markSlices
from UnCoLSegmentLib.SelfTest import LoopDriver, makePhantomVolume

pytestmark = [pytest.mark.soak, pytest.mark.skipif(sys.platform == "win32", reason="these tests send POSIX signals")]

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
PATIENCE_S = 600.0
MANY_STEPS = 100_000


class Window:
    """A window of Slicer with a worker of its own and a patient, on a store that others share."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        folders = {name: folder / name for name in ("models", "cache", "jobs")}
        command = engineCommand(*(each for name, path in folders.items() for each in (f"--{name}", str(path))))
        variables = {**engineEnvironment(MODULE_FOLDER), "OMP_NUM_THREADS": "1", **(environment or {})}
        self.engine = EngineProcess(command, variables)
        self.logic = Logic(folder / "models", self.engine)
        volume, truth = makePhantomVolume()
        self.parameters = Parameters(inputVolume=volume)
        self.driver = LoopDriver(self.logic, self.parameters, truth, idle=lambda: None)
        self.driver.drawBox()
        self.told: list[tuple[str, Any]] = []
        self.logic.finished.connect(lambda result: self.told.append(("finished", result)))
        self.logic.failed.connect(lambda message, _details: self.told.append(("failed", message)))
        self.logic.cancelled.connect(lambda message: self.told.append(("cancelled", message)))
        self.steps: list[int] = []
        self.logic.progressed.connect(lambda progress: self.steps.append(progress.step or 0))

    def until(self, condition: Callable[[], Any]) -> Any:
        return until(condition, self)

    def end(self) -> tuple[str, Any]:
        self.until(lambda: self.told)
        return self.told.pop()

    def checkpoints(self) -> list[Path]:
        return list(self.logic.store.folder.glob("*/checkpoint.safetensors"))


def until(condition: Callable[[], Any], *windows: Window) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (met := condition()):
        assert time.monotonic() < deadline, f"waited in vain; told {[each.told for each in windows]}"
        for each in windows:
            each.logic.poll()
        time.sleep(0.02)
    return met


@pytest.fixture
def openWindow(scene: Any, tmp_path: Path) -> Iterator[Callable[..., Window]]:
    opened: list[Window] = []

    def open_(**environment: str) -> Window:
        opened.append(Window(tmp_path, environment))
        return opened[-1]

    yield open_
    for each in opened:
        each.logic.shutdown()
        each.engine.stop(0)


def test_two_windows_that_learn_at_once_end_with_a_model_each(openWindow: Callable[..., Window]) -> None:
    first, second = windows = openWindow(), openWindow()
    for window, steps in zip(windows, (12, 16), strict=True):
        window.driver.annotate([5, 8, 11])
        window.logic.fineTune(window.parameters, steps=steps)

    until(lambda: first.told and second.told, *windows)

    store = first.logic.store
    assert [kind for kind, _result in first.told + second.told] == ["finished", "finished"]
    assert {each.name: each.training["steps"] for each in store.list()} == {"liver": 12, "liver-2": 16}
    assert [window.told[0][1].modelName for window in windows] == ["liver", "liver-2"]
    for name in store.names():
        store.verify(name)


KILLED = """
import sys, time
sys.path[:0] = sys.argv[2:]
import stand_ins
from host import Host
from pathlib import Path
from test_long_runs import Window

with Host():
    window = Window(Path(sys.argv[1]))
    window.driver.annotate([5, 8, 11])
    window.logic.previewEvery_s = 2.0
    window.logic.fineTune(window.parameters, minutes_or_steps)
    window.until(window.checkpoints)
    print(window.engine.processId, flush=True)
    window.until(lambda: False)
""".replace("minutes_or_steps", str(MANY_STEPS))


def test_the_run_of_a_killed_slicer_is_offered_by_the_next(
    openWindow: Callable[..., Window], tmp_path: Path, wait_until_gone: Callable[..., None]
) -> None:
    paths = [str(MODULE_FOLDER), str(MODULE_FOLDER.parent / "Testing" / "host"), str(Path(__file__).parent)]
    slicer = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert slicer.stdout is not None
    line = slicer.stdout.readline()
    slicer.kill()
    said = slicer.communicate()[1]
    assert line, said
    wait_until_gone(int(line), timeout_s=60)

    window = openWindow()
    window.driver.annotate([5, 8, 11])  # as in the scene that was saved before the click

    [run] = window.logic.store.unfinished()
    assert run.steps > 0
    assert run.origin.volume == window.parameters.inputVolume.GetName()
    assert window.logic.whyNotResume(window.parameters) == ""
    window.logic.resumeFineTune(window.parameters, steps=run.steps + 5)
    kind, result = window.end()
    assert (kind, result.modelName) == ("finished", run.name)
    assert window.logic.store.entry(run.name).training["steps"] >= run.steps


def test_slept_time_is_no_learning_time(openWindow: Callable[..., Window]) -> None:
    window = openWindow()
    window.driver.annotate([5, 8, 11])
    window.parameters.minutes = 0.6
    window.logic.fineTune(window.parameters)
    window.until(lambda: window.told or max(window.steps, default=0) >= 3)
    assert not window.told
    before = max(window.steps)

    os.kill(window.engine.processId, signal.SIGSTOP)
    time.sleep(0.6 * 60 + 10)
    os.kill(window.engine.processId, signal.SIGCONT)
    kind, result = window.end()

    assert kind == "finished"
    training = window.logic.store.entry(result.modelName).training
    assert training["steps"] > 2 * before
    assert training["seconds"] < 0.6 * 60 + 10


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit the files of another process")
def test_a_disk_that_fills_up_while_it_learns_costs_nothing_that_was_saved(openWindow: Callable[..., Window]) -> None:
    import resource

    window = openWindow()
    window.driver.annotate([5, 8, 11])
    window.logic.previewEvery_s = 2.0
    window.logic.fineTune(window.parameters, steps=MANY_STEPS)
    window.until(window.checkpoints)
    before = resource.prlimit(window.engine.processId, resource.RLIMIT_FSIZE)
    resource.prlimit(window.engine.processId, resource.RLIMIT_FSIZE, (4096, before[1]))
    kind, message = window.end()
    resource.prlimit(window.engine.processId, resource.RLIMIT_FSIZE, before)

    assert kind == "failed"
    assert message == (
        f'"{window.checkpoints()[0].parent}" could not be written (File too large). Free some space there, or make the '
        "folder writable, and try again; what was there before is kept. What was learned is saved; Resume goes on from "
        "there."
    )
    [run] = window.logic.store.unfinished()
    window.logic.resumeFineTune(window.parameters, steps=run.steps + 5)
    assert window.end()[0] == "finished"


def test_a_job_folder_that_was_swept_while_slicer_stayed_open_is_made_anew(openWindow: Callable[..., Window]) -> None:
    window = openWindow()
    window.logic.segment(window.parameters)
    assert window.end()[0] == "finished"
    worker = window.engine.processId
    shutil.rmtree(window.engine.greeting.job_folder)

    window.logic.segment(window.parameters)

    kind, result = window.end()
    assert (kind, result.message.partition(":")[0]) == ("finished", "Proposed"), result
    assert window.engine.processId != worker


def test_an_engine_that_starts_slowly_is_cancelled_at_once_and_serves_the_next_click(
    openWindow: Callable[..., Window], tmp_path: Path
) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text("import time; time.sleep(15)\n")
    window = openWindow(PYTHONPATH=f"{tmp_path / 'slow'}{os.pathsep}{MODULE_FOLDER}")
    window.logic.segment(window.parameters)
    window.until(lambda: window.engine.isRunning)
    worker, began = window.engine.processId, time.monotonic()

    window.logic.cancel()

    assert window.end() == ("cancelled", "Cancelled.")
    assert time.monotonic() - began < 1.5
    assert window.logic.state is RunState.IDLE
    window.logic.segment(window.parameters)
    assert window.end()[0] == "finished"
    assert window.engine.processId == worker


PEOPLE_WRITE = [
    "Übergangszone",
    "\N{ANATOMICAL HEART} Herz",
    "a/b",
    "x, y; z",
    "k=v",
    '"quoted"',
    "肝臓",
    "a\ttab",
    "L" * 300,
]


def test_a_worker_in_folders_as_people_name_them_learns_structures_as_people_name_them(
    scene: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "Größe \N{EN DASH} Köln 名"
    folder.mkdir()
    window = Window(folder, {"LC_ALL": "C", "LANG": "C", "TMPDIR": str(folder)})
    try:
        window.driver.annotate([5, 8, 11])
        node, volume = window.parameters.segmentation, window.parameters.inputVolume
        segments = node.GetSegmentation()
        liver = slicer.util.arrayFromSegmentBinaryLabelmap(node, segments.GetNthSegmentID(0), volume).copy()
        segments.RemoveAllSegments()
        inside = np.flatnonzero(liver.any(axis=(0, 1)))
        colors = [(number / 10, 0.5, 0.25) for number in range(len(PEOPLE_WRITE))]
        for columns, name, color in zip(np.array_split(inside, len(PEOPLE_WRITE)), PEOPLE_WRITE, colors, strict=True):
            segmentId = segments.AddEmptySegment("", name, color)
            part = np.zeros_like(liver)
            part[:, :, columns] = liver[:, :, columns]
            slicer.util.updateSegmentBinaryLabelmapFromArray(part, node, segmentId, volume)
        markSlices(node, volume, [("K", index) for index in (5, 8, 11)], True)
        window.logic.fineTune(window.parameters, steps=6)

        kind, result = window.end()

        assert kind == "finished", result
        store, proposal = window.logic.store, window.parameters.proposal.GetSegmentation()
        assert [each.name for each in store.entry(result.modelName).structures] == PEOPLE_WRITE
        shown = [proposal.GetNthSegment(number) for number in range(len(PEOPLE_WRITE))]
        assert [each.GetName() for each in shown] == PEOPLE_WRITE
        assert np.allclose([each.GetColor() for each in shown], colors)
        store.export_zip(result.modelName, folder / "für Köln.zip")
        assert (folder / "für Köln.zip").is_file()
    finally:
        window.logic.shutdown()
        window.engine.stop(0)
