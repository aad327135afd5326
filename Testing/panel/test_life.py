"""The panel's life: scene closed in mid-run, scene saved and loaded, panel closed, texts, keyboard, threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
import slicer.util
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QComboBox, QWidget

HOST_FOLDER = Path(qt.__file__).parent
MODULE_FOLDER = HOST_FOLDER.parents[1] / "UnCoLSegment"


@pytest.fixture
def boxed(panel: Any, phantom: Any) -> Any:
    """The panel with a volume, a segmentation and a box."""
    volume = phantom.addVolume()
    phantom.addSegmentation(volume)
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.choose("segmentationSelector", "My segmentation")
    panel.parameters.roi = phantom.addBox()
    return panel


def test_closing_the_scene_in_mid_run_stops_the_run_and_leaves_an_empty_panel(boxed: Any, engine: Any) -> None:
    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))

    slicer.mrmlScene.Clear(False)
    boxed.settle()
    boxed.wait(lambda: engine.asked("cancel"))
    engine.say("segment", "cancelled")
    boxed.wait(lambda: boxed.logic.state.value == "idle")

    assert boxed.parameters.inputVolume is None
    assert boxed.ui.inputVolumeSelector.currentNode() is None
    assert boxed.ui.segmentButton.toolTip == "Choose the volume to segment."
    assert boxed.ui.segmentEditor.segmentationNode() is None
    assert boxed.shown() == "The scene was closed, so the run was stopped."


def test_after_the_scene_was_closed_the_panel_works_as_before(boxed: Any, engine: Any, phantom: Any) -> None:
    slicer.mrmlScene.Clear(False)
    volume = phantom.addVolume()
    phantom.addSegmentation(volume)
    boxed.choose("inputVolumeSelector", "CT abdomen")
    boxed.choose("segmentationSelector", "My segmentation")
    boxed.parameters.roi = phantom.addBox()

    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))

    assert boxed.ui.segmentEditor.segmentationNode() is boxed.parameters.segmentation


def test_everything_the_user_chose_comes_back_with_the_scene(boxed: Any, phantom: Any, tmp_path: Path) -> None:
    boxed.ui.minutesSlider.value = 7.5
    boxed.ui.thresholdSlider.value = 0.35
    boxed.click("fromSlicesButton")
    boxed.choose("planeComboBox", "Sagittal")
    boxed.choose("deviceComboBox", "Processor (CPU)")
    phantom.paint(boxed.parameters.segmentation, boxed.parameters.inputVolume, 8)
    boxed.waitForDetection()
    table = boxed.cells("slicesTable")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))

    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    boxed.settle()

    assert boxed.parameters.inputVolume.GetName() == "CT abdomen"
    assert boxed.ui.segmentationSelector.currentNode().GetName() == "My segmentation"
    assert boxed.ui.minutesSlider.value == 7.5
    assert boxed.ui.thresholdSlider.value == 0.35
    assert boxed.ui.fromSlicesButton.checked
    assert boxed.ui.planeComboBox.currentText == "Sagittal"
    assert boxed.ui.deviceComboBox.currentText == "Processor (CPU)"
    assert boxed.parameters.roi.GetName() == "liver"
    assert boxed.cells("slicesTable") == table


def test_removing_the_volume_disables_what_needs_it(boxed: Any) -> None:
    slicer.mrmlScene.RemoveNode(boxed.parameters.inputVolume)
    boxed.settle()

    assert boxed.ui.segmentButton.toolTip == "Choose the volume to segment."
    assert not boxed.ui.sliceIsEmptyButton.enabled


def test_removing_the_segmentation_empties_the_segment_editor(boxed: Any) -> None:
    slicer.mrmlScene.RemoveNode(boxed.parameters.segmentation)
    boxed.settle()

    assert boxed.ui.segmentEditor.segmentationNode() is None
    assert boxed.ui.sliceIsRightButton.toolTip == ("There is nothing in this slice yet. Segment or paint first.")


def test_a_closed_panel_has_stopped_its_engine_and_hears_of_nothing_any_more(openPanel: Any, engine: Any) -> None:
    panel = openPanel(engine)
    engine.start()

    panel.moduleWidget.cleanup()

    assert not engine.isRunning
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    slicer.mrmlScene.Clear(False)
    panel.logic.modelsChanged.emit()
    panel.logic.stateChanged.emit()


def test_a_closed_panel_leaves_neither_keys_nor_tools_behind(openPanel: Any, engine: Any) -> None:
    panel = openPanel(engine)
    editor = panel.ui.segmentEditor
    assert editor.areShortcutsInstalled

    panel.moduleWidget.cleanup()  # without `exit`, as when the module is loaded again

    assert not editor.areShortcutsInstalled
    assert not editor.areViewsObserved


def test_the_segment_editor_has_its_parameters_whenever_a_segmentation_comes(host: Any) -> None:
    """The editor chooses one by itself: without parameters, that is an error of VTK's, which `host` notices."""
    import panel_driver  # noqa: F401
    from slicer.ScriptedLoadableModule import ModuleWidgetParent

    import UnCoLSegment

    module = UnCoLSegment.UnCoLSegmentWidget(ModuleWidgetParent())
    module.setup()

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")  # the user has not come yet
    slicer.mrmlScene.Clear(False)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")  # and is in another module

    assert host.errors == []
    assert module.panel.ui.segmentEditor.mrmlSegmentEditorNode().GetScene() is slicer.mrmlScene
    module.cleanup()


