"""The demo's words for the next slice, and its number in file and stack."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.core.jobs import Structure
from uncol.core.volume import Plane, Volume, view_slices
from uncol.demo.suggestion import suggest_slice
from uncol.inference.result import Segmentation
from uncol.report.results import Suggestion

LIVER, SPLEEN = Structure(1, "liver"), Structure(2, "spleen")


def suggest(
    doubts: list[float], annotated: tuple[int, ...], k_spacing: float = 3.0, plane: Plane = "axial"
) -> Suggestion | None:
    """Both structures fill a row of each slice; a negative spacing is that of a K that counts downwards."""
    labels = np.zeros((len(doubts), 2, 4), np.uint8)
    labels[:, 0], labels[:, 1] = 1, 2
    volume = Volume(labels, np.diag([-10.0, -10.0, k_spacing, 1.0]))
    uncertainty = np.ones(labels.shape, np.float32) * np.array(doubts, np.float32)[:, None, None]
    segmentation = Segmentation(volume, volume.with_voxels(uncertainty), (LIVER, SPLEEN))
    return suggest_slice(segmentation, view_slices(volume, plane), annotated)


@pytest.mark.parametrize(("k_spacing", "stack_index"), [(3.0, 4), (-3.0, 2)], ids=["upwards", "downwards"])
def test_slices_are_numbered_in_file_and_stack(k_spacing: float, stack_index: int) -> None:
    # Slice 1 of the file is surer than nothing but stands beside the annotated slice 0 of the file.
    suggestion = suggest([0, 0.9, 0.1, 0.2, 0.8, 0.1, 0.3], (0,), k_spacing)

    assert suggestion is not None
    assert (suggestion.file_index, suggestion.stack_index) == (4, stack_index)
    assert suggestion.score == pytest.approx(8 * 0.8 / (8 + 8))
    assert suggestion.reason == "Least sure here: liver and spleen. The nearest annotated slice is 4 slices away."


@pytest.mark.parametrize("k_spacing", [3.0, -3.0])
def test_of_equal_scores_the_lower_number_in_the_file_is_taken(k_spacing: float) -> None:
    suggestion = suggest([0.5] * 9, (4,), k_spacing)

    assert suggestion is not None
    assert suggestion.file_index == 0


def test_a_sagittal_stack_is_searched_along_its_own_slices() -> None:
    suggestion = suggest([0.5, 0.5], (0,), plane="sagittal")

    assert suggestion is not None
    assert suggestion.file_index == 3


@pytest.mark.parametrize(
    ("doubts", "annotated", "reason"),
    [
        (
            [0.0] * 6,
            (0,),
            "The model is sure of every slice that is left. The nearest annotated slice is 5 slices away.",
        ),
        ([0.5] * 3, (), "Least sure here: liver and spleen. No slice is annotated yet."),
        ([0.5] * 3, (0, 2), "Least sure here: liver and spleen. The nearest annotated slice is 1 slice away."),
    ],
)
def test_the_reason_is_two_sentences(doubts: list[float], annotated: tuple[int, ...], reason: str) -> None:
    suggestion = suggest(doubts, annotated)

    assert suggestion is not None
    assert suggestion.reason == reason


def test_nothing_is_suggested_where_everything_is_annotated() -> None:
    assert suggest([0.5] * 3, (0, 1, 2)) is None
