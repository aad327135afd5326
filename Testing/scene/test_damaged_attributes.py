"""Attributes of nodes in a scene that is damaged, or of somebody else: they say nothing, and stop nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scene_parts import addSegmentation, addVolume

from uncol.core.findings import Findings
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, Places, UncertaintyParts
from UnCoLSegmentLib.Scene.Maker import KNOWN_ATTRIBUTE, Maker
from UnCoLSegmentLib.Scene.Rounds import readRounds

DAMAGED = ["{", "[" * 100_000, '"K:1"', "5", "[[1]]", '{"a": 1}', "[NaN]", "[" + "9" * 5000 + "]", '["\\ud800"]']
SHAPE_KJI = (4, 6, 8)


@pytest.fixture
def volume(host: Any) -> Any:
    return addVolume(Volume(np.zeros(SHAPE_KJI, np.int16), np.eye(4)))


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_what_a_proposal_says_of_its_maker_and_findings_is_nothing_then(volume: Any, text: str) -> None:
    proposal = addSegmentation({"liver": np.ones(SHAPE_KJI, bool)}, volume)
    proposal.SetAttribute(KNOWN_ATTRIBUTE, text)
    proposal.SetAttribute("UnCoL.Findings", text)

    assert Maker.of(proposal) == Maker()
    assert Places.findingsOf(proposal) == Findings()
    assert readRounds(text) == []


@pytest.mark.parametrize("text", [*DAMAGED, "[0, 0]", "[-1, 0, 0]", "[0, 0, 3]", "[0.5, 0, 0]"], ids=range(13))
def test_a_part_of_a_map_that_lies_nowhere_is_left_out_and_one_about_nothing_goes(volume: Any, text: str) -> None:
    said = np.full(SHAPE_KJI, 0.5, np.float32)
    UncertaintyParts.add(volume, said, ["liver"])
    mapNode = addVolume(Volume(np.zeros(SHAPE_KJI, np.float32), np.eye(4)))
    [part] = UncertaintyParts.partsOf(volume)
    UncertaintyParts.join(volume, mapNode)
    assert Bridge.snapshotVolume(mapNode).voxels.max() == 0.5
    blank = addVolume(Volume(np.zeros(SHAPE_KJI, np.float32), np.eye(4)))

    part.SetAttribute(UncertaintyParts.FIRST_ATTRIBUTE, text)
    UncertaintyParts.join(volume, blank)
    part.SetAttribute(UncertaintyParts.ATTRIBUTE, text)
    UncertaintyParts.keep(volume, mapNode, ["spleen"])

    assert Bridge.snapshotVolume(blank).voxels.max() == 0
    assert UncertaintyParts.partsOf(volume) == []