def test_effects_that_an_extension_brings_later_are_in_the_editor(panel: Any) -> None:
    factory = slicer.qSlicerSegmentEditorEffectFactory.instance()
    before = panel.ui.segmentEditor.effectListUpdates

    for slot in factory.slots:
        slot()  # PythonQt cuts the surplus name of the effect

    assert panel.ui.segmentEditor.effectListUpdates == before + 1


def test_a_panel_without_a_frame_is_whole(host: Any) -> None:
    import panel_driver  # noqa: F401

    import UnCoLSegment

    module = UnCoLSegment.UnCoLSegmentWidget()  # the constructor sets it up, as that of Slicer's base class does

    assert module.panel is not None
    assert module.panel.parameters is not None
    module.cleanup()
    module.parent.deleteLater()


def test_every_text_that_the_code_puts_into_the_panel_is_translated(
    openPanel: Any, engine: Any, phantom: Any, host: Any
) -> None:
    from slicer import i18n

    with i18n.marked():
        panel = openPanel(engine)
        volume = phantom.addVolume()
        phantom.addSliceViews(host)
        phantom.addSegmentation(volume)
        panel.parameters.inputVolume = volume
        panel.parameters.segmentation = slicer.util.getNode("My segmentation")
        panel.parameters.roi = phantom.addBox()
        panel.click("segmentButton")
        panel.wait(lambda: engine.asked("segment"))
        engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
        panel.wait(panel.shown)
        for name in ("sliceIsEmptyButton", "suggestSliceButton", "acceptAllButton"):
            panel.click(name)
        panel.settle()

        inPanel = (MODULE_FOLDER / "Resources" / "UI" / "UnCoLSegment.ui").read_text(encoding="utf-8")
        untranslated = [each for each in textsOf(panel) if each and f">{each}<" not in inPanel and each[0] != "«"]

    assert untranslated == []


