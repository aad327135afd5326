"""How the proposal is shown: at all, filled or as an outline, and as a surface in 3D."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Panel.Controls import enable

_CLOSED_SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


class ProposalControls:
    """Check boxes that show and change the display of a proposal; the node itself holds the state.

    Args:
        ui: The panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui, self._proposal, self._is3D = ui, None, False
        ui.proposalShownCheckBox.connect("clicked(bool)", self._show)
        ui.proposalFilledCheckBox.connect("clicked(bool)", self._fill)
        ui.proposal3DCheckBox.connect("clicked(bool)", self._show3D)

    def update(self, proposal: Any) -> None:
        """Show how a proposal is displayed; None for no proposal."""
        ui, self._proposal = self.ui, proposal
        enable(
            "" if proposal is not None else _("There is no proposal yet. Segment the volume first."),
            (ui.proposalShownCheckBox, _("Show the proposal in all views")),
            (ui.proposalFilledCheckBox, _("Fill the proposal in the slice views; otherwise only its outline is drawn")),
            (ui.proposal3DCheckBox, _("Show the proposal as a surface in the 3D views")),
        )
        display = proposal.GetDisplayNode() if proposal is not None else None
        ui.proposalShownCheckBox.checked = display is None or bool(display.GetVisibility())
        ui.proposalFilledCheckBox.checked = display is None or bool(display.GetVisibility2DFill())
        ui.proposal3DCheckBox.checked = proposal is not None and _hasSurface(proposal)

    def showAnew(self) -> None:
        """Make the surface of a proposal that has come, if the user had one of the proposal before."""
        if self._proposal is not None and self._is3D:
            self._show3D(True)
            self.update(self._proposal)

    def _show3D(self, isOn: bool) -> None:
        """Make the surface, or drop it: a hidden one would be made anew at each change."""
        self._is3D = isOn
        if isOn:
            self._proposal.GetDisplayNode().SetVisibility3D(True)
            self._proposal.CreateClosedSurfaceRepresentation()
        else:
            self._proposal.RemoveClosedSurfaceRepresentation()

    def _show(self, isOn: bool) -> None:
        self._proposal.GetDisplayNode().SetVisibility(isOn)

    def _fill(self, isOn: bool) -> None:
        self._proposal.GetDisplayNode().SetVisibility2DFill(isOn)


def _hasSurface(proposal: Any) -> bool:
    hasIt = proposal.GetSegmentation().ContainsRepresentation(_CLOSED_SURFACE)
    return bool(hasIt and proposal.GetDisplayNode().GetVisibility3D())
