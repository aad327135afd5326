"""A user with a phantom, and an engine that does what the test says."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from as_slicer_waits import waitAsSlicer
from parameters import Parameters
from scripted_engine import ScriptedEngine

from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.SelfTest import LoopDriver, makePhantomVolume

PATIENCE_S = 20.0


class User:
    """A user with a phantom, and an engine that does what the test says."""

    def __init__(self, folder: Path) -> None:
        self.engine = ScriptedEngine(folder / "job")
        self.logic = Logic(folder / "models", self.engine)
        volume, self.truth = makePhantomVolume()
        self.parameters = Parameters(inputVolume=volume)
        self.driver = LoopDriver(self.logic, self.parameters, self.truth, idle=partial(waitAsSlicer, 2))
        self.told: list[tuple[str, Any]] = []
        self.logic.finished.connect(lambda result: self.told.append(("finished", result)))
        self.logic.failed.connect(lambda message, _details: self.told.append(("failed", message)))
        self.logic.cancelled.connect(lambda message: self.told.append(("cancelled", message)))

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (met := condition()):
            assert time.monotonic() < deadline, f"waited in vain; told {self.told}, asked {self.engine.requests}"
            self.logic.poll()
            waitAsSlicer(2)
        return met

    def untilAsked(self, op: str, count: int = 1) -> dict[str, Any]:
        self.until(lambda: sum(name == op for name, _fields in self.engine.requests) >= count)
        return self.engine.asked(op)

    def end(self) -> tuple[str, Any]:
        self.until(lambda: self.told)
        return self.told.pop()

    def segment(self, found: np.ndarray | None = None) -> Any:
        """Let the engine propose the truth, or something else."""
        count = sum(name == "segment" for name, _fields in self.engine.requests)
        self.logic.segment(self.parameters)
        self.untilAsked("segment", count + 1)
        self.propose(found)
        return self.end()[1]

    def propose(self, found: np.ndarray | None = None) -> None:
        uncertainty = np.where(self.truth, 0.3, 0.05)
        self.engine.finishSegment(self.truth if found is None else found, uncertainty, ["liver"])

    def fineTune(self, heldOut: float | None, found: np.ndarray | None = None, **more: Any) -> Any:
        """Let the engine learn a model that scores so on held-out slices, None if there were none, and propose.

        Where the model is not better, the one in use is asked to segment and finds the truth.
        """
        learned, segmented = (sum(name == op for name, _ in self.engine.requests) for op in ("fine_tune", "segment"))
        self.logic.fineTune(self.parameters)
        self.untilAsked("fine_tune", learned + 1)
        self.finishFineTune({} if heldOut is None else {"liver": heldOut}, found, **more)
        self.until(lambda: self.told or sum(name == "segment" for name, _ in self.engine.requests) > segmented)
        if not self.told:
            self.propose()
        return self.end()[1]

    def finishFineTune(
        self, heldOut: dict[str, float], found: np.ndarray | None = None, *notes: str, **more: Any
    ) -> None:
        voxels, uncertainty = self.truth if found is None else found, np.where(self.truth, 0.3, 0.05)
        self.engine.finishFineTune(heldOut, voxels, uncertainty, *notes, **more)
