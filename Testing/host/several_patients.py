"""What the tests of several patients in one scene share: volumes, annotated and learned from."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
from panel_phantom import IJK_TO_RAS
from scripted_engine import readVolume


def addVolume(phantom: Any, name: str) -> Any:
    return slicer.util.addVolumeFromArray(phantom.ct, ijkToRAS=IJK_TO_RAS, name=name)


def choose(panel: Any, name: str) -> None:
    panel.choose("inputVolumeSelector", name)
    panel.waitForDetection()


def annotate(panel: Any, phantom: Any, name: str, *slices: int, structure: str = "liver") -> Any:
    """Choose a volume, make a segmentation for it and paint some slices, as a user does."""
    choose(panel, name)
    volume = panel.parameters.inputVolume
    segmentation = phantom.addSegmentation(volume, structure, f"{name} segments")
    panel.choose("segmentationSelector", f"{name} segments")
    phantom.paint(segmentation, volume, *slices)
    panel.waitForDetection()
    return segmentation


def learn(panel: Any, phantom: Any, engine: Any) -> dict[str, Any]:
    """Fine-tune, and return what the engine was asked, with the labels (K, J, I) of each case."""
    before = len(engine.requests)
    panel.click("fineTuneButton")
    panel.wait(lambda: any(op == "fine_tune" for op, _fields in engine.requests[before:]))
    asked = engine.asked("fine_tune")
    fields = {**asked, "labels": [readVolume(each["labels"]).voxels for each in asked["cases"]]}
    engine.finishFineTune({"liver": 0.9}, phantom.proposed, phantom.uncertainty)
    panel.wait(lambda: panel.logic.state.value == "idle")
    panel.settle()
    return fields


def shownSegmentations() -> set[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return {node.GetName() for node in nodes if node.GetDisplayNode() and node.GetDisplayNode().GetVisibility()}
