"""A picture of panel and slice views side by side, as a user sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QPainter, QPixmap
from slice_view import SliceView

_GAP = 6  # pixels
_COLOR_COUNT = 256
"""As many as a small file holds; Qt has no palette made for the picture."""


def saveWorkplace(panel: Path, views: list[SliceView], path: Path) -> None:
    """Write the picture.

    Args:
        panel: Picture of the panel.
        views: Slice views, the first on top.
        path: The PNG file to write.
    """
    left = QPixmap(str(panel))
    right = [_pictureOf(view) for view in views]
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


def _pictureOf(view: SliceView) -> QImage:
    pixels = view.pixels()
    rows, columns, _ = pixels.shape
    return QImage(np.ascontiguousarray(pixels).tobytes(), columns, rows, 3 * columns, QImage.Format_RGB888).copy()
