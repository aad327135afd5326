"""What is kept in Slicer's settings: where the models lie, and with which choices a new scene begins."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util

from UnCoLSegmentLib.ParameterNode import ParameterNode

_MODEL_FOLDER = "UnCoL/ModelFolder"
_KEPT = {"device": "UnCoL/Device", "minutes": "UnCoL/Minutes", "plane": "UnCoL/Plane"}
"""Key of each parameter that a new scene takes over."""


def modelFolder() -> Path:
    """Return where the user's models are: where they said, or an earlier version did, or else among their data.

    The last is the folder of the command line, too. Tests have one of their own.
    """
    if slicer.app.testingEnabled():
        return Path(slicer.app.temporaryPath) / "UnCoL" / "Models"
    chosen = slicer.util.settingsValue(_MODEL_FOLDER, "")
    earlier = Path(slicer.app.slicerUserSettingsFilePath).parent / "UnCoL" / "Models"  # may travel with a profile
    if chosen or earlier.is_dir():
        return Path(chosen or earlier)
    return Path(qt.QStandardPaths.writableLocation(qt.QStandardPaths.GenericDataLocation)) / "uncol" / "models"


def chooseModelFolder(folder: Path) -> None:
    """Keep the models elsewhere from the next start on."""
    qt.QSettings().setValue(_MODEL_FOLDER, str(folder))


class Defaults:
    """Device, time and plane as the user chose them last."""

    def __init__(self) -> None:
        self._parameters: ParameterNode | None = None
        self._texts: dict[str, str] = {}

    def giveTo(self, parameters: ParameterNode) -> None:
        """Let a new scene begin with them; what does not fit any more is let be."""
        for name, key in _KEPT.items():
            kind = type(getattr(parameters, name))
            text = slicer.util.settingsValue(key, "")
            with suppress(KeyError, ValueError):  # the settings are a file that everyone may edit
                if text:
                    setattr(parameters, name, kind[text] if issubclass(kind, Enum) else kind(text))

    def note(self, parameters: ParameterNode | None) -> None:
        """Remember what was changed since the last call; what a loaded scene brings along is no change."""
        texts = {name: _textOf(getattr(parameters, name)) for name in _KEPT} if parameters is not None else {}
        if parameters is self._parameters:
            for name in texts:
                if texts[name] != self._texts[name]:
                    qt.QSettings().setValue(_KEPT[name], texts[name])
        self._parameters, self._texts = parameters, texts


def _textOf(value: Any) -> str:
    return value.name if isinstance(value, Enum) else str(value)
