"""The button "Export to DICOM..." of the section "Result"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.RunSection import RunSection
from UnCoLSegmentLib.Panel.Section import Message
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import DicomSource


class ExportSection(RunSection):
    """Asks for a folder and starts the export."""

    def __init__(self, ui: Any, logic: Logic, message: Message, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, message, prepareEngine)
        self._folder = ""
        ui.exportDicomButton.connect("clicked(bool)", self._export)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        super().update(parameters)
        obstacle = self._logic.whyNotExport(parameters) if parameters else self._whyNoVolume()
        purpose = _(
            "Write the proposal and its uncertainty into a folder, as DICOM segmentation and parametric map of the "
            "study; what you painted yourself is not in them"
        )
        enable(obstacle, (self.ui.exportDicomButton, purpose))

    def _export(self) -> None:
        if self._logic.state is RunState.IDLE:
            self._start(self._askAndExport)

    def _askAndExport(self, parameters: ParameterNode) -> None:
        DicomSource.filesOf(parameters.inputVolume)  # what is wrong with these is told before a folder is asked for
        folder = qt.QFileDialog.getExistingDirectory(self.ui.exportDicomButton, _("Export to DICOM"), self._folder)
        if folder:
            self._folder = folder
            self._logic.exportDicom(parameters, Path(folder))
