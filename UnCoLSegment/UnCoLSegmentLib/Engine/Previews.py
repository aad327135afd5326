"""Previews of a run on their way from files into the scene: read in threads, shown on the main thread."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from uncol.core.protocol import Preview
from uncol.core.volume import Volume
from UnCoLSegmentLib.Engine.Run import inThread
from UnCoLSegmentLib.Scene.RunData import RunInputs
from UnCoLSegmentLib.Scene.RunScenes import RunScenes


class Previews:
    """The latest preview of each case that is not shown yet."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[int, Future[tuple[Volume, Volume | None]]]] = {}

    @property
    def areAwaited(self) -> bool:
        """Whether one is being read, or waits to be shown."""
        return bool(self._read)

    def take(self, event: Preview, step: int) -> None:
        """Read a preview that was made after so many steps; one of the same case that is not shown yet is older."""
        doubts = event.uncertainty.read if event.uncertainty is not None else lambda: None
        self._read[event.case] = step, inThread(lambda: (event.segmentation.read(), doubts()))

    def forget(self) -> None:
        """Show none of those that are still being read."""
        self._read = {}

    def show(self, scenes: RunScenes, inputs: Sequence[RunInputs]) -> None:
        """Show those that have been read; one whose file is gone again is passed over, the next one comes."""
        for case, (step, found) in [each for each in self._read.items() if each[1][1].done()]:
            del self._read[case]
            if found.exception() is None:
                labels, uncertainty = found.result()
                scenes.showPreview(case, labels, inputs, step, uncertainty)