def textsOf(panel: Any) -> list[str]:
    """Return what the code wrote: tool tips of buttons, messages, heads and words of tables, entries of lists."""
    texts = [panel.shown(), panel.ui.nextLabel.text]
    texts += [button.toolTip for button in panel.window.findChildren(qt.QPushButton) if _isOurs(panel, button)]
    texts += [panel.ui.trustLabel.text]
    for name in ("slicesTable", "roundsTable", "modelsTable"):
        table = getattr(panel.ui, name)
        texts += [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
    texts += [row[2] for row in panel.cells("slicesTable")]
    for name in ("deviceComboBox", "planeComboBox", "modelComboBox"):
        box = getattr(panel.ui, name)
        texts += [box.itemText(index) for index in range(box.count)]
    return texts


def _isOurs(panel: Any, widget: QWidget) -> bool:
    return not panel.ui.segmentEditor.isAncestorOf(widget)


def test_the_tab_key_leads_from_the_first_control_to_the_last(boxed: Any) -> None:
    boxed.unfold("segment", "result", "correct", "fineTune", "models", "advanced")
    boxed.window.activateWindow()
    boxed.ui.inputVolumeSelector._combo.setFocus()
    reached: list[str] = []
    for _ in range(80):
        focused = QApplication.focusWidget()
        reached.append(_nameOf(boxed, focused))
        QTest.keyClick(focused, Qt.Key_Tab)
        boxed.settle()

    expected = [
        name
        for name, widget in vars(boxed.ui).items()
        if widget.isVisible() and widget.isEnabled() and widget.__class__.__name__ in CONTROLS
    ]
    assert set(expected) <= set(reached)


CONTROLS = {"QPushButton", "QComboBox", "QCheckBox", "ctkSliderWidget", "qMRMLNodeComboBox", "ctkCollapsibleButton"}


def _nameOf(panel: Any, widget: Any) -> str:
    """Return the name of the control in the .ui file that a widget is, or is a part of."""
    while widget is not None:
        name = widget.objectName if isinstance(widget.objectName, str) else widget.objectName()
        if name in vars(panel.ui):
            return name
        widget = widget.parentWidget()
    return ""


def test_a_section_folds_with_the_space_key(panel: Any) -> None:
    section = panel.ui.segmentCollapsibleButton
    section.setFocus()

    QTest.keyClick(section, Qt.Key_Space)

    assert section.collapsed
    assert not panel.ui.inputVolumeSelector.isVisible()


def test_a_mnemonic_leads_to_its_control(boxed: Any) -> None:
    boxed.window.activateWindow()

    boxed.unfold("advanced")
    QTest.keyClick(boxed.window, Qt.Key_D, Qt.AltModifier)

    assert QApplication.focusWidget() is boxed.ui.deviceComboBox


def test_the_panel_never_asks_for_more_than_400_pixels(boxed: Any) -> None:
    boxed.unfold("segment", "result", "correct", "fineTune", "models", "advanced")

    assert boxed.window.minimumSizeHint().width() <= 400
    assert not any(box.width > 400 for box in boxed.window.findChildren(QComboBox) if isinstance(box.width, int))


def test_opening_the_panel_imports_nothing_that_a_bare_slicer_lacks() -> None:
    code = (
        "from host import Host\n"
        "with Host() as host:\n"
        "    import panel_driver, sys\n"
        "    panel_driver.Panel(host).close()\n"
        "    heavy = {'torch', 'monai', 'SimpleITK', 'scipy', 'safetensors', 'typer', 'rich', 'matplotlib'}\n"
        "    print(sorted(heavy & set(sys.modules)))\n"
    )
    path = f"{HOST_FOLDER}:{MODULE_FOLDER}"
    environment = {
        "PYTHONPATH": path,
        "QT_QPA_PLATFORM": "offscreen",
        "PATH": "/usr/bin:/bin",
        "HOME": str(HOST_FOLDER),
    }

    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]"


def test_an_idle_panel_wakes_the_application_twice_a_second_and_a_run_more_often(boxed: Any, engine: Any) -> None:
    timer = boxed.widget._pollTimer
    assert timer.interval == 500

    boxed.click("segmentButton")
    assert timer.interval <= 50
    boxed.wait(lambda: engine.asked("segment"))
    assert timer.interval == 50
    engine.say("segment", "error", kind="user", message="Not today.")
    boxed.wait(lambda: boxed.shown() == "Not today.")

    assert timer.interval == 500
