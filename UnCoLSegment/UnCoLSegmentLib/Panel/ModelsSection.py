"""The section "Models": list, use, rename, import, export and remove; and the choice in "Segment"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from uncol.core.errors import CheckpointError
from uncol.core.model_store import ModelEntry, NameTakenError
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable, fill, setColumns
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom
from UnCoLSegmentLib.Scene.RoundStore import renameModel

_IMAGES_COLUMN = 3


class ModelsSection(Section):
    """Shows the store and changes it."""

    def __init__(self, ui: Any, logic: Logic, message: Message) -> None:
        super().__init__(ui, logic, message)
        self._entries: list[ModelEntry] = []
        setColumns(ui.modelsTable, _("Name"), _("In use"), _("Structures"), _("Images"), _("Created"))
        ui.modelsTable.connect("itemSelectionChanged()", self._updateButtons)
        ui.modelsTable.connect("itemChanged(QTableWidgetItem*)", self._onRenamed)
        ui.modelsTable.connect("itemActivated(QTableWidgetItem*)", self._onItemActivated)
        ui.modelComboBox.connect("activated(int)", self._onChosen)
        self._onClicks(
            (ui.activateButton, self._activate),
            (ui.renameButton, self._startRenaming),
            (ui.rollBackButton, self._rollBack),
            (ui.importButton, self._import),
            (ui.exportButton, self._export),
            (ui.removeButton, self._remove),
        )
        self._follow(logic.modelsChanged, self.refresh)
        self.refresh()

    def update(self, parameters: ParameterNode | None) -> None:
        """Show which model the parameters name."""
        super().update(parameters)
        names = [each.name for each in self._entries]
        name = parameters.modelName if parameters else ""
        self.ui.modelComboBox.currentIndex = names.index(name) + 1 if name in names else 0
        self.ui.modelComboBox.enabled = parameters is not None

    def refresh(self) -> None:
        """Show what the store holds now."""
        with self._message.reporting():
            self._entries = self._logic.store.list()
        texts = [_rowTexts(each) for each in self._entries]
        fill(self.ui.modelsTable, texts, self.ui.modelsHintLabel, self._finishRow)
        self.ui.modelComboBox.clear()
        self.ui.modelComboBox.addItem(_("Choose a model"))
        for each in self._entries:
            self.ui.modelComboBox.addItem(_("{name} (in use)").format(name=each.name) if each.is_active else each.name)
        self.update(self._parameters)
        self._updateButtons()

    def _finishRow(self, row: int) -> None:
        name, images = (self.ui.modelsTable.item(row, column) for column in (0, _IMAGES_COLUMN))
        name.setFlags(name.flags() | qt.Qt.ItemIsEditable)
        images.setToolTip(
            _("Learned from CT, in Hounsfield units")
            if self._entries[row].grey_values == "hounsfield"
            else _("Learned from MR or other images without Hounsfield units; each image is scaled by itself")
        )

    def _updateButtons(self) -> None:
        selected = self._selected()
        missing = "" if selected else _("Select a model in the list.")
        if not self._entries:
            missing = _("There is no model yet. Fine-tune one or import one.")
        inUse = _("This model is in use already.") if selected and selected.is_active else ""
        enable(missing or inUse, (self.ui.activateButton, _("Use this model from now on")))
        enable(
            missing,
            (self.ui.renameButton, _("Give the selected model another name")),
            (self.ui.exportButton, _("Write the selected model into one file, to share it")),
            (self.ui.removeButton, _("Delete the selected model from this computer")),
        )
        few = "" if len(self._entries) > 1 else _("There is no earlier model to go back to.")
        enable(few, (self.ui.rollBackButton, _("Use the model again that was in use before")))
        enable("", (self.ui.importButton, _("Import a model that was exported elsewhere; it is checked first")))

    def _selected(self) -> ModelEntry | None:
        row = self.ui.modelsTable.currentRow()
        return self._entries[row] if 0 <= row < len(self._entries) else None

    def _chosen(self) -> ModelEntry:
        entry = self._selected()
        assert entry is not None  # without a selection the buttons are disabled
        return entry

    def _onChosen(self, index: int) -> None:
        if self._parameters is None:
            return
        with slicer.util.NodeModify(self._parameters):
            self._parameters.modelName = self._entries[index - 1].name if index > 0 else ""
            if index > 0:
                self._parameters.segmentFrom = SegmentFrom.MODEL
            elif self._parameters.segmentFrom is SegmentFrom.MODEL:
                self._parameters.segmentFrom = SegmentFrom.BOX

    def _onItemActivated(self, _item: qt.QTableWidgetItem) -> None:
        if self.ui.activateButton.enabled:
            self._reporting(self._activate)()

    def _activate(self) -> None:
        entry = self._chosen()
        self._logic.store.activate(entry.name)
        self._use(entry.name)
        self._message.showInformation(_('"{name}" is in use from now on.').format(name=entry.name))

    def _use(self, name: str) -> None:
        if self._parameters is not None:
            self._parameters.modelName = name
        self._logic.modelsChanged.emit()

    def _startRenaming(self) -> None:
        self.ui.modelsTable.editItem(self.ui.modelsTable.item(self.ui.modelsTable.currentRow(), 0))

    def _onRenamed(self, item: qt.QTableWidgetItem) -> None:
        self._reporting(lambda: self._rename(self._entries[item.row()].name, item.text()))()
        self._logic.modelsChanged.emit()

    def _rename(self, old: str, new: str) -> None:
        if new == old:
            return
        self._logic.store.rename(old, new)
        if self._parameters is not None:
            renameModel(self._parameters, old, new)

    def _rollBack(self) -> None:
        name = self._logic.store.roll_back()
        self._use(name)
        self._message.showInformation(_('"{name}" is in use again.').format(name=name))

    def _import(self) -> None:
        path = qt.QFileDialog.getOpenFileName(self.ui.modelsTable, _("Import model"), "", _("Models (*.zip)"))
        if path:
            name = self._takeIn(Path(path))
            self._logic.modelsChanged.emit()
            self._message.showInformation(_('"{name}" was imported. It is not in use yet.').format(name=name))

    def _takeIn(self, path: Path) -> str:
        try:
            return self._logic.store.import_zip(path)
        except NameTakenError as error:
            message = _('An unfinished fine-tuning is called "{name}". Resume or remove it, then import again.')
            if self._logic.store.has(error.name):
                message = _('A model called "{name}" is here already. Rename that one first, then import again.')
            raise CheckpointError(message.format(name=error.name)) from error

    def _export(self) -> None:
        entry = self._chosen()
        proposed = f"{entry.name}.zip"
        path = qt.QFileDialog.getSaveFileName(self.ui.modelsTable, _("Export model"), proposed, _("Models (*.zip)"))
        if path:
            self._logic.store.export_zip(entry.name, Path(path))
            text = _('"{name}" was exported. Research use only. Not a medical device.')
            self._message.showInformation(text.format(name=entry.name))

    def _remove(self) -> None:
        entry = self._chosen()
        question = _('Delete the model "{name}" from this computer? This cannot be undone.').format(name=entry.name)
        if slicer.util.confirmYesNoDisplay(question):
            self._logic.store.remove(entry.name)
            self._use(self._logic.store.active or "")


def _rowTexts(entry: ModelEntry) -> list[str]:
    images = _("CT") if entry.grey_values == "hounsfield" else _("MR")
    return [entry.name, _("yes") if entry.is_active else "", entry.title, images, entry.created[:10]]
