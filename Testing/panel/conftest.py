"""What the panel tests share: the real panel on a real scene, a hand on mouse and keyboard, and a camera.

Stand-ins replace names of Slicer for the whole process, so that each file of this folder runs in one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def modelFolder(host: Any) -> Path:
    """Where the panel under test keeps its models."""
    return host.folder / "UnCoL" / "Models"


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    """An engine that waits for the test's word."""
    from scripted_engine import ScriptedEngine

    return ScriptedEngine(tmp_path / "jobs")


@pytest.fixture
def openPanel(host: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the panel, with an engine of the test's choice; it is closed at the end."""
    from panel_driver import Panel

    opened: list[Panel] = []

    def open_(engine: Any = None) -> Panel:
        opened.append(Panel(host, engine))
        return opened[-1]

    yield open_
    for panel in opened:
        panel.close()


@pytest.fixture
def panel(openPanel: Callable[..., Any], engine: Any) -> Any:
    """The panel with an engine that waits for the test's word."""
    return openPanel(engine)


@pytest.fixture
def phantom() -> Any:
    """A small CT with a liver, its labels and a map that is unsure along the liver's border."""
    from panel_phantom import Phantom

    return Phantom()


@pytest.fixture
def annotated(panel: Any, phantom: Any, host: Any) -> Any:
    """The panel with three annotated slices and no model yet."""
    volume = phantom.addVolume()
    phantom.addSliceViews(host)
    segmentation = phantom.addSegmentation(volume)
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.choose("segmentationSelector", "My segmentation")
    phantom.paint(segmentation, volume, 6, 12, 18)
    panel.waitForDetection()
    return panel


@pytest.fixture
def two(panel: Any, phantom: Any) -> Any:
    """Two patients on the same grid, of whom slices 6, 12, 18 and 7, 13 are finished; the second one is shown."""
    from several_patients import addVolume, annotate

    for name in ("First", "Second"):
        addVolume(phantom, name)
    annotate(panel, phantom, "First", 6, 12, 18)
    annotate(panel, phantom, "Second", 7, 13)
    return panel
