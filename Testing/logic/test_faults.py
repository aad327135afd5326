"""What can go wrong in mid-run, with a real worker and a real scene: nothing is lost, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer
import slicer.util
from as_slicer_waits import waitAsSlicer

from UnCoLSegmentLib.Engine.EngineProcess import EngineProcess, engineEnvironment
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Scene import Preview

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
PATIENCE_S = 120.0
MANY_STEPS = 5000


class Watch:
    """Everything that a logic told, and a loop that polls it."""

    def __init__(self, logic: Logic) -> None:
        self.logic = logic
        self.told: list[tuple[str, Any]] = []
        logic.finished.connect(lambda result: self.told.append(("finished", result)))
        logic.failed.connect(lambda message, details: self.told.append(("failed", message)))
        logic.cancelled.connect(lambda message: self.told.append(("cancelled", message)))
        self.progresses: list[Any] = []
        logic.progressed.connect(self.progresses.append)

    def until(self, condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; told so far: {self.told}"
            self.logic.poll()
            waitAsSlicer(20)

    def untilTold(self) -> tuple[str, Any]:
        self.until(lambda: self.told)
        assert self.logic.state is RunState.IDLE
        return self.told.pop()

    def untilPhase(self, part: str) -> None:
        self.until(lambda: any(part in each.phase for each in self.progresses) or self.told)
        assert not self.told, self.told


@pytest.fixture
def watch(logic: Logic) -> Watch:
    return Watch(logic)


@pytest.fixture
def annotated(drive) -> Any:
    """A user who has annotated three slices."""
    drive.annotate([5, 8, 11])
    return drive


def waitUntil(condition: Callable[[], Any], patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_second_run_is_refused_with_a_reason_and_the_first_goes_on(drive, watch) -> None:
    drive.logic.segment(drive.parameters)

    drive.logic.segment(drive.parameters)

    assert watch.told.pop() == ("failed", "A run is under way. Wait for its end, or cancel it.")
    assert drive.logic.whyNotFineTune(drive.parameters) == "A run is under way. Wait for its end, or cancel it."
    assert watch.untilTold()[0] == "finished"


@pytest.mark.parametrize("phase", ["at the start", "in mid-run"])
def test_a_killed_worker_is_told_in_a_sentence_and_the_next_run_gets_a_new_one(drive, watch, engine, phase) -> None:
    if phase == "at the start":
        engine.stop(0)
    drive.logic.segment(drive.parameters)
    if phase == "in mid-run":
        watch.until(lambda: watch.progresses)
    watch.until(lambda: engine.isRunning)
    os.kill(engine.processId, signal.SIGKILL)

    kind, message = watch.untilTold()

    assert kind == "failed"
    assert message.startswith("The engine " + ("could not be started" if phase == "at the start" else "stopped"))
    assert drive.parameters.proposal is None
    drive.logic.segment(drive.parameters)
    assert watch.untilTold()[0] == "finished"


@pytest.mark.slow
def test_a_worker_killed_while_it_learns_leaves_a_run_that_can_be_resumed(annotated, watch, engine) -> None:
    parameters = annotated.parameters
    annotated.logic.previewEvery_s = 2.0  # a checkpoint is written as often
    annotated.logic.fineTune(parameters, steps=MANY_STEPS)
    watch.until(lambda: list((engine.folder / "models").glob("*/checkpoint.safetensors")))
    watch.until(previews)  # what was learned so far
    os.kill(engine.processId, signal.SIGKILL)

    assert watch.untilTold()[0] == "failed"

    assert not previews()
    assert annotated.logic.whyNotResume(parameters) == ""
    watch.progresses.clear()
    annotated.logic.resumeFineTune(parameters, steps=MANY_STEPS)
    watch.until(lambda: watch.told or any(each.step for each in watch.progresses))
    firstStep = next(each.step for each in watch.progresses if each.step)
    annotated.logic.cancel()
    assert watch.untilTold()[0] == "cancelled"
    assert firstStep > 1


def previews() -> list[Any]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute(Preview.ATTRIBUTE)]


@pytest.mark.slow
def test_a_cancelled_fine_tune_ends_within_a_second_and_can_be_resumed(annotated, watch, jobFolders) -> None:
    parameters = annotated.parameters
    annotated.logic.fineTune(parameters, steps=MANY_STEPS)
    watch.until(lambda: previews() and any(each.step for each in watch.progresses))

    began = time.monotonic()
    annotated.logic.cancel()
    assert annotated.logic.state is RunState.CANCELLING
    kind, message = watch.untilTold()

    assert kind == "cancelled"
    assert time.monotonic() - began < 2.5  # one second by contract, more on a machine that is shared
    best = "The proposal is the best that was found so far."
    assert message == f"Cancelled. {best} What was learned is saved; Resume goes on from there."
    assert annotated.dice() > 0.8
    assert not previews()
    assert annotated.logic.whyNotResume(parameters) == ""
    waitUntil(lambda: not jobFolders())


@pytest.mark.parametrize("when", ["before the worker is there", "while it works"])
def test_a_cancelled_segmentation_changes_nothing_in_the_scene(drive, watch, engine, jobFolders, when: str) -> None:
    nodesBefore = slicer.mrmlScene.GetNumberOfNodes()
    if when == "before the worker is there":
        engine.stop(0)
    drive.logic.segment(drive.parameters)
    if when == "while it works":
        watch.until(lambda: watch.progresses)

    drive.logic.cancel()

    assert watch.untilTold() == ("cancelled", "Cancelled.")
    assert slicer.mrmlScene.GetNumberOfNodes() == nodesBefore
    waitUntil(lambda: not jobFolders())


def test_a_closed_scene_ends_the_run_and_the_worker_stays_for_the_next(drive, watch, engine, jobFolders) -> None:
    drive.logic.segment(drive.parameters)
    watch.until(lambda: watch.progresses)
    worker = engine.processId

    slicer.mrmlScene.Clear(False)

    assert watch.untilTold() == ("cancelled", "The scene was closed, so the run was stopped.")
    assert engine.processId == worker
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    waitUntil(lambda: not jobFolders())


def test_a_removed_volume_ends_the_run(drive, watch) -> None:
    drive.logic.segment(drive.parameters)
    watch.until(lambda: watch.progresses)

    slicer.mrmlScene.RemoveNode(drive.parameters.inputVolume)

    assert watch.untilTold() == ("cancelled", 'The volume "Phantom" was removed, so the run was stopped.')


def test_another_removed_node_does_not_matter(drive, watch) -> None:
    drive.logic.segment(drive.parameters)
    watch.until(lambda: watch.progresses)

    slicer.mrmlScene.RemoveNode(drive.parameters.roi)

    assert watch.untilTold()[0] == "finished"


def test_a_closed_panel_leaves_no_process(drive, watch, engine, wait_until_gone) -> None:
    drive.logic.segment(drive.parameters)
    watch.until(lambda: watch.progresses)
    worker = engine.processId

    began = time.monotonic()
    drive.logic.shutdown()

    assert time.monotonic() - began < 0.1  # the main thread is not kept
    assert drive.logic.state is RunState.IDLE
    assert watch.told == []
    wait_until_gone(worker)


def test_a_worker_without_its_packages_says_so(drive, tmp_path: Path) -> None:
    engine = EngineProcess([sys.executable, "-c", "import not_installed"], engineEnvironment(MODULE_FOLDER))
    logic = Logic(tmp_path, engine)
    watch = Watch(logic)
    logic.segment(drive.parameters)

    kind, message = watch.untilTold()

    assert kind == "failed"
    assert message == "The Python package not_installed cannot be loaded. Click again to install it anew."


BABBLING_WORKER = """
import os, sys
print("Traceback", "{}", '{"id": 1}', sep="\\n", flush=True)
sys.stdout.buffer.write(bytes(range(256)) + b"\\n")
sys.stdout.flush()
os.execv(sys.executable, [sys.executable, "-m", "uncol.worker", *sys.argv[1:]])
"""


def test_garbage_on_the_workers_output_is_passed_over(drive, engine, tmp_path: Path) -> None:
    """A real worker behind a wrapper that babbles first, on the same standard output."""
    engine.stop()
    folders = ["--models", str(tmp_path / "models"), "--cache", str(engine.folder / "cache")]
    babbling = EngineProcess([sys.executable, "-c", BABBLING_WORKER, *folders], engineEnvironment(MODULE_FOLDER))
    logic = Logic(tmp_path / "models", babbling)
    watch = Watch(logic)
    logic.segment(drive.parameters)

    kind, result = watch.untilTold()
    logic.shutdown()

    assert kind == "finished", result


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_is_a_sentence_and_no_half_result(drive, watch, engine, jobFolders) -> None:
    import resource

    engine.start()
    watch.until(lambda: engine.greeting)
    drive.logic.segment(drive.parameters)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        kind, message = watch.untilTold()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert kind == "failed"
    assert "image.npy" in message or "File too large" in message
    assert drive.parameters.proposal is None
    waitUntil(lambda: not jobFolders())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit the files of another process")
def test_a_disk_that_is_full_for_the_worker_is_a_sentence_and_the_worker_lives_on(drive, watch, engine) -> None:
    import resource

    engine.start()
    watch.until(lambda: engine.greeting)
    worker = engine.processId
    before = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    drive.logic.segment(drive.parameters)
    watch.until(lambda: watch.progresses)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (4096, before[1]))

    kind, message = watch.untilTold()

    resource.prlimit(worker, resource.RLIMIT_FSIZE, before)
    assert kind == "failed"
    assert "segmentation.npy" in message
    assert drive.parameters.proposal is None
    drive.logic.segment(drive.parameters)
    assert watch.untilTold()[0] == "finished"
    assert engine.processId == worker


QUIT = """
import os, signal, sys, time
sys.path[:0] = sys.argv[2:]
import stand_ins
from host import Host
from pathlib import Path
from as_slicer_waits import waitAsSlicer
from parameters import Parameters
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Scene import Preview
from UnCoLSegmentLib.SelfTest import LoopDriver, makePhantomVolume

def main():
    host = Host()
    volume, truth = makePhantomVolume()
    logic = Logic(Path(sys.argv[1]))
    driver = LoopDriver(logic, Parameters(inputVolume=volume), truth, idle=lambda: None)
    driver.drawBox()
    seen = []
    logic.progressed.connect(seen.append)
    logic.segment(driver.parameters)
    while not seen:
        logic.poll()
        waitAsSlicer(20)
    print(logic.engine.processId, flush=True)
    END

main()
"""


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("sys.exit()", id="quits"),
        pytest.param("logic.shutdown(); sys.exit()", id="closes the panel and quits at once, as Slicer does"),
        pytest.param("host.close(); raise AssertionError('a mistake')", id="closes the scene and quits after an error"),
        pytest.param("os._exit(3)", id="crashes"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", id="is killed"),
    ],
)
def test_an_application_that_ends_in_mid_run_leaves_no_process(end: str, tmp_path: Path, wait_until_gone) -> None:
    paths = [str(MODULE_FOLDER), str(MODULE_FOLDER.parent / "Testing" / "host")]
    command = [sys.executable, "-c", QUIT.replace("END", end), str(tmp_path / "models"), *paths]

    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    worker = int(ended.stdout.split()[-1])
    wait_until_gone(worker)
