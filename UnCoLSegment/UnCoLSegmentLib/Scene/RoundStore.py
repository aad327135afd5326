"""Where the rounds of a volume are kept: on its node, so that they go with it into every other scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer.util

from UnCoLSegmentLib.Scene import Rounds
from UnCoLSegmentLib.Scene.Maker import MODEL_ATTRIBUTE

ATTRIBUTE = "UnCoL.Rounds"
"""On a volume: its rounds of annotating and fine-tuning, as text (see `Rounds`)."""


def read(volumeNode: Any) -> list[Rounds.Round]:
    """Return the rounds about a volume, the oldest first; none about no volume."""
    text = volumeNode.GetAttribute(ATTRIBUTE) if volumeNode is not None else None
    return Rounds.readRounds(text or "")


def inScene() -> list[Rounds.Round]:
    """Return the rounds about all volumes of the scene."""
    return [each for volume in _volumes() for each in read(volume)]


def write(volumeNode: Any, rounds: Sequence[Rounds.Round]) -> None:
    """Keep these rounds as those of a volume."""
    volumeNode.SetAttribute(ATTRIBUTE, Rounds.writeRounds(rounds))


def adopt(parameters: Any) -> None:
    """Move the rounds of a scene of version 0.1, where a parameter holds them by node ID, to the volumes themselves."""
    old = Rounds.readRounds(parameters.rounds)
    for volume in _volumes():
        found = Rounds.ofVolume(old, volume.GetID())
        if found:
            write(volume, [*found, *read(volume)])
            old = [each for each in old if each not in found]
            parameters.rounds = Rounds.writeRounds(old) if old else ""


def renameModel(parameters: Any, old: str, new: str) -> None:
    """Give a model another name wherever a panel's scene names it: in rounds, proposals, maps and the choice."""
    for volume in _volumes():
        rounds = read(volume)
        if rounds:
            write(volume, Rounds.renamed(rounds, old, new))
    for node in (*slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), *_volumes()):
        if node.GetAttribute(MODEL_ATTRIBUTE) == old:
            node.SetAttribute(MODEL_ATTRIBUTE, new)
    if parameters.modelName == old:
        parameters.modelName = new


def _volumes() -> list[Any]:
    volumes: list[Any] = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return volumes
