"""How unsure the slices of a result are: as the engine said, or as compared here after a scene was loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from uncol.core.slice_scores import SliceScore
from uncol.core.volume import Axis
from UnCoLSegmentLib.Engine.Run import inThread

Scores = Sequence[SliceScore]


class SliceComparison:
    """Keeps the scores of one uncertainty map, by the axis along which the slices are counted."""

    def __init__(self) -> None:
        self._scores: dict[object, Future[Scores]] = {}

    @property
    def isDone(self) -> bool:
        """Whether no comparison is under way."""
        return all(each.done() for each in self._scores.values())

    def take(self, mapNode: Any, byAxis: Mapping[str, Scores]) -> None:
        """Take over what the engine said about the map that is in a node now."""
        self._scores = {(_contentOf(mapNode), axis): _known(scores) for axis, scores in byAxis.items()}

    def known(self, mapNode: Any, axis: Axis) -> Scores:
        """Return the scores along an axis as far as they are there; none while nobody has compared the slices."""
        found = self._scores.get((_contentOf(mapNode), axis))
        return found.result() if found is not None and found.done() and not found.exception() else ()

    def find(self, mapNode: Any, axis: Axis, compare: Callable[[], Callable[[], Scores]]) -> Scores | None:
        """Return the scores along an axis; None while a thread compares, which begins with the first call.

        Args:
            mapNode: The uncertainty map.
            axis: Along which the slices are counted.
            compare: Takes out of the scene what is to be compared and returns the work that touches no scene.

        Raises:
            Exception: What the comparison has ended with.
        """
        wanted = (_contentOf(mapNode), axis)
        if wanted not in self._scores:
            self._scores = {wanted: inThread(compare())}
        found = self._scores[wanted]
        return found.result() if found.done() else None


def _known(scores: Scores) -> Future[Scores]:
    future: Future[Scores] = Future()
    future.set_result(scores)
    return future


def _contentOf(node: Any) -> object:
    """Return what tells one content of a volume node from another."""
    return (node.GetID(), node.GetImageData().GetMTime()) if node is not None and node.GetImageData() else None
