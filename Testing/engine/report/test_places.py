from __future__ import annotations

import numpy as np
import pytest

from uncol.report.places import Place, find_places, near_structures, sentence_of

SHAPE, SPACING = (60, 60, 30), (1.0, 1.0, 2.0)


def ball(center: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    grid = np.ogrid[tuple(slice(size) for size in SHAPE)]
    parts = zip(grid, center, SPACING, strict=True)
    return sum(((axis - middle) * spacing) ** 2 for axis, middle, spacing in parts) < radius_mm**2


LIVER = ball((30, 30, 15), 18)


def places_in(labels: np.ndarray, uncertainty: np.ndarray) -> tuple[tuple[Place, ...], np.ndarray]:
    labels = labels.astype(np.uint8)
    return find_places(labels, uncertainty, near_structures(labels, SPACING), SPACING)


def rim() -> np.ndarray:
    return np.where(LIVER ^ ball((30, 30, 15), 15), 0.9, 0.0) + np.where(ball((30, 30, 15), 21) & ~LIVER, 0.9, 0.0)


def test_the_rim_of_a_contour_is_no_place() -> None:
    places, numbers = places_in(LIVER, rim())

    assert places == ()
    assert not numbers.any()


def test_thick_places_are_found_the_one_with_most_doubt_first() -> None:
    small, large = ball((30, 14, 15), 7), ball((44, 42, 15), 9)

    places, numbers = places_in(LIVER, np.maximum(rim(), 0.95 * (small | large)))

    assert [each.number for each in places] == [1, 2]
    assert large[places[0].index]
    assert small[places[1].index]
    assert places[0].volume_ml > places[1].volume_ml
    assert all(numbers[each.index] == each.number for each in places)
    assert {each.value for each in places} == {1}


@pytest.mark.parametrize(
    ("center", "side"), [((30, 30, 15), "inside"), ((30, 57, 15), "outside"), ((30, 48, 15), "both")]
)
def test_a_place_is_called_by_its_side_of_the_contour(center: tuple[float, float, float], side: str) -> None:
    (place,), _ = places_in(LIVER, 0.9 * ball(center, 8))

    assert place.side == side
    words = {"inside": "may not be liver", "outside": "may belong to liver", "both": "border of liver unsure"}
    assert sentence_of(place, {1: "liver"}) == words[side]


def test_a_place_outside_belongs_to_the_nearest_structure() -> None:
    labels = LIVER.astype(np.uint8)
    labels[2:8, 2:8] = 7

    (place,), _ = places_in(labels, 0.9 * ball((7, 14, 15), 7))

    assert place.value == 7


def test_far_away_and_small_doubt_is_no_place() -> None:
    far = ball((4, 4, 2), 6)
    assert near_structures(LIVER.astype(np.uint8), SPACING)[30, 30, 15]
    assert not near_structures(LIVER.astype(np.uint8), SPACING)[1, 1, 1]

    assert places_in(LIVER, 0.9 * (far & ~near_structures(LIVER.astype(np.uint8), SPACING)))[0] == ()
    assert places_in(LIVER, 0.9 * ball((30, 30, 15), 2))[0] == ()


def test_an_empty_result_has_no_places() -> None:
    assert places_in(np.zeros(SHAPE), np.ones(SHAPE))[0] == ()
