"""What was proposed before the last run: kept with its names, colors and voxels, whatever the next result changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scene_parts import addVolume, maskOf, segmentOf

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Labelmaps, Proposal, ProposalBefore


@pytest.mark.parametrize("joins", [False, True])
def test_the_next_result_leaves_it_as_it_was(scene: Any, make_volume: Any, joins: bool) -> None:
    labels = make_volume(np.eye(3, 4, dtype=np.uint8)[None].repeat(2, axis=0))
    volume = addVolume(labels)
    proposal = Proposal.putProposal(
        labels.with_voxels(labels.voxels + 1), [Structure(1, "liver"), Structure(2, "tumor")], volume, None
    )
    segmentOf(proposal, "liver").SetColor(0.1, 0.2, 0.3)
    assert ProposalBefore.of(volume) is None

    ProposalBefore.keep(proposal, volume)
    Proposal.putProposal(
        Volume(1 - labels.voxels, labels.ijk_to_ras), [Structure(1, "tumor")], volume, proposal, joins=joins
    )

    before = ProposalBefore.of(volume)
    assert not before.GetDisplayNode().GetVisibility()
    assert [each.GetName() for each in Labelmaps.segmentsOf(before).values()] == ["liver", "tumor"]
    assert segmentOf(before, "liver").GetColor() == (0.1, 0.2, 0.3)
    assert np.array_equal(maskOf(before, "liver", volume), labels.voxels == 0)
    assert np.array_equal(maskOf(before, "tumor", volume), labels.voxels == 1)
    assert np.array_equal(maskOf(proposal, "tumor", volume), labels.voxels == 0)
