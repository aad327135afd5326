"""The panel's words for the next slice to annotate."""

from __future__ import annotations

import pytest

from uncol.core.errors import DataError
from uncol.core.slice_scores import SliceScore
from UnCoLSegmentLib.Scene.SliceSuggestion import suggest


def makeScores(byIndex: dict[int, float], *unsure: str) -> list[SliceScore]:
    return [SliceScore(index, score, unsure) for index, score in byIndex.items()]


def test_the_least_sure_slice_is_suggested_with_the_reason() -> None:
    scores = makeScores({1: 0.1, 2: 0.3, 3: 0.2}, "liver", "spleen")

    suggestion = suggest(scores, "K", [])

    assert (suggestion.axis, suggestion.index) == ("K", 2)
    assert suggestion.reason == "Least sure here: liver, spleen. No slice is annotated yet."


def test_direct_neighbors_of_annotated_slices_are_left_to_the_end() -> None:
    scores = makeScores({0: 0.1, 1: 0.9, 2: 0.5, 3: 0.8, 4: 0.2}, "liver")

    assert suggest(scores, "J", [2]).index == 4
    assert suggest(scores, "J", [2]).reason.endswith("The nearest annotated slice is 2 slices away.")
    assert suggest(scores, "J", [0, 2, 4]).index == 1
    assert suggest(scores, "J", [0, 2, 4]).reason.endswith("The nearest annotated slice is next to it.")


def test_a_model_without_uncertainty_is_sure() -> None:
    assert suggest(makeScores({0: 0.0, 1: 0.0}), "K", []).reason.startswith("The model is sure of every")


def test_a_slice_without_a_structure_nearby_is_never_suggested() -> None:
    scores = makeScores({0: 0.2, 2: 0.1}, "liver")

    with pytest.raises(DataError, match="Every slice in which a structure was found is annotated already"):
        suggest(scores, "K", [0, 2])


def test_a_proposal_without_any_structure_suggests_nothing() -> None:
    with pytest.raises(DataError, match="The proposal holds no structure"):
        suggest([], "K", [])
