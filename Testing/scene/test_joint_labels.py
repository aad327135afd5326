"""Several annotated volumes as one training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scene_parts import addVolume

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene.Bridge import SlicesOfLabels, snapshotVolume
from UnCoLSegmentLib.Scene.JointLabels import joined
from UnCoLSegmentLib.Scene.RunData import RunInputs


def test_more_structures_than_label_values_are_refused_and_never_taken_for_unknown(scene: Any) -> None:
    node = addVolume(Volume(np.zeros((2, 3, 4), np.int16), np.eye(4)))

    def withStructures(first: int, last: int) -> RunInputs:
        names = tuple(Structure(value, f"s{number}") for value, number in enumerate(range(first, last + 1), 1))
        return RunInputs(snapshotVolume(node), "cpu", labels=SlicesOfLabels(node), structures=names)

    assert len(joined([withStructures(1, 200), withStructures(55, 254)], ["A", "B"]).structures) == 254
    with pytest.raises(DataError, match="255 structures in all; at most 254"):
        joined([withStructures(1, 200), withStructures(55, 255)], ["A", "B"])
