"""The next slice to annotate: the rule of the engine, worked out by hand and compared with the engine."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume, view_slices
from uncol.demo.suggestion import suggest_slice
from uncol.inference.result import Segmentation
from UnCoLSegmentLib.Scene.SliceSuggestion import SliceScores, scoreSlices, suggest

LIVER, SPLEEN = Structure(1, "liver"), Structure(2, "spleen")


def makeScores(total: list[float], **ofStructure: list[float]) -> SliceScores:
    return SliceScores(np.array(total), {name: np.array(each) for name, each in ofStructure.items()})


def test_the_least_sure_slice_is_suggested_with_the_reason() -> None:
    scores = makeScores([0, 0.1, 0.3, 0.2], liver=[0, 0.1, 0.3, 0.1], spleen=[0, 0, 0.2, 0.1])

    suggestion = suggest(scores, "K", [])

    assert (suggestion.axis, suggestion.index) == ("K", 2)
    assert suggestion.reason == "Least sure here: liver, spleen. No slice is annotated yet."


def test_direct_neighbors_of_annotated_slices_are_left_to_the_end() -> None:
    scores = makeScores([0.1, 0.9, 0.5, 0.8, 0.2], liver=[0.1, 0.9, 0.5, 0.8, 0.2])

    assert suggest(scores, "J", [2]).index == 4
    assert suggest(scores, "J", [0, 2, 4]).index == 1
    assert suggest(scores, "J", [0, 2, 4]).reason.endswith("The nearest annotated slice is next to it.")


def test_a_slice_without_a_structure_nearby_is_never_suggested() -> None:
    scores = makeScores([0.2, 0, 0.1], liver=[0.2, 0, 0.1])

    with pytest.raises(DataError, match="Every slice in which a structure was found is annotated already"):
        suggest(scores, "K", [0, 2])


def test_a_proposal_without_any_structure_suggests_nothing() -> None:
    with pytest.raises(DataError, match="The proposal holds no structure"):
        suggest(makeScores([0, 0]), "K", [])


def test_scores_are_sums_near_the_structure_over_size_plus_typical_size() -> None:
    labels = np.zeros((3, 5, 5), np.uint8)
    labels[1, 2, 2] = 1
    uncertainty = np.ones((3, 5, 5), np.float32)
    thick = np.diag([10.0, 10.0, 10.0, 1.0])  # 5 mm reach one voxel of 10 mm

    scores = scoreSlices(Volume(labels, thick), Volume(uncertainty, thick), [LIVER], "K")

    # 3 x 3 voxels are near in each of the three slices; typical is 9: 9 / (9 + 9)
    np.testing.assert_allclose(scores.total, [0.5, 0.5, 0.5])
    np.testing.assert_allclose(scores.ofStructure["liver"], [0.5, 0.5, 0.5])


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("annotated", [[], [4], [3, 6]], ids=str)
def test_the_panel_suggests_what_the_engine_would(nasty_volumes, plane: str, annotated: list[int]) -> None:
    for small in nasty_volumes.values():
        found = Volume(np.zeros((9, 11, 10), np.uint8), small.ijk_to_ras)
        view = view_slices(found, plane)
        stack = view.stack_from(found.voxels)
        stack[2:7], stack[3:5, :, :4] = 1, 2  # they fill their slices: there a box and a disk are alike
        doubt = found.with_voxels(np.full(found.shape_kji, 0.05, np.float32))
        doubtOfSlices = np.array([0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.2, 0.1, 0.6, 0, 0], np.float32)
        view.stack_from(doubt.voxels)[:] += doubtOfSlices[: len(stack), None, None]

        ofEngine = suggest_slice(Segmentation(found, doubt, (LIVER, SPLEEN)), view, annotated)
        scores = scoreSlices(found, doubt, [LIVER, SPLEEN], view.slice_axis)
        ofPanel = suggest(scores, view.slice_axis, annotated)

        assert ofPanel.index == ofEngine.file_index
