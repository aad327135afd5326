"""The stand-ins refuse what Slicer's PythonQt does not have, so that a test that passes says something."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
import qt
import recorded
import slicer
from PySide6.QtCore import QMetaMethod

PANEL = Path(__file__).resolve().parents[2] / "UnCoLSegment" / "Resources" / "UI" / "UnCoLSegment.ui"


@pytest.mark.parametrize("name", ["Signal", "Slot", "Property", "QNoSuchThing"])
def test_names_that_pythonqt_does_not_have_are_errors(name: str) -> None:
    with pytest.raises(AttributeError, match=f"Slicer's qt module has no {name}"):
        getattr(qt, name)


def test_an_unknown_class_in_a_panel_is_an_error(host: Any, tmp_path: Path) -> None:
    import panel_driver  # noqa: F401  # makes the MRML widgets known

    path = tmp_path / "wrong.ui"
    path.write_text(PANEL.read_text(encoding="utf-8").replace('class="ctkSliderWidget"', 'class="ctkSlideWidget"'))

    with pytest.raises(AttributeError, match="ctkSlideWidget"):
        slicer.util.loadUI(str(path))


def test_a_connection_to_a_widget_that_is_not_there_is_an_error(host: Any, tmp_path: Path) -> None:
    import panel_driver  # noqa: F401

    path = tmp_path / "wrong.ui"
    text = PANEL.read_text(encoding="utf-8")
    path.write_text(text.replace("<receiver>roiSelector<", "<receiver>boxSelector<"))

    with pytest.raises(AttributeError, match="boxSelector, which is not in it"):
        slicer.util.loadUI(str(path))


@pytest.mark.parametrize("signal", ["clickd(bool)", "clicked(int)", "clicked(bool, int)"])
def test_a_signal_that_a_widget_does_not_have_is_an_error(signal: str) -> None:
    with pytest.raises(AttributeError, match="QPushButton has no signal click"):
        qt.QPushButton().connect(signal, print)


def test_a_property_does_not_take_a_value_of_another_kind() -> None:
    with pytest.raises(TypeError, match=r"QPushButton.enabled does not accept"):
        qt.QPushButton().enabled = object()


def test_surplus_arguments_of_a_signal_are_cut_as_in_pythonqt() -> None:
    button, heard = qt.QPushButton(), []
    button.connect("clicked(bool)", lambda: heard.append("click"))

    button.click()

    assert heard == ["click"]


def test_a_widget_has_no_property_or_signal_that_the_real_one_lacks(host: Any) -> None:
    import panel_driver  # noqa: F401  # makes the MRML widgets known

    wrong = {
        name: beyond
        for name, kind in qt.QUiLoader.widgets.items()
        if (beyond := _ownMembers(kind) - recorded.membersOf(name).properties - _signalNames(name))
    }

    assert "qMRMLNodeComboBox" in qt.QUiLoader.widgets
    assert wrong == {}


def _ownMembers(kind: type) -> set[str]:
    """Return the properties and signals that a stand-in adds to Qt's own."""
    meta, above = kind.staticMetaObject, qt.QAbstractButton.staticMetaObject
    properties = {meta.property(index).name() for index in range(meta.propertyCount())}
    methods = [meta.method(index) for index in range(meta.methodCount())]
    signals = {bytes(each.name()).decode() for each in methods if each.methodType() == QMetaMethod.Signal}
    return {name for name in properties if above.indexOfProperty(name) < 0} | {
        name for name in signals if not hasattr(qt.QAbstractButton, name)
    }


def _signalNames(name: str) -> set[str]:
    return {each.partition("(")[0] for each in recorded.membersOf(name).signals}


def test_no_argument_is_cut_for_a_slot_that_is_no_function_as_in_pythonqt() -> None:
    button, heard = qt.QPushButton(), []
    button.connect("clicked(bool)", partial(lambda *given: heard.append(given), "first"))
    button.connect("clicked(bool)", lambda name="default": heard.append(name))  # taken for an argument, too

    button.click()

    assert heard == [("first", False), False]


def test_a_dialog_that_would_wait_for_a_user_is_an_error() -> None:
    with pytest.raises(AssertionError, match="A dialog would wait for a user"):
        qt.QMessageBox.question(None, "Title", "Text")
    qt.QFileDialog.answers.clear()
    with pytest.raises(AssertionError, match="A dialog would wait for a user"):
        qt.QFileDialog.getOpenFileName(None, "Open")


def test_installing_before_a_click_is_an_error(host: Any) -> None:
    from slicer.packaging import pip_ensure

    with pytest.raises(AssertionError, match="UnCoL wants to install packages although the user clicked nothing"):
        pip_ensure(["torch"], requester="UnCoL")


@pytest.fixture
def wrapper(host: Any) -> Any:
    """Return a function that wraps a class with hints round a new node."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    return lambda hints, **defaults: parameterNodeWrapper(type("P", (), {"__annotations__": hints, **defaults}))(
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    )


def test_a_parameter_takes_only_its_type_and_range(wrapper: Any) -> None:
    from slicer.parameterNodeWrapper import WithinRange

    parameters = wrapper({"opacity": Annotated[float, WithinRange(0, 1)], "name": str}, opacity=0.5)

    assert parameters.opacity == 0.5
    with pytest.raises(ValueError, match=r"within \[0, 1\], got 1.5"):
        parameters.opacity = 1.5
    with pytest.raises(TypeError, match="name takes str, got 7"):
        parameters.name = 7
    with pytest.raises(AttributeError, match="has no parameter opacty"):
        parameters.opacty = 0.2


def test_a_widget_that_cannot_show_a_parameter_is_an_error(wrapper: Any) -> None:
    parameters = wrapper({"name": str})

    with pytest.raises(RuntimeError, match="A QCheckBox cannot show parameter name of type str"):
        parameters.connectParametersToGui({"name": qt.QCheckBox()})
    with pytest.raises(ValueError, match="has no parameter nme"):
        parameters.connectParametersToGui({"nme": qt.QLineEdit()})


def test_parameter_and_widget_follow_each_other_until_they_are_disconnected(wrapper: Any) -> None:
    parameters, edit = wrapper({"name": str}), qt.QLineEdit()
    tag = parameters.connectParametersToGui({"name": edit})

    edit.text = "from the widget"
    assert parameters.name == "from the widget"
    parameters.name = "from the node"
    assert edit.text == "from the node"

    parameters.disconnectGui(tag)
    edit.text = "nobody hears this"
    assert parameters.name == "from the node"
