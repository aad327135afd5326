"""What is at hand before the first run: setting the engine up, a sample CT, and an engine that is there in time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import slicer.util
from slicer.i18n import tr as _

from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.ParameterNode import ParameterNode

_SAMPLE = "CTAAbdomenPanoramix"
_ABDOMEN_HU = (400, 40)
"""Width and middle of the grey values that show soft tissue."""


class StartCard(Section):
    """Offers what leads to a first run, and starts the engine as soon as there is a volume.

    Args:
        ui: The panel's widgets by name.
        logic: Has the engine.
        message: Where it is told how clicks ended.
        whatIsMissing: Returns the packages that the engine lacks.
        prepareEngine: Installs what is missing, with consent.
    """

    def __init__(
        self,
        ui: Any,
        logic: Logic,
        message: Message,
        whatIsMissing: Callable[[], list[str]],
        prepareEngine: Callable[[], None],
    ) -> None:
        super().__init__(ui, logic, message)
        self._whatIsMissing, self._prepareEngine = whatIsMissing, prepareEngine
        self.missing: list[str] = []
        """Packages that the engine lacks, as far as it was looked."""
        self._isEntered = self._isWarm = False
        self._onClicks(
            (ui.setUpButton, self._setUp),
            (ui.setUpContentsButton, self._showContents),
            (ui.sampleButton, self._loadSample),
            (ui.loadDataButton, lambda: slicer.util.openAddDataDialog()),  # noqa: PLW0108  # found when it is clicked
        )
        enable(
            "",
            (ui.setUpButton, _("Install the Python packages of the engine; you are asked before")),
            (
                ui.sampleButton,
                _("Download an abdominal CT of 37 MB that Slicer offers; for research and teaching only"),
            ),
            (ui.loadDataButton, _("Choose files or folders to load")),
        )

    def enter(self) -> None:
        """The user comes: look what is missing."""
        self.missing = self._whatIsMissing()
        self._isEntered, self._isWarm = True, False

    def leave(self) -> None:
        """The user goes to another module."""
        self._isEntered = False

    def update(self, parameters: ParameterNode | None) -> None:
        """Start the engine, which takes some seconds, before it is asked for anything."""
        super().update(parameters)
        isWanted = self._isEntered and not self._whyNotRead()
        if isWanted and not (self._isWarm or self.missing or self._logic.damagedPackage):
            self._isWarm = True
            with suppress(OSError):  # the next run tells
                self._logic.engine.start()

    def _setUp(self) -> None:
        try:
            self._prepareEngine()
        finally:
            self.missing = self._whatIsMissing()
        self._message.showInformation(_("UnCoL is set up."))

    def _showContents(self) -> None:
        text = _("These Python packages are missing: {packages}. The manual tells how to install them without network.")
        slicer.util.infoDisplay(text.format(packages=", ".join(self.missing)))

    def _loadSample(self) -> None:
        import SampleData  # only the application has it

        self._message.showInformation(_("The sample is being downloaded ..."))
        slicer.app.processEvents()
        SampleData.SampleDataLogic().downloadSample(_SAMPLE)
        self._message.clear()
        volume = self._parameters.inputVolume if self._parameters is not None else None
        if volume is not None and volume.GetDisplayNode() is not None:
            volume.GetDisplayNode().AutoWindowLevelOff()
            volume.GetDisplayNode().SetWindowLevel(*_ABDOMEN_HU)
