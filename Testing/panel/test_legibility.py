"""Every state is read at 320, 400 and 560 pixels, light and dark: no text is cut off, none is too faint. Measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import slicer.util
from PySide6.QtCore import QPoint
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QAbstractButton, QCheckBox, QLabel, QWidget

LEAST_CONTRAST = 4.5
"""Of text against its ground, as WCAG 2.2 (1.4.3) asks for; what is disabled is left out there, too."""


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, host: Any, engine: Any, phantom: Any) -> Iterator[Any]:
    """The panel in Slicer's colors, with slice views."""
    from panel_driver import Panel
    from themes import setTheme

    setTheme(request.param)
    panel = Panel(host, engine)
    panel.phantom = phantom
    yield panel
    panel.close()
    setTheme("light")


def states(panel: Any, engine: Any) -> Iterator[str]:
    """Bring the panel into one state after the other, as a user does."""
    phantom = panel.phantom
    yield "empty"
    phantom.addVolume()
    panel.views = phantom.addSliceViews(panel.host)
    panel.settle()
    yield "volume"
    panel.click("segmentButton")
    yield "drawing"
    phantom.placeBox(panel.parameters.roi)
    panel.ui.drawBoxButton.click()
    yield "box"
    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    engine.say("segment", "progress", phase="Asking the foundation model", fraction=0.4, seconds_left=42.0)
    panel.wait(lambda: panel.ui.runProgressBar.value == 40)
    yield "segmenting"
    phantom.uncertainty *= 0.4
    phantom.uncertainty[12:17, 26:33, 24:34] = 0.95
    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    panel.wait(panel.shown)
    yield "result"
    for _ in range(3):
        panel.click("sliceIsRightButton")
        panel.waitForDetection()
    yield "three slices"
    panel.click("fineTuneButton")
    panel.wait(lambda: engine.asked("fine_tune"))
    yield "learning"
    engine.say("fine_tune", "error", kind="user", message="The memory is full. Crop the volume, then try again.")
    panel.wait(panel.shown)
    yield "error"
    slicer.util.addVolumeFromArray(phantom.ct, name="Thorax and abdomen, venous, 3 mm")
    panel.settle()
    panel.unfold("result", "fineTune")
    yield "two patients"
    panel.unfold("segment", "result", "correct", "fineTune", "models", "advanced")
    yield "all open"


def test_no_text_is_cut_off_or_too_faint(themed: Any, engine: Any) -> None:
    problems = []
    for state in states(themed, engine):
        for width in (320, 400, 560):
            themed.fit(width)
            assert themed.window.width == width, state
            if themed.ui.sectionsArea.horizontalScrollBar().maximum() > 0:
                problems.append(f"{state}, {width}: something is wider than the panel")
            problems += [f"{state}, {width}: {each}" for each in cutOff(themed)]
        themed.fit(400)
        problems += [f"{state}: {each}" for each in tooFaint(themed)]

    assert not problems, "\n".join(problems)


def cutOff(panel: Any) -> Iterator[str]:
    """Find visible texts that need more room than they have."""
    for each in textWidgets(panel):
        if isinstance(each, QLabel) and each.wordWrap():
            if each.heightForWidth(each.width()) > each.height() + 1:
                yield f"{nameOf(each)} needs {each.heightForWidth(each.width())} pixels of height, has {each.height()}"
        elif each.sizeHint().width() > each.width() and (isinstance(each, QLabel) or wanted(each) > each.width()):
            yield f"{nameOf(each)} needs {wanted(each)} pixels, has {each.width()}"


def wanted(widget: Any) -> int:
    """Return how wide the text of a button is."""
    text = widget.text().replace("&", "")
    return int(widget.fontMetrics().horizontalAdvance(text)) + (22 if isinstance(widget, QCheckBox) else 4)


def tooFaint(panel: Any) -> Iterator[str]:
    """Find visible texts with too little contrast, by their pixels."""
    picture = pictureOf(panel)
    for each in textWidgets(panel):
        if each.isEnabled() and (measured := contrastOf(each, picture)) < LEAST_CONTRAST:
            yield f"{nameOf(each)} has a contrast of {measured:.1f}"


def textWidgets(panel: Any) -> list[Any]:
    """Return the visible labels and buttons of ours with text, as Qt's own objects."""
    found = [*panel.window.findChildren(QLabel), *panel.window.findChildren(QAbstractButton)]
    ours = [each for each in found if QWidget.isVisible(each) and not panel.ui.segmentEditor.isAncestorOf(each)]
    plain = [each for each in ours if each.__class__.__name__ != "ctkCollapsibleButton" and textOf(each)]
    return [_Plain(each) for each in plain]


class _Plain:
    """A widget by Qt's own methods, without the manners of PythonQt."""

    def __init__(self, widget: QWidget) -> None:
        self.widget = widget

    def __getattr__(self, name: str) -> Any:
        base = next(each for each in type(self.widget).__mro__ if each.__module__.startswith("PySide6"))
        return lambda *arguments: getattr(base, name)(self.widget, *arguments)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.widget)


def textOf(widget: QWidget) -> str:
    text = widget.text
    return str(text() if callable(text) else text)


def nameOf(widget: Any) -> str:
    return f"{widget.objectName()} ({widget.text()[:30]})"


def pictureOf(panel: Any) -> np.ndarray:
    """Return what the whole panel looks like (rows, columns, 3)."""
    image = panel.window.grab().toImage().convertToFormat(QImage.Format_RGB888)
    rows = np.array(image.constBits()).reshape(image.height(), -1)
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)


def contrastOf(widget: Any, picture: np.ndarray) -> float:
    """Return the contrast between the ground of a widget, the middle of its colors, and the ink that differs most."""
    corner = widget.mapTo(widget.window(), QPoint(0, 0))
    part = picture[corner.y() : corner.y() + widget.height(), corner.x() : corner.x() + widget.width()].reshape(-1, 3)
    assert len(part), f"{nameOf(widget)} lies outside the panel"
    ground = tuple(np.median(part, axis=0).tolist())
    return max(contrast(ground, tuple(color)) for color in np.unique(part, axis=0).tolist())


def contrast(color: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the contrast of two colors, as WCAG 2.2 defines it."""
    brighter, darker = sorted((luminance(color), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def luminance(color: tuple[int, ...]) -> float:
    """Return the relative luminance of an sRGB color, as WCAG 2.2 defines it."""
    parts = [each / 255 for each in color]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
