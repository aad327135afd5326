"""Installing and mending the engine, what it wrote, and what Slicer's settings keep."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import qt
import recorded
import slicer
import stand_ins  # noqa: F401  # makes slicer.packaging importable
from slicer.packaging import Installations, installations

from uncol.core.protocol import Failed

IMPORT_FAILED = """Traceback (most recent call last):
  File "/opt/Slicer/lib/Python/lib/python3.12/site-packages/scipy/__init__.py", line 9, in <module>
ImportError: numpy.core.multiarray failed to import
"""


@pytest.fixture
def boxed(panel: Any, phantom: Any) -> Any:
    """The panel with a volume and a box."""
    phantom.addVolume()
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.parameters.roi = phantom.addBox()
    return panel


@pytest.fixture
def installing(boxed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Installations]:
    """A package is missing; what is installed from now on is found."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("uncol-needs-this>=3.1\n")
    monkeypatch.setattr(boxed.moduleWidget, "resourcePath", lambda _name: str(requirements))
    installations.__init__(isUserWaiting=True, folder=folder)
    boxed.logic.engine.stop()  # it was started when the packages were there
    yield installations
    installations.__init__()


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user was asked, and agreed to."""
    asked: list[str] = []

    def agree(given: dict[str, Any]) -> bool:
        asked.append(given["text"])
        return True

    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", recorded.function("slicer.util.confirmOkCancelDisplay", agree)
    )
    return asked


def test_clicks_during_an_installation_start_no_second_one_and_one_run(
    boxed: Any, engine: Any, installing: Installations, questions: list[str]
) -> None:
    seen: list[Any] = []

    def clickAgain() -> None:
        ui = boxed.ui
        seen.append((ui.runRow.isVisible(), ui.nextLabel.text, ui.segmentButton.toolTip))
        ui.segmentButton.clicked.emit()  # a click that was on its way before the button was off
        boxed.settle()
        seen.append((boxed.shown(), ui.segmentButton.enabled, ui.fineTuneButton.enabled))

    installing.meanwhile.append(clickAgain)
    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))

    assert installing.requested == [["uncol-needs-this>=3.1"]]
    assert len(questions) == 1
    busy = "Packages are being installed. Wait for the end."
    assert seen == [(True, "Engine: Installing Python packages ... (this takes minutes)", busy), ("", False, False)]
    assert [op for op, _ in engine.requests].count("segment") == 1


def test_a_missing_engine_is_offered_to_be_set_up_and_started_afterwards(
    boxed: Any, engine: Any, installing: Installations, questions: list[str]
) -> None:
    boxed.moduleWidget.exit()
    boxed.moduleWidget.enter()
    assert boxed.ui.nextLabel.text.startswith("Next: set up UnCoL once")
    assert boxed.ui.setUpButton.isVisible()
    assert not engine.isRunning

    boxed.click("setUpButton")

    assert installing.requested == [["uncol-needs-this>=3.1"]]
    assert boxed.shown() == "UnCoL is set up."
    assert not boxed.ui.setUpButton.isVisible()
    assert engine.isRunning


def test_a_scene_that_is_closed_during_an_installation_gets_no_run(
    boxed: Any, engine: Any, installing: Installations, questions: list[str]
) -> None:
    installing.meanwhile.append(boxed.moduleWidget.cleanup)

    boxed.click("segmentButton")

    assert installing.requested
    assert boxed.shown().startswith("The scene or the module was closed meanwhile")
    assert engine.asked("segment") is None
    boxed.moduleWidget.setup = boxed.moduleWidget.cleanup = lambda: None  # it is gone already


def test_a_package_that_cannot_be_loaded_is_named_and_the_second_click_repairs_it(
    boxed: Any, engine: Any, installing: Installations, questions: list[str]
) -> None:
    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))
    installing.requested.clear()
    engine.answer("segment", Failed("bug", "This is a bug.", IMPORT_FAILED))
    boxed.wait(boxed.shown)
    assert boxed.shown() == "The Python package scipy cannot be loaded. Click again to install it anew."

    boxed.click("segmentButton")
    boxed.wait(lambda: [op for op, _ in engine.requests].count("segment") == 2)

    assert questions[-1].startswith("The Python package scipy is there, but it cannot be loaded.")
    [arguments] = installing.requested
    assert arguments[-1].startswith("scipy==")
    assert boxed.logic.damagedPackage == ""


def test_repair_installs_everything_again_and_the_next_run_gets_a_new_engine(
    boxed: Any, engine: Any, installing: Installations, questions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    engine.start()

    boxed.click("repairButton")

    assert not engine.isRunning
    assert ["uninstall", "torch", "torchvision"] in installing.requested
    assert boxed.shown() == "All packages of the engine were installed again."
    assert boxed.logic.state.value == "idle"


def test_versions_and_devices_are_shown(boxed: Any, engine: Any) -> None:
    from importlib.metadata import version

    from uncol import __version__

    label = boxed.ui.engineVersionsLabel
    assert f"UnCoL {__version__}\nPyTorch {version('torch')}\nMONAI {version('monai')}" in label.text
    boxed.wait(lambda: label.text.endswith("Processor (CPU)"))


def test_what_the_engine_wrote_can_be_read_when_nothing_failed(
    boxed: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(slicer.util, "infoDisplay", recorded.function("slicer.util.infoDisplay", shown.append))
    boxed.click("engineLogButton")
    assert boxed.shown() == "The engine has written nothing: no warning, no error."

    engine.log = "WARNING: the driver is old"
    boxed.click("engineLogButton")

    assert [given["kwargs"] for given in shown] == [{"detailedText": "WARNING: the driver is old"}]


def test_what_the_user_chose_is_what_the_next_scene_begins_with(boxed: Any) -> None:
    boxed.choose("deviceComboBox", "Processor (CPU)")
    boxed.choose("planeComboBox", "Sagittal")
    boxed.ui.minutesSlider.value = 7.5

    slicer.mrmlScene.Clear(False)
    boxed.settle()

    assert boxed.ui.deviceComboBox.currentText == "Processor (CPU)"
    assert boxed.ui.planeComboBox.currentText == "Sagittal"
    assert boxed.ui.minutesSlider.value == 7.5


def test_a_scene_of_someone_else_does_not_change_what_the_user_is_used_to(boxed: Any, tmp_path: Path) -> None:
    boxed.ui.minutesSlider.value = 12.0
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    boxed.ui.minutesSlider.value = 7.5

    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    boxed.settle()
    assert boxed.ui.minutesSlider.value == 12.0
    slicer.mrmlScene.Clear(False)
    boxed.settle()

    assert boxed.ui.minutesSlider.value == 7.5


def test_settings_that_nothing_understands_are_let_be(boxed: Any) -> None:
    for key, text in (("Device", "ABACUS"), ("Minutes", "1e9"), ("Plane", "")):
        qt.QSettings().setValue(f"UnCoL/{key}", text)

    slicer.mrmlScene.Clear(False)
    boxed.settle()

    assert boxed.ui.deviceComboBox.currentText == "Automatic"
    assert boxed.ui.minutesSlider.value == 5.0
    assert boxed.ui.planeComboBox.currentText == "Axial"


def test_models_lie_where_the_user_said_or_an_earlier_version_put_them_and_else_among_local_data(
    boxed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from UnCoLSegmentLib.Panel.Settings import modelFolder

    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    roaming = tmp_path / "Roaming"
    monkeypatch.setattr(slicer.app, "slicerUserSettingsFilePath", str(roaming / "Slicer.ini"), raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "local"))
    assert modelFolder() == tmp_path / "local" / "uncol" / "models"

    (roaming / "UnCoL" / "Models").mkdir(parents=True)
    assert modelFolder() == roaming / "UnCoL" / "Models"

    qt.QFileDialog.answers.append(str(tmp_path / "mine"))
    boxed.click("modelFolderButton")
    assert modelFolder() == tmp_path / "mine"
    assert boxed.shown().startswith(f'Models are kept in "{tmp_path / "mine"}" from the next start of Slicer on.')


def test_the_settings_refuse_what_qt_cannot_keep_and_give_text_back() -> None:
    settings = qt.QSettings()
    with pytest.raises(TypeError, match="cannot keep"):
        settings.setValue("UnCoL/Folder", Path("here"))
    with pytest.raises(ValueError, match="no key"):
        settings.value("")

    settings.setValue("UnCoL/Minutes", 7.5)

    assert settings.value("UnCoL/Minutes") == "7.5"
    settings.remove("UnCoL/Minutes")
