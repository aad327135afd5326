"""How proposal and user's segmentation are shown: filled, in 3D, one instead of the other, or not at all. No Qt."""

from __future__ import annotations

from typing import Any

from UnCoLSegmentLib.Scene import DoubtSurface, Places, ProposalBefore, Results

_OWN_FILL_OPACITY = 0.15


def fillLightly(segmentation: Any) -> None:
    """Fill a segmentation that was made for the user just now so lightly that the image is seen through it."""
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetDisplayNode().SetOpacity2DFill(_OWN_FILL_OPACITY)


class ResultDisplay:
    """Changes the display of a proposal and of the user's segmentation; their nodes hold most of the state."""

    def __init__(self) -> None:
        self._proposal: Any = None
        self._own: Any = None
        self._earlier: Any = None
        self._map: Any = None
        self._wants3D = False
        self._before: dict[str, bool] | None = None
        self.isHidden = False
        """Whether the image alone is shown."""

    @property
    def isFilled(self) -> bool:
        """Whether the proposal is filled in the slice views."""
        return self._proposal is not None and bool(self._proposal.GetDisplayNode().GetVisibility2DFill())

    @property
    def hasEarlier(self) -> bool:
        """Whether there is a proposal of before the last run."""
        return self._earlier is not None

    @property
    def shown(self) -> tuple[str, ...]:
        """What can be seen of "proposal", "earlier" (the proposal of before) and "own" (what the user has)."""
        displays = {name: each for name, each in self._displays().items() if name != "surface"}
        return tuple(name for name, each in displays.items() if each.GetVisibility())

    @property
    def is3D(self) -> bool:
        """Whether the proposal has a surface."""
        return DoubtSurface.surfaceOf(self._proposal) is not None

    def follow(self, proposal: Any, own: Any, mapNode: Any) -> None:
        """Take the chosen nodes; None for none. What another proposal hid is shown again."""
        if proposal is not self._proposal:
            if self._before is not None:
                self._setVisible({"earlier": False})
            self.isHidden, self._before = False, None
        self._proposal, self._own, self._map = proposal, own, mapNode
        self._earlier = ProposalBefore.of(Results.volumeOf(proposal))

    def show3D(self, isOn: bool) -> None:
        """Make the surface, colored by the map, or drop it."""
        self._wants3D = isOn
        if isOn:
            self._proposal.GetDisplayNode().SetVisibility3D(False)  # its own surface would lie in ours
            DoubtSurface.show(self._proposal, self._map, Places.findingsOf(self._proposal).unsure_from)
        else:
            DoubtSurface.remove(self._proposal)

    def showAnew(self) -> None:
        """Make the surface of a proposal that has come, if the user had one of the proposal before."""
        if self._proposal is not None and self._map is not None and self._wants3D:
            self.show3D(True)

    def fill(self, isOn: bool) -> None:
        """Fill the proposal in the slice views, or draw its outline only."""
        self._proposal.GetDisplayNode().SetVisibility2DFill(isOn)

    def hide(self, isHidden: bool) -> None:
        """Show the image alone, or again what was shown before."""
        self.isHidden = isHidden
        self._setVisible(dict.fromkeys(("proposal", "surface", "own"), not isHidden))

    def compare(self, other: str) -> None:
        """Show "own", what the user has, or "earlier", what was proposed before, instead of the proposal.

        "" shows again what was shown.
        """
        if self._before is not None:
            before, self._before = self._before, None
            self._setVisible(before)
        if other:
            self._before = {name: bool(each.GetVisibility()) for name, each in self._displays().items()}
            self._setVisible({"proposal": False, "surface": False, other: True})

    def _displays(self) -> dict[str, Any]:
        surface = DoubtSurface.surfaceOf(self._proposal)
        nodes = {"proposal": self._proposal, "surface": surface, "earlier": self._earlier, "own": self._own}
        displays = {name: node.GetDisplayNode() for name, node in nodes.items() if node is not None}
        return {name: each for name, each in displays.items() if each is not None}

    def _setVisible(self, wanted: dict[str, bool]) -> None:
        for name, display in self._displays().items():
            display.SetVisibility(wanted.get(name, bool(display.GetVisibility())))
