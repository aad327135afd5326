"""The whole loop, driven as a user would: box, proposal, three annotated slices, fine-tune, proposal, uncertainty.

The module's own test runs it in Slicer, and so do the tests and benchmarks of the project, on their images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import slicer
import slicer.util
from numpy.typing import NDArray

from UnCoLSegmentLib.Engine.Run import RunResult, RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Scene import Bridge
from UnCoLSegmentLib.Scene.AnnotatedSlices import detectAnnotated, markComplete
from UnCoLSegmentLib.Scripting import waitFor

STRUCTURE = "liver"

_BOX_MARGIN_VOX = 2


@dataclass(frozen=True)
class Story:
    """What happened: how each run ended, and how good the proposals were."""

    first: RunResult
    fineTuned: RunResult
    diceOfFirst: float
    diceOfLast: float


class LoopDriver:
    """Does what a user does with one volume.

    Args:
        logic: What the panel's buttons call.
        parameters: The panel's parameters, a `ParameterNode`.
        truth: Where the structure is (K, J, I), in the voxels of the volume.
        idle: Called between two polls, to wait a moment and to let an application draw and react.
        patience_s: So long a run may take, in s.
    """

    def __init__(
        self,
        logic: Logic,
        parameters: Any,
        truth: NDArray[np.bool_],
        idle: Callable[[], None] | None = None,
        patience_s: float = 600.0,
    ) -> None:
        self._patience_s = patience_s
        self.logic, self.parameters, self.truth = logic, parameters, truth
        self._idle = idle

    def tellStory(self, slices: Sequence[int], steps: int) -> Story:
        """Run the whole loop; `slices` are annotated along K."""
        self.drawBox()
        first = self.segment("box")
        diceOfFirst = self.dice()
        self.annotate(slices)
        fineTuned = self.fineTune(steps)
        return Story(first, fineTuned, diceOfFirst, self.dice())

    def drawBox(self) -> None:
        """Draw a box along the volume's own axes round the structure, with a little air."""
        volume = self.parameters.inputVolume
        found = np.argwhere(self.truth)[:, ::-1]
        lower, upper = found.min(axis=0) - 0.5 - _BOX_MARGIN_VOX, found.max(axis=0) + 0.5 + _BOX_MARGIN_VOX
        grid = Bridge.snapshotVolume(volume)
        boxToRAS = np.eye(4)
        boxToRAS[:3, :3] = grid.ijk_to_ras[:3, :3] / grid.spacing_mm
        boxToRAS[:, 3] = grid.ijk_to_ras @ [*(lower + upper) / 2, 1.0]
        if np.linalg.det(boxToRAS[:3, :3]) < 0:
            boxToRAS[:3, 2] *= -1  # a box has no handedness, an ROI has
        roi = self.parameters.roi or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", STRUCTURE)
        roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(boxToRAS))
        roi.SetSize(*((upper - lower) * grid.spacing_mm).tolist())
        roi.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        self.parameters.roi = roi

    def segment(self, source: str) -> RunResult:
        """Click Segment and wait; the source is "box", "slices" or "model"."""
        self.parameters.segmentFrom = type(self.parameters.segmentFrom)(source)
        return self._run(partial(self.logic.segment, self.parameters))

    def annotate(self, slices: Sequence[int]) -> None:
        """Paint the structure in some slices along K, in the user's own segmentation."""
        parameters, volume = self.parameters, self.parameters.inputVolume
        node = parameters.segmentation
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Annotations")
            node.CreateDefaultDisplayNodes()
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
            node.GetSegmentation().AddEmptySegment(STRUCTURE, STRUCTURE)
            parameters.segmentation = node
        painted = slicer.util.arrayFromSegmentBinaryLabelmap(node, STRUCTURE, volume)
        painted = np.zeros(self.truth.shape, np.uint8) if painted is None else painted.copy()
        painted[list(slices)] = self.truth[list(slices)]
        slicer.util.updateSegmentBinaryLabelmapFromArray(painted, node, STRUCTURE, volume)
        detectAnnotated(node, parameters.proposal, volume)
        for index in slices:
            markComplete(node, volume, "K", index, True)

    def fineTune(self, steps: int) -> RunResult:
        """Click Fine-tune and wait."""
        return self._run(partial(self.logic.fineTune, self.parameters, steps=steps))

    def _run(self, start: Callable[[], None]) -> RunResult:
        result = waitFor(self.logic, start, self._idle, self._patience_s)
        assert self.logic.state is RunState.IDLE
        return result

    def dice(self) -> float:
        """Return how well the proposal fits the truth, in [0, 1]."""
        labels, structures = Bridge.labelsOfAllSegments(self.parameters.proposal, self.parameters.inputVolume)
        values = [each.value for each in structures if each.name == STRUCTURE]
        found = np.isin(labels.voxels, values)
        return float(2 * (found & self.truth).sum() / (found.sum() + self.truth.sum()))


def runSelfTest(moduleLogic: Any) -> Story:
    """Run the whole loop on a phantom, in whatever application this is; a finding is an AssertionError."""
    from UnCoLSegmentLib.ParameterNode import ParameterNode

    logic, parameters = moduleLogic.runs, ParameterNode(moduleLogic.getParameterNode())
    volume, truth = makePhantomVolume()
    parameters.inputVolume = volume
    try:
        story = LoopDriver(logic, parameters, truth).tellStory(slices=[5, 8, 11], steps=20)
    finally:
        logic.shutdown()
    assert story.diceOfFirst > 0.5, f"the box gave Dice {story.diceOfFirst:.2f} only"
    assert story.fineTuned.activated, story.fineTuned.message
    assert logic.store.active == story.fineTuned.modelName
    uncertainty = slicer.util.arrayFromVolume(parameters.uncertaintyVolume)
    assert uncertainty.shape == truth.shape
    assert 0 <= uncertainty.min() <= uncertainty.max() <= 1
    assert parameters.uncertaintyVolume.GetDisplayNode().GetApplyThreshold()
    return story


def makePhantomVolume() -> tuple[Any, NDArray[np.bool_]]:
    """Put a little CT-like volume into the scene, of oblique geometry; return its node and where the structure is."""
    random = np.random.default_rng(0)
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, size) for size in (16, 64, 72)), indexing="ij")
    truth = (k / 0.7) ** 2 + ((j - 0.1) / 0.45) ** 2 + ((i + 0.2) / 0.4) ** 2 < 1
    body = (j / 0.9) ** 2 + (i / 0.9) ** 2 < 1
    voxels = np.where(truth, 120.0, np.where(body, 20.0, -1000.0)) + random.normal(0, 15, truth.shape)
    ijkToRAS = np.array([[-1.6, 1.2, 0.0, 60.0], [-1.2, -1.6, 0.0, 90.0], [0.0, 0.0, 4.0, -40.0], [0, 0, 0, 1.0]])
    node = slicer.util.addVolumeFromArray(voxels.astype(np.int16), ijkToRAS=ijkToRAS, name="Phantom")
    return node, truth
