"""The learning curve's nodes: one set each, whatever is loaded, closed or loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
import slicer.util
import vtk

POINTS = [{"step": 10.0, "supervised": 1.5}, {"step": 20.0, "supervised": 1.1, "pseudo_label": 0.4}]
CLASSES = ("vtkMRMLTableNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotViewNode", "vtkMRMLPlotSeriesNode")


@pytest.fixture
def place(host: Any) -> Any:
    """Where the plot goes, shown in a window."""
    import panel_driver  # noqa: F401  # makes the MRML widgets known

    place = qt.QWidget()
    qt.QVBoxLayout(place)
    yield place
    place.deleteLater()


@pytest.fixture
def node(host: Any) -> Any:
    """The panel's parameter node."""
    node = slicer.vtkMRMLScriptedModuleNode()
    node.SetSingletonTag("UnCoLSegment")
    return slicer.mrmlScene.AddNode(node)


def makeCurve(place: Any) -> Any:
    from UnCoLSegmentLib.Panel.LearningCurve import LearningCurve

    return LearningCurve(place)


def counts() -> list[int]:
    return [len(slicer.util.getNodesByClass(name)) for name in CLASSES]


def plotIn(place: Any) -> Any:
    return place.findChild(slicer.qMRMLPlotWidget)


def test_a_panel_that_is_loaded_again_goes_on_with_the_same_nodes(place: Any, node: Any) -> None:
    makeCurve(place).show(POINTS[:1], node)

    makeCurve(place).show(POINTS, node)

    assert counts() == [1, 1, 1, 2]
    assert plotIn(place).curves()["Annotated slices"].tolist() == [[10.0, 1.5], [20.0, 1.1]]


def test_a_scene_that_was_saved_goes_on_with_its_own_nodes(place: Any, node: Any, tmp_path: Path) -> None:
    curve = makeCurve(place)
    curve.show(POINTS, node)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    curve.forget()
    slicer.mrmlScene.Clear(False)

    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    curve.show(POINTS, slicer.mrmlScene.GetSingletonNode("UnCoLSegment", "vtkMRMLScriptedModuleNode"))

    assert counts() == [1, 1, 1, 2]
    assert set(plotIn(place).curves()) == {"Annotated slices", "Other slices"}


def test_the_layout_manager_leaves_the_panels_view_alone(place: Any, node: Any) -> None:
    seen: list[Any] = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def noteParent(_scene: Any, _event: Any, added: Any) -> None:
        if added.IsA("vtkMRMLPlotViewNode"):  # now the layout manager would make a widget for a view of its own
            seen.append(added.GetParentLayoutNode())

    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, noteParent)
    makeCurve(place).show(POINTS, node)
    slicer.mrmlScene.RemoveObserver(tag)

    assert seen == slicer.util.getNodesByClass("vtkMRMLPlotChartNode")


def test_a_curve_that_is_forgotten_holds_no_view(place: Any, node: Any) -> None:
    curve = makeCurve(place)
    curve.show(POINTS, node)

    curve.forget()

    assert plotIn(place).mrmlPlotViewNode() is None
    assert not place.visible


def test_the_mouse_wheel_goes_to_the_panel_and_no_controls_stand_in_the_way(place: Any, node: Any) -> None:
    makeCurve(place).show(POINTS, node)
    place.resize(300, 200)
    place.show()
    qt.application.processEvents()

    plot = plotIn(place)
    assert place.childAt(plot.geometry.center()) is None  # so Qt finds who gets an event of the mouse
    assert plot.plotController().isHidden()
