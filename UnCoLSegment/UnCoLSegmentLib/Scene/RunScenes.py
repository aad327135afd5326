"""The scene's side of a run about several volumes: the panel's comes first, and is the one that a result is told of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene.Cases import namesOf
from UnCoLSegmentLib.Scene.RunData import RunInputs, SegmentationResult
from UnCoLSegmentLib.Scene.RunScene import RunScene


class RunScenes:
    """The scenes of one run, one for each volume.

    Args:
        parameters: The panel's parameter node, or anything with its attributes.
        others: The same of the other volumes from which the run learns.
    """

    def __init__(self, parameters: Any, others: Sequence[Any] = ()) -> None:
        self.first = RunScene(parameters)
        self._volumes = [each.inputVolume for each in (parameters, *others)]
        self._all = (self.first, *(RunScene(each, parameters) for each in others))

    def __iter__(self) -> Iterator[RunScene]:
        return iter(self._all)

    @property
    def names(self) -> list[str]:
        """What to call the volumes, so that the user can tell them apart."""
        return namesOf(self._volumes)

    def watch(self, onLost: Callable[[str], None]) -> None:
        """Call `onLost` with a sentence when the scene is about to close or one of the volumes about to be removed."""
        for each in self:
            each.watch(onLost)

    def unwatch(self) -> None:
        """Stop watching."""
        for each in self:
            each.unwatch()

    def showPreview(
        self, case: int, labels: Volume, inputs: Sequence[RunInputs], step: int, uncertainty: Volume | None
    ) -> None:
        """Show what is found so far of a case, from 1."""
        self._all[case - 1].showPreview(labels, inputs[case - 1], step, uncertainty)

    def proposePreviews(self) -> SegmentationResult | None:
        """Let what was found so far be the proposals of a run that ends early; return that of the first volume."""
        shown = [each.proposePreview() for each in self]
        return shown[0]

    def endPreviews(self) -> None:
        """Remove the previews; the run has nothing more to say before its results."""
        for each in self:
            each.endPreview()
