"""Reload in mid-run: the module file's own `onReload`, in a process of its own, because it replaces all our modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = [str(ROOT / each) for each in ("UnCoLSegment", "Testing/host")]

RELOAD = """
import os, sys, time
sys.path[:0] = sys.argv[1:]
import stand_ins
import mrml_widgets, plot_widget, segment_editor_widget
from host import Host
from slicer.ScriptedLoadableModule import addModule

host = Host()
frame = addModule("UnCoLSegment").widgetRepresentation()
frame.isEntered = True
widget = frame.self()
widget.enter()
oldEditor = widget.panel.ui.segmentEditor
assert oldEditor.areShortcutsInstalled and oldEditor.areViewsObserved

from UnCoLSegmentLib.SelfTest import LoopDriver, makePhantomVolume
volume, truth = makePhantomVolume()
widget.panel.parameters.inputVolume = volume
driver = LoopDriver(widget.logic.runs, widget.panel.parameters, truth)
driver.drawBox()
widget.logic.runs.failed.connect(lambda *reason: sys.exit(str(reason)))
seen = []
widget.logic.runs.progressed.connect(seen.append)
widget.logic.runs.segment(widget.panel.parameters)
while not seen:
    widget.logic.runs.poll()
    time.sleep(0.02)
worker = widget.logic.runs.engine.processId
oldLibrary, oldFile = sys.modules["UnCoLSegmentLib.Logic"], sys.modules["UnCoLSegment"]

began = time.monotonic()
widget.onReload()
assert time.monotonic() - began < 1.5, "the main thread was kept"

again = frame.self()
assert again is not widget and widget.panel is None
assert sys.modules["UnCoLSegment"] is not oldFile
assert sys.modules["UnCoLSegmentLib.Logic"] is not oldLibrary
assert not oldEditor.areShortcutsInstalled and not oldEditor.areViewsObserved, "two editors would want the same keys"
editor = again.panel.ui.segmentEditor
assert editor.areShortcutsInstalled and editor.areViewsObserved, "the user is here and was not let in"
import slicer
assert len(slicer.qSlicerSegmentEditorEffectFactory.instance().slots) == 1
assert again.logic.runs.state.value == "idle"
assert again.panel.parameters.inputVolume is volume
deadline = time.monotonic() + 25
while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
    time.sleep(0.05)
assert not os.path.exists(f"/proc/{worker}"), "the old worker lives on"
again.cleanup()
assert not host.errors, host.errors
print("reloaded")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_reload_in_mid_run_stops_it_and_the_panel_opens_with_new_code() -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}

    ended = subprocess.run(
        [sys.executable, "-c", RELOAD, *PATHS],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )

    if "libEGL" in ended.stderr or "libGL" in ended.stderr:
        pytest.skip(f"Qt cannot be loaded here: {ended.stderr.strip().splitlines()[-1]}")
    assert ended.stdout.strip() == "reloaded", ended.stderr
