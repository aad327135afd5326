"""How the proposal and the user's segmentation are shown: filled, in 3D, one beside the other, or not at all. No Qt."""

from __future__ import annotations

from typing import Any

import slicer

_CLOSED_SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


class ResultDisplay:
    """Changes the display of a proposal and of the user's segmentation; their nodes hold most of the state."""

    def __init__(self) -> None:
        self._proposal: Any = None
        self._own: Any = None
        self._wants3D = False
        self._before: dict[str, bool] | None = None
        self.isHidden = False
        """Whether the image alone is shown."""

    @property
    def isFilled(self) -> bool:
        """Whether the proposal is filled in the slice views."""
        return self._proposal is None or bool(self._proposal.GetDisplayNode().GetVisibility2DFill())

    @property
    def is3D(self) -> bool:
        """Whether the proposal has a surface that is shown."""
        node = self._proposal
        hasIt = node is not None and node.GetSegmentation().ContainsRepresentation(_CLOSED_SURFACE)
        return bool(hasIt and node.GetDisplayNode().GetVisibility3D())

    def follow(self, proposal: Any, own: Any) -> None:
        """Take the chosen nodes; None for none. What another proposal hid is shown again."""
        if proposal is not self._proposal:
            self.isHidden, self._before = False, None
        self._proposal, self._own = proposal, own

    def show3D(self, isOn: bool) -> None:
        """Make the surface, or drop it: a hidden one would be made anew at each change."""
        self._wants3D = isOn
        if isOn:
            self._proposal.GetDisplayNode().SetVisibility3D(True)
            self._proposal.CreateClosedSurfaceRepresentation()
        else:
            self._proposal.RemoveClosedSurfaceRepresentation()

    def showAnew(self) -> None:
        """Make the surface of a proposal that has come, if the user had one of the proposal before."""
        if self._proposal is not None and self._wants3D:
            self.show3D(True)

    def fill(self, isOn: bool) -> None:
        """Fill the proposal in the slice views, or draw its outline only."""
        self._proposal.GetDisplayNode().SetVisibility2DFill(isOn)

    def hide(self, isHidden: bool) -> None:
        """Show the image alone, or again what was shown before."""
        self.isHidden = isHidden
        self._setVisible(dict.fromkeys(self._displays(), not isHidden))

    def compare(self, isOn: bool) -> None:
        """Show the user's segmentation without the proposal while this is on; without one, the image alone."""
        if isOn:
            self._before = {name: bool(each.GetVisibility()) for name, each in self._displays().items()}
            self._setVisible({"proposal": False, "own": True})
        elif self._before is not None:
            before, self._before = self._before, None
            self._setVisible(before)

    def _displays(self) -> dict[str, Any]:
        nodes = {"proposal": self._proposal, "own": self._own}
        displays = {name: node.GetDisplayNode() for name, node in nodes.items() if node is not None}
        return {name: each for name, each in displays.items() if each is not None}

    def _setVisible(self, wanted: dict[str, bool]) -> None:
        for name, display in self._displays().items():
            display.SetVisibility(wanted.get(name, True))
