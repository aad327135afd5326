"""Threads get their turn though Slicer's main thread keeps Python's lock, and an idle panel leaves Slicer alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer.util
from as_slicer_waits import waitAsSlicer
from scripted_engine import readVolume
from scripted_user import User

from UnCoLSegmentLib.Logic import Logic

LARGE_KJI = (120, 320, 320)
HEADER_BYTES = 128
PATIENCE_S = 60.0


def pollAsSlicer(logic: Logic, isReached: Callable[[], object]) -> float:
    """Poll as the panel's timer does until something is the case; return the seconds that this took."""
    began = time.monotonic()
    while not isReached():
        assert time.monotonic() - began < PATIENCE_S, "waited in vain"
        waitAsSlicer(logic.pollAfter_ms)
        logic.poll()
    return time.monotonic() - began


def untilBeingWritten(user: User) -> None:
    """Poll until the volume is to be written, and wait until a thread has written more than the file's header."""

    def hasBegun() -> bool:
        try:
            return any(each.stat().st_size > HEADER_BYTES for each in user.engine.folder.glob("run-*/**/image.npy"))
        except FileNotFoundError:  # it has just been moved to its place
            return True

    pollAsSlicer(user.logic, lambda: user.logic.pollAfter_ms == 10)
    deadline = time.monotonic() + PATIENCE_S
    while not hasBegun():
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0)


@pytest.fixture
def large(scene: Any, tmp_path: Path) -> User:
    """A user with a large volume and an ellipsoid to find in it."""
    user = User(tmp_path)
    k, j, i = np.ogrid[tuple(slice(-1, 1, size * 1j) for size in LARGE_KJI)]
    user.truth = (k / 0.5) ** 2 + (j / 0.4) ** 2 + (i / 0.3) ** 2 < 1
    voxels = np.where(user.truth, 100, 0).astype(np.int16)
    user.parameters.inputVolume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([0.8, 0.8, 2.0, 1.0]))
    user.driver.truth = user.truth
    user.driver.drawBox()
    yield user
    user.logic.shutdown()


def test_a_result_brings_the_suggestion_with_it(large: User) -> None:
    large.segment()

    assert large.logic.suggestSlice(large.parameters).reason.startswith("Least sure here: liver.")


def test_after_a_scene_was_loaded_the_suggestion_comes_within_two_seconds(large: User) -> None:
    large.segment()
    logic = Logic(large.logic.store.folder, large.engine)
    found = []
    logic.slicesCompared.connect(lambda: found.append(logic.suggestSlice(large.parameters)))

    assert logic.suggestSlice(large.parameters) is None
    seconds = pollAsSlicer(logic, lambda: found)

    assert found == [large.logic.suggestSlice(large.parameters)]
    assert seconds < 2.0


def test_an_idle_panel_wakes_the_application_twice_a_second_and_a_run_speeds_it_up(large: User) -> None:
    logic, sooner = large.logic, []
    logic.pollSooner.connect(lambda: sooner.append(logic.pollAfter_ms))
    assert logic.pollAfter_ms == 500

    logic.segment(large.parameters)
    assert sooner == [50]
    pollAsSlicer(logic, lambda: logic.pollAfter_ms == 10)  # the volume is being written
    pollAsSlicer(logic, lambda: large.engine.asked("segment"))
    assert logic.pollAfter_ms == 50
    large.propose()
    large.end()

    assert logic.pollAfter_ms == 500


def test_a_volume_that_is_changed_while_it_is_written_reaches_the_engine_as_it_is_then(large: User) -> None:
    voxels = slicer.util.arrayFromVolume(large.parameters.inputVolume)
    large.logic.segment(large.parameters)
    untilBeingWritten(large)

    voxels[[0, -1]] = 77
    slicer.util.arrayFromVolumeModified(large.parameters.inputVolume)
    pollAsSlicer(large.logic, lambda: large.engine.asked("segment"))

    written = readVolume(large.engine.asked("segment")["image"]).voxels
    assert np.array_equal(written, voxels)


def test_a_volume_that_is_replaced_while_it_is_written_reaches_the_engine_as_it_was(large: User) -> None:
    before = slicer.util.arrayFromVolume(large.parameters.inputVolume).copy()
    large.logic.segment(large.parameters)
    untilBeingWritten(large)

    slicer.util.updateVolumeFromArray(large.parameters.inputVolume, np.zeros((4, 5, 6), np.int16))
    pollAsSlicer(large.logic, lambda: large.engine.asked("segment"))

    assert np.array_equal(readVolume(large.engine.asked("segment")["image"]).voxels, before)


def test_a_volume_that_changes_all_the_time_ends_the_run_with_a_sentence(large: User) -> None:
    def play() -> object:
        slicer.util.arrayFromVolumeModified(large.parameters.inputVolume)
        return large.told

    large.logic.segment(large.parameters)
    pollAsSlicer(large.logic, play)

    message = "The volume changes all the time. Stop what changes it, such as a sequence, and try again."
    assert large.end() == ("failed", message)
