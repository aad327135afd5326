"""A picture of panel and slice views side by side, as a user sees them; outlines of segments are drawn here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer.util
from numpy.typing import NDArray
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QPainter, QPixmap
from slice_view import SliceView

from UnCoLSegmentLib.Scene import Grids

_GAP = 6  # pixels
_COLOR_COUNT = 256
"""As many as a small file holds; Qt has no palette made for the picture."""


def saveWorkplace(panel: Path, views: list[SliceView], segmentation: Any, volume: Any, path: Path) -> None:
    """Write the picture.

    Args:
        panel: Picture of the panel.
        views: Slice views, the first on top.
        segmentation: Its segments are outlined in their colors; the CPU's slice pipeline does not draw them.
        volume: The volume on whose grid they are sampled.
        path: The PNG file to write.
    """
    left = QPixmap(str(panel))
    right = [_pictureOf(view, segmentation, volume) for view in views]
    width = left.width() + _GAP + max(each.width() for each in right)
    height = max(left.height(), sum(each.height() + _GAP for each in right) - _GAP)
    whole = QImage(width, height, QImage.Format_RGB32)
    whole.fill(Qt.black)
    painter = QPainter(whole)
    painter.fillRect(0, 0, left.width(), height, panelColor(left))
    painter.drawPixmap(0, 0, left)
    top = 0
    for picture in right:
        painter.drawImage(left.width() + _GAP, top, picture)
        top += picture.height() + _GAP
    painter.end()
    converted = whole.convertToFormat(QImage.Format_RGB888)  # kept, because its memory goes with it
    pixels = np.array(converted.constBits()).reshape(height, -1)[:, : 3 * width]
    Image.fromarray(pixels.reshape(height, width, 3)).quantize(_COLOR_COUNT).save(path, optimize=True)


def panelColor(panel: QPixmap) -> Any:
    """Return the color of the panel's ground."""
    return panel.toImage().pixelColor(1, 1)


def _pictureOf(view: SliceView, segmentation: Any, volume: Any) -> QImage:
    pixels = view.pixels().copy()
    worldToIJK = np.linalg.inv(Grids.ijkToRAS(volume))
    world = view.worldUnderPixels()
    ijk = np.rint(np.concatenate([world, np.ones_like(world[..., :1])], axis=-1) @ worldToIJK.T)[..., :3].astype(int)
    for index in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        segmentId = segmentation.GetSegmentation().GetNthSegmentID(index)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, volume)
        color = np.array(segmentation.GetSegmentation().GetSegment(segmentId).GetColor()) * 255
        pixels[_outline(_sampled(mask, ijk))] = color
    rows, columns, _ = pixels.shape
    return QImage(np.ascontiguousarray(pixels).tobytes(), columns, rows, 3 * columns, QImage.Format_RGB888).copy()


def _sampled(mask: NDArray[Any], ijk: NDArray[np.intp]) -> NDArray[np.bool_]:
    inside = ((ijk >= 0) & (ijk < mask.shape[::-1])).all(axis=-1)
    i, j, k = np.moveaxis(np.where(inside[..., None], ijk, 0), -1, 0)
    return inside & (mask[k, j, i] > 0)


def _outline(shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask that have a neighbor outside, two pixels wide."""
    inner = shown.copy()
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            inner &= np.roll(shown, step, axis=axis)
    return shown & ~inner
