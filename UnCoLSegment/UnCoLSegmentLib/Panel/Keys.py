"""Keys of the panel: each presses a button, on which it is printed. None of them is one of Slicer's.

They work while the module is open, wherever the focus is, but in a text field: what can be typed there is typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer

from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Section import Message

Action = Callable[[], None]


class Keys:
    """Installs and removes the keys.

    Args:
        window: A widget of the panel.
        actions: What each key does.
    """

    def __init__(self, window: qt.QWidget, actions: Mapping[str, Action]) -> None:
        self._window, self._actions = window, dict(actions)
        self._shortcuts: list[qt.QShortcut] = []

    def install(self) -> None:
        """Let the keys work; a key that is installed twice would be ambiguous, and do nothing."""
        self.uninstall()
        for key, action in self._actions.items():
            shortcut = qt.QShortcut(self._window.window())
            shortcut.setContext(qt.Qt.ApplicationShortcut)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.autoRepeat = False
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)

    def uninstall(self) -> None:
        """Give the keys back."""
        for shortcut in self._shortcuts:
            shortcut.enabled = False
            shortcut.deleteLater()
        self._shortcuts = []


class Held(qt.QObject):
    """Does something while a key is held down.

    Args:
        key: The key's code.
        begin: Called when it goes down.
        end: Called when it has come up.
    """

    def __init__(self, key: int, begin: Action, end: Action) -> None:
        super().__init__()
        self._key, self._begin, self._end, self._isHeld = key, begin, end, False

    def press(self) -> None:
        """The key went down: begin, and wait for the key to come up."""
        if not self._isHeld:
            self._isHeld = True
            slicer.app.installEventFilter(self)
            self._begin()

    def release(self) -> None:
        """End, if the key is held."""
        if self._isHeld:
            self._isHeld = False
            slicer.app.removeEventFilter(self)
            self._end()

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Notice that the key comes up, or that the application is left while it is held."""
        kind = event.type()
        isUp = kind == qt.QEvent.KeyRelease and event.key() == self._key and not event.isAutoRepeat()
        if isUp or kind == qt.QEvent.ApplicationDeactivate:
            self.release()
        return False


def keyActions(ui: Any, logic: Logic, message: Message) -> dict[str, Action]:
    """Return what each key does: it presses the button on which it is printed, or tells why that is off.

    Args:
        ui: The panel's widgets by name.
        logic: Tells whether there is a run to cancel.
        message: Where it is told why a button is off.
    """

    def pressing(button: qt.QPushButton) -> Action:
        def press() -> None:
            if button.enabled:
                button.click()
            else:
                message.showInformation(button.toolTip)

        return press

    def segmentOrCancel() -> None:
        pressing(ui.segmentButton if logic.state is RunState.IDLE else ui.cancelRunButton)()

    buttons = {
        "O": ui.drawBoxButton,
        "U": ui.unsureButton,
        "H": ui.hideButton,
        "N": ui.nextPlaceButton,
        "Shift+N": ui.previousPlaceButton,
        "D": ui.sliceIsRightButton,
        "E": ui.sliceIsEmptyButton,
        "K": ui.acceptSliceButton,
        "Ctrl+Shift+Return": ui.fineTuneButton,
        "Ctrl+Shift+Enter": ui.fineTuneButton,
    }
    actions = {key: pressing(button) for key, button in buttons.items()}
    return actions | dict.fromkeys(("Ctrl+Return", "Ctrl+Enter"), segmentOrCancel)
