"""The section "Advanced": what is rarely needed; here the devices, and the engine: versions, log, repair, models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _

from uncol import __version__
from uncol.core.protocol import Greeting
from UnCoLSegmentLib.Dependencies import installedVersion, reinstallAll
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.Panel.Settings import chooseModelFolder
from UnCoLSegmentLib.ParameterNode import Device, ParameterNode

_CHOOSABLE = 33
"""Qt's flags of an entry that can be chosen: enabled and selectable."""
_FLAGS_ROLE = qt.Qt.UserRole - 1
"""Where a combo box keeps the flags of its entries, within reach of its own methods."""


class AdvancedSection(Section):
    """Tells about the engine, and mends it.

    Args:
        ui: The panel's widgets by name.
        logic: Has the engine.
        message: Where it is told how clicks ended.
        requirementsFile: What the engine needs.
    """

    def __init__(self, ui: Any, logic: Logic, message: Message, requirementsFile: Path) -> None:
        super().__init__(ui, logic, message)
        self._requirementsFile = requirementsFile
        self._shown: object = None
        self._onClicks(
            (ui.engineLogButton, self._showLog),
            (ui.repairButton, self._repair),
            (ui.modelFolderButton, self._chooseModelFolder),
        )

    def update(self, parameters: ParameterNode | None) -> None:
        """Show what is there now."""
        super().update(parameters)
        state, greeting = self._logic.state, self._logic.engine.greeting
        self._offerDevices(greeting)
        if (state, greeting) == self._shown:
            return  # versions are read from files
        self._shown = (state, greeting)
        lines = [f"UnCoL {__version__}"]
        for title, name in (("PyTorch", "torch"), ("MONAI", "monai")):
            lines.append(f"{title} {installedVersion(name) or _('is not installed yet')}")
        cards = {each.device: each.name for each in greeting.graphics_cards} if greeting else {}
        devices = [cards.get(each) or Device(each).label() for each in greeting.devices] if greeting else []
        lines.append(", ".join(devices) or _("The devices are known once the engine runs."))
        self.ui.engineVersionsLabel.text = "\n".join(lines)
        enable(
            state.obstacle,
            (self.ui.repairButton, _("Install the Python packages of the engine again, if they are damaged")),
        )
        text = _('Models are in "{folder}"; choose another folder').format(folder=self._logic.store.folder)
        enable("", (self.ui.modelFolderButton, text))
        enable("", (self.ui.engineLogButton, _("Read and copy what the engine wrote last")))

    def _offerDevices(self, greeting: Greeting | None) -> None:
        """Let only those devices be chosen that the engine has, by their names; before it has said so, all of them."""
        box, named = self.ui.deviceComboBox, greeting.devices if greeting else None
        cards = {each.device: each for each in greeting.graphics_cards} if greeting else {}
        for index, device in enumerate(Device):
            isOffered = named is None or device is Device.AUTO or device.value in named
            box.setItemData(index, _CHOOSABLE if isOffered else 0, _FLAGS_ROLE)
            card = cards.get(device.value)
            text = _("{kind}: {name}, {memory:.0f} GB")
            known = text.format(kind=device.label(), name=card.name, memory=card.memory_gib) if card else device.label()
            box.setItemText(index, known)

    def _showLog(self) -> None:
        log = self._logic.engine.log
        if log:
            slicer.util.infoDisplay(_("What the engine wrote last stands in the details."), detailedText=log)
        else:
            self._message.showInformation(_("The engine has written nothing: no warning, no error."))

    def _repair(self) -> None:
        if self._logic.state.obstacle:
            return  # a click that was under way while packages are installed
        self._logic.engine.stop()  # its files are in use as long as it runs
        with self._logic.installing():
            reinstallAll(self._requirementsFile)
        self._message.showInformation(_("All packages of the engine were installed again."))

    def _chooseModelFolder(self) -> None:
        folder = str(self._logic.store.folder)
        chosen = qt.QFileDialog.getExistingDirectory(self.ui.modelFolderButton, _("Folder for models"), folder)
        if chosen:
            chooseModelFolder(Path(chosen))
            text = _('Models are kept in "{chosen}" from the next start of Slicer on. Those of now stay in "{folder}".')
            self._message.showInformation(text.format(chosen=chosen, folder=folder))
