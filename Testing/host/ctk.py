"""Stand-ins for the CTK widgets that the panel uses. A class that is missing here is an error."""

from __future__ import annotations

from typing import Any

import qt
from PySide6.QtCore import Property, QEvent, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QStyleOptionFocusRect,
    QStylePainter,
)

_HEADER = 26  # pixels
_ANY_HEIGHT = 16777215  # Qt's QWIDGETSIZE_MAX


class ctkCollapsibleButton(qt.adopt(QAbstractButton)):
    """A section of a panel; its head folds and unfolds it, by click, Space or mnemonic."""

    contentsCollapsed = Signal(bool)
    collapsed = qt.stored(bool, False, "_fold")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.StrongFocus)
        self.setSizePolicy(QSizePolicy.MinimumExpanding, QSizePolicy.Preferred)  # contents get the width they want
        self.clicked.connect(self._toggle)

    def _toggle(self) -> None:
        self.collapsed = not self.collapsed

    def _fold(self) -> None:
        self._showContents()
        self.contentsCollapsed.emit(self.collapsed)

    def _showContents(self) -> None:
        """Show or hide all children, as CTK does: what has to stay hidden belongs one level deeper."""
        for child in self.children():
            if child.isWidgetType():
                child.setVisible(not self.collapsed)
        self.setMaximumHeight(_HEADER if self.collapsed else _ANY_HEIGHT)
        self.updateGeometry()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Polish:  # children may have come after the property was set
            self._showContents()
        if event.type() in (QEvent.Polish, QEvent.LayoutRequest) and self.layout():
            left, top, right, bottom = self.layout().getContentsMargins()
            if top < _HEADER:
                self.layout().setContentsMargins(left, top + _HEADER, right, bottom)
        return super().event(event)

    def hitButton(self, position: QPoint) -> bool:
        return position.y() < _HEADER

    def minimumSizeHint(self) -> QSize:
        return QSize(80, _HEADER) if self.collapsed or not self.layout() else self.layout().minimumSize()

    def sizeHint(self) -> QSize:
        return QSize(80, _HEADER) if self.collapsed or not self.layout() else self.layout().sizeHint()

    def hasHeightForWidth(self) -> bool:
        return bool(not self.collapsed and self.layout() and self.layout().hasHeightForWidth())

    def heightForWidth(self, width: int) -> int:
        return self.layout().heightForWidth(width) if self.hasHeightForWidth() else -1

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter, option = QStylePainter(self), QStyleOptionButton()
        painter.setPen(self.palette.mid().color())
        if not self.collapsed:
            painter.drawRect(0, _HEADER // 2, self.width - 1, self.height - _HEADER // 2 - 1)
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width, _HEADER)
        painter.drawControl(QStyle.CE_PushButtonBevel, option)
        arrow = QStyle.PE_IndicatorArrowRight if self.collapsed else QStyle.PE_IndicatorArrowDown
        option.rect = QRect(8, _HEADER // 2 - 5, 10, 10)
        painter.drawPrimitive(arrow, option)
        painter.setPen(self.palette.buttonText().color())
        title = QRect(24, 0, self.width - 24, _HEADER)
        painter.drawText(title, Qt.AlignVCenter | Qt.TextShowMnemonic, self.text)
        if self.hasFocus():
            focus = QStyleOptionFocusRect()
            focus.initFrom(self)
            focus.rect = QRect(3, 3, self.width - 6, _HEADER - 6)
            painter.drawPrimitive(QStyle.PE_FrameFocusRect, focus)


class ctkSliderWidget(qt.QWidget):
    """Slider and spin box for one floating-point value, which the spin box holds."""

    valueChanged = Signal(float)
    minimum = qt.stored(float, 0.0, "_follow")
    maximum = qt.stored(float, 99.0, "_follow")
    singleStep = qt.stored(float, 1.0, "_follow")
    pageStep = qt.stored(float, 10.0, "_follow")
    decimals = qt.stored(int, 2, "_follow")
    suffix = qt.stored(str, "", "_follow")
    tracking = qt.stored(bool, True, "_follow")
    value = Property(float, lambda self: self._box.value, lambda self, value: self._box.setValue(value))

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider, self._box = qt.QSlider(Qt.Horizontal), qt.QDoubleSpinBox()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._slider.valueChanged.connect(lambda step: self._box.setValue(self.minimum + step * self.singleStep))
        self._box.valueChanged.connect(self._follow)
        self._box.valueChanged.connect(self.valueChanged)
        self._follow()

    def _follow(self, *_: object) -> None:
        self._box.setDecimals(self.decimals)
        self._box.setSuffix(self.suffix)
        self._box.setSingleStep(self.singleStep)
        self._box.setRange(self.minimum, self.maximum)
        self._slider.blockSignals(True)
        self._slider.setRange(0, round((self.maximum - self.minimum) / self.singleStep))
        self._slider.setValue(round((self.value - self.minimum) / self.singleStep))
        self._slider.blockSignals(False)


qt.QUiLoader.widgets.update(ctkCollapsibleButton=ctkCollapsibleButton, ctkSliderWidget=ctkSliderWidget)
