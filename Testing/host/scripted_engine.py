"""Stands in for the engine's process in panel tests: says what the test wants, when it wants it, with real files.

It fulfills the interface of `EngineProcess`; everything from there on, logic, files and scene, is real.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uncol.core.volume_files import read_nrrd, write_nrrd
from UnCoLSegmentLib.Engine.Signal import Signal

MODEL_FILES = ("model.json", "weights.safetensors")


class ScriptedEngine:
    """An engine that waits for the test's word.

    Args:
        folder: Its job folder.
    """

    def __init__(self, folder: Path) -> None:
        self.received, self.ended = Signal(), Signal()
        self.folder = folder
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.greeting: dict[str, Any] | None = None
        self.greetingId: int | None = None
        self.isRunning = False
        self._waiting: list[dict[str, Any]] = []

    def start(self) -> None:
        if self.isRunning:
            return
        self.folder.mkdir(exist_ok=True)
        self.isRunning = True
        self.greetingId = self.request("hello", protocol=1)
        self.greeting = {"id": self.greetingId, "event": "result", "job_folder": str(self.folder), "devices": ["cpu"]}
        self._waiting.append(self.greeting)

    def request(self, op: str, **fields: Any) -> int:
        self.requests.append((op, fields))
        return len(self.requests)

    def cancel(self, requestId: int) -> int:
        return self.request("cancel", target=requestId)

    def poll(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self.received.emit(event)

    def stop(self, farewell_s: float = 0.0) -> None:
        self.isRunning, self.greeting, self.greetingId = False, None, None

    def die(self, exitCode: int) -> None:
        """End as a killed process does."""
        self.stop()
        self._waiting.clear()
        self.ended.emit(exitCode, "Killed")

    def asked(self, op: str) -> dict[str, Any] | None:
        """Return the fields of the latest request of a kind; None if there was none."""
        return next((fields for name, fields in reversed(self.requests) if name == op), None)

    def say(self, op: str, event: str, **fields: Any) -> None:
        """Say something about the latest request of a kind; the panel hears it the next time it asks."""
        number = max(index for index, (name, _) in enumerate(self.requests, 1) if name == op)
        self._waiting.append({"id": number, "event": event, **fields})

    def finishSegment(self, voxels: np.ndarray, uncertainty: np.ndarray, names: Sequence[str], *notes: str) -> None:
        """Answer the latest request to segment with these labels (K, J, I); value 1 is the first name."""
        fields = self.asked("segment")
        result = _writeResult(Path(fields["job"]), fields["image"], voxels, uncertainty)
        self.say("segment", "result", **result, report=_report(voxels, names, notes))

    def finishFineTune(
        self,
        heldOut: dict[str, float],
        voxels: np.ndarray,
        uncertainty: np.ndarray,
        *notes: str,
        ofProposal: Sequence[str] = (),
        alone: bool = False,
    ) -> None:
        """Answer the latest request to learn with a model that scored like this on held-out slices, and its proposal.

        Args:
            heldOut: Its Dice by structure.
            voxels: What is proposed (K, J, I); value 1 is the first structure that was annotated.
            uncertainty: The map that comes with it.
            notes: What is noted about the training.
            ofProposal: What is noted about the proposal.
            alone: Whether the model made the proposal without the foundation model.
        """
        fields = self.asked("fine_tune")
        names = [each["name"] for each in fields["structures"]]
        writeModel(Path(fields["out"]), names, heldOut, *notes)
        result = _writeResult(Path(fields["job"]), fields["cases"][0]["image"], voxels, uncertainty)
        report = {**_report(voxels, names, ofProposal), "by_both_teachers": not alone}
        self.say("fine_tune", "result", model=fields["out"], **result, report=report)


def _writeResult(folder: Path, imageName: str, voxels: np.ndarray, uncertainty: np.ndarray) -> dict[str, Any]:
    image = read_nrrd(folder / imageName)
    write_nrrd(folder / "segmentation.nrrd", image.with_voxels(voxels.astype(np.uint8)))
    write_nrrd(folder / "uncertainty.nrrd", image.with_voxels(uncertainty.astype(np.float32)))
    return {"segmentation": "segmentation.nrrd", "uncertainty": "uncertainty.nrrd"}


def _report(voxels: np.ndarray, names: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    structures = [
        {"value": value, "name": name, "voxels": int((voxels == value).sum())} for value, name in enumerate(names, 1)
    ]
    return {"structures": structures, "notes": list(notes)}


def writeModel(folder: Path, names: Sequence[str], heldOut: dict[str, float], *notes: str) -> None:
    """Write the three files of a model, as far as the store looks at them."""
    folder.mkdir(parents=True, exist_ok=True)
    training = {
        "steps": 400,
        "seconds": 120.0,
        "specialized_reliability": dict.fromkeys(["background", *names], 0.5),  # no score of this model's
        "held_out_dice": heldOut,
        "curve": [],
        "notes": list(notes),
    }
    card = {
        "format": 1,
        "structures": [{"value": value, "name": name} for value, name in enumerate(names, 1)],
        "training": training,
    }
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "weights.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in MODEL_FILES]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
