"""The user's models: listed, chosen, renamed, activated, rolled back, exported, imported, removed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import qt
import recorded
import slicer
import slicer.util
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest


@pytest.fixture
def stocked(openPanel: Any, engine: Any, modelFolder: Path) -> Any:
    """The panel with two models, of which "liver-2" is in use and "liver" was before."""
    from scripted_engine import writeModel

    from uncol.core.model_store import Store

    writeModel(modelFolder / "liver", ["liver"], {"liver": 0.91})
    writeModel(modelFolder / "liver-2", ["liver", "tumor"], {"liver": 0.93, "tumor": 0.7})
    store = Store(modelFolder)
    store.activate("liver")
    store.activate("liver-2")
    panel = openPanel(engine)
    panel.unfold("models")
    return panel


@pytest.fixture
def dialog() -> Any:
    """The file dialog, with the answers that a test lays down."""
    qt.QFileDialog.answers.clear()
    qt.QFileDialog.asked.clear()
    return qt.QFileDialog


def names(panel: Any) -> list[str]:
    return [row[0] for row in panel.cells("modelsTable")]


def inUse(panel: Any) -> list[str]:
    return [row[0] for row in panel.cells("modelsTable") if row[1]]


def test_without_models_the_panel_says_how_to_get_one(panel: Any) -> None:
    panel.unfold("models")

    assert panel.ui.modelsHintLabel.isVisible()
    assert not panel.ui.modelsTable.isVisible()
    assert panel.ui.activateButton.toolTip == "There is no model yet. Fine-tune one or import one."
    assert panel.ui.importButton.enabled


def test_the_columns_are_called_as_everywhere_else(stocked: Any) -> None:
    table = stocked.ui.modelsTable

    titles = [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]

    assert titles == ["Name", "In use", "Structures", "Images", "Created"]


def test_models_are_listed_with_what_they_segment_and_which_is_in_use(stocked: Any) -> None:
    stocked.clickCell("modelsTable", 0, 0)
    stocked.photograph("15-models")

    assert [row[:3] for row in stocked.cells("modelsTable")] == [
        ["liver", "", "liver"],
        ["liver-2", "yes", "liver, tumor"],
    ]
    assert stocked.parameters.modelName == "liver-2"
    assert stocked.ui.modelComboBox.currentText == "liver-2 (in use)"


def test_models_of_ct_and_of_mr_are_told_apart(openPanel: Any, engine: Any, modelFolder: Path) -> None:
    from scripted_engine import writeModel

    writeModel(modelFolder / "brain", ["brain"], {})
    writeModel(modelFolder / "heart", ["heart"], {}, greyValues="arbitrary")
    panel = openPanel(engine)
    panel.unfold("models")

    cells = [panel.ui.modelsTable.item(row, 3) for row in (0, 1)]

    assert [each.text() for each in cells] == ["CT", "MR"]
    assert [("without Hounsfield units" in each.toolTip()) for each in cells] == [False, True]


def test_choosing_a_model_makes_it_what_segmenting_starts_with(stocked: Any, phantom: Any) -> None:
    phantom.addVolume()
    stocked.choose("inputVolumeSelector", "CT abdomen")

    stocked.choose("modelComboBox", "liver")

    assert stocked.parameters.modelName == "liver"
    assert stocked.parameters.segmentFrom.value == "model"
    assert stocked.ui.fromModelButton.checked
    assert stocked.ui.segmentButton.enabled

    stocked.choose("modelComboBox", "Choose a model")
    assert stocked.parameters.modelName == ""
    assert stocked.parameters.segmentFrom.value == "box"


def test_activate_puts_another_model_into_use_and_roll_back_the_one_before(stocked: Any) -> None:
    stocked.clickCell("modelsTable", 0, 0)

    stocked.click("activateButton")
    assert inUse(stocked) == ["liver"]
    assert stocked.parameters.modelName == "liver"
    assert stocked.shown() == '"liver" is in use from now on.'

    stocked.click("rollBackButton")
    assert inUse(stocked) == ["liver-2"]
    assert stocked.shown() == '"liver-2" is in use again.'


def test_the_model_in_use_cannot_be_activated_again(stocked: Any) -> None:
    stocked.clickCell("modelsTable", 1, 0)

    assert stocked.ui.activateButton.toolTip == "This model is in use already."


def test_rename_edits_the_name_in_its_place(stocked: Any) -> None:
    stocked.clickCell("modelsTable", 1, 0)

    stocked.click("renameButton")
    stocked.typeInto("modelsTable", "liver-and-tumor")

    assert names(stocked) == ["liver", "liver-and-tumor"]
    assert inUse(stocked) == ["liver-and-tumor"]
    assert stocked.parameters.modelName == "liver-and-tumor"


def test_what_a_renamed_model_has_learned_and_proposed_is_still_its_own(stocked: Any) -> None:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volume.SetAttribute("UnCoL.Rounds", '[{"model": "liver-2", "base": "liver", "annotated": ["K:3"]}]')
    proposal = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    proposal.SetAttribute("UnCoL.Model", "liver-2")
    stocked.parameters.proposal = proposal
    stocked.clickCell("modelsTable", 1, 0)

    stocked.click("renameButton")
    stocked.typeInto("modelsTable", "liver-and-tumor")

    assert '"model": "liver-and-tumor", "base": "liver"' in volume.GetAttribute("UnCoL.Rounds")
    assert proposal.GetAttribute("UnCoL.Model") == "liver-and-tumor"


def test_a_name_that_cannot_be_used_is_refused_and_the_old_one_comes_back(stocked: Any) -> None:
    stocked.clickCell("modelsTable", 0, 0)

    stocked.click("renameButton")
    stocked.typeInto("modelsTable", "My Liver!")

    assert names(stocked) == ["liver", "liver-2"]
    assert '"My Liver!" is no name for a model' in stocked.shown()


def test_export_and_import_carry_a_model_over_in_one_file(
    stocked: Any, dialog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    name, confirm = "slicer.util.confirmYesNoDisplay", lambda given: asked.append(given["text"]) or True
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", recorded.function(name, confirm))
    stocked.clickCell("modelsTable", 0, 0)
    dialog.answers.append(str(tmp_path / "for-a-colleague.zip"))
    stocked.click("exportButton")
    assert (tmp_path / "for-a-colleague.zip").is_file()
    assert dialog.asked[-1] == ("Export model", "liver.zip", "Models (*.zip)")

    stocked.click("removeButton")
    assert asked == ['Delete the model "liver" from this computer? This cannot be undone.']
    assert names(stocked) == ["liver-2"]

    dialog.answers.append(str(tmp_path / "for-a-colleague.zip"))
    stocked.click("importButton")
    assert names(stocked) == ["liver", "liver-2"]
    assert stocked.shown() == '"liver" was imported. It is not in use yet.'


def test_a_model_whose_name_is_taken_is_imported_after_the_other_one_was_renamed(
    stocked: Any, dialog: Any, tmp_path: Path
) -> None:
    path = str(tmp_path / "for-a-colleague.zip")
    stocked.clickCell("modelsTable", 0, 0)
    dialog.answers += [path, path, path]
    stocked.click("exportButton")

    stocked.click("importButton")
    assert stocked.shown() == ('A model called "liver" is here already. Rename that one first, then import again.')
    assert names(stocked) == ["liver", "liver-2"]

    stocked.click("renameButton")
    stocked.typeInto("modelsTable", "my-liver")
    stocked.click("importButton")
    assert stocked.shown() == '"liver" was imported. It is not in use yet.'
    assert names(stocked) == ["liver", "liver-2", "my-liver"]


def test_a_model_that_has_the_name_of_an_unfinished_run_is_not_imported(
    stocked: Any, dialog: Any, tmp_path: Path
) -> None:
    store, path = stocked.logic.store, tmp_path / "lungs.zip"
    store.export_zip("liver", path)
    store.remove("liver")
    (store.folder / "liver").mkdir()
    (store.folder / "liver" / "checkpoint.safetensors").touch()
    dialog.answers.append(str(path))

    stocked.click("importButton")

    assert stocked.shown() == ('An unfinished fine-tuning is called "liver". Resume or remove it, then import again.')
    assert store.has_unfinished("liver")


def test_a_zip_without_a_folder_is_named_after_its_file(stocked: Any, dialog: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Liver.zip", "w") as archive:
        for path in sorted((stocked.logic.store.folder / "liver").iterdir()):
            archive.write(path, path.name)
    dialog.answers.append(str(tmp_path / "Liver.zip"))

    stocked.click("importButton")

    assert stocked.shown().startswith('A model called "liver" is here already.')


def test_a_cancelled_file_dialog_changes_nothing(stocked: Any, dialog: Any) -> None:
    dialog.answers.append("")

    stocked.click("importButton")

    assert names(stocked) == ["liver", "liver-2"]
    assert stocked.shown() == ""


def test_a_file_that_is_no_model_is_refused_in_words(stocked: Any, dialog: Any, tmp_path: Path) -> None:
    (tmp_path / "holiday.zip").write_bytes(b"not a zip")
    dialog.answers.append(str(tmp_path / "holiday.zip"))

    stocked.click("importButton")

    assert names(stocked) == ["liver", "liver-2"]
    assert '"holiday.zip" is no zip of a model' in stocked.shown()


def test_enter_on_a_model_activates_it(stocked: Any) -> None:
    stocked.clickCell("modelsTable", 0, 0)

    QTest.keyClick(stocked.ui.modelsTable, Qt.Key_Return)
    stocked.settle()

    assert inUse(stocked) == ["liver"]
