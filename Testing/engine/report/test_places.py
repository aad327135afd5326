from __future__ import annotations

import numpy as np
import pytest

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from uncol.report.places import Piece, find_places, near_structures, where_to_look

SHAPE, SPACING = (60, 60, 30), (1.0, 1.0, 2.0)


def ball(center: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    grid = np.ogrid[tuple(slice(size) for size in SHAPE)]
    parts = zip(grid, center, SPACING, strict=True)
    return sum(((axis - middle) * spacing) ** 2 for axis, middle, spacing in parts) < radius_mm**2


LIVER = ball((30, 30, 15), 18)


def places_in(labels: np.ndarray, uncertainty: np.ndarray) -> tuple[tuple[Piece, ...], np.ndarray]:
    labels = labels.astype(np.uint8)
    return find_places(labels, uncertainty, near_structures(labels, SPACING), SPACING)


def rim() -> np.ndarray:
    return np.where(LIVER ^ ball((30, 30, 15), 15), 0.9, 0.0) + np.where(ball((30, 30, 15), 21) & ~LIVER, 0.9, 0.0)


def test_the_rim_of_a_contour_is_no_place() -> None:
    places, numbers = places_in(LIVER, rim())

    assert places == ()
    assert not numbers.any()


def test_where_nearly_everything_is_unsure_places_are_where_it_is_least_sure() -> None:
    worst = ball((30, 42, 15), 8)
    everywhere = np.where(ball((30, 30, 15), 29), 0.6, 0.0)

    places, numbers = places_in(LIVER, np.where(worst, 0.95, everywhere))

    liver_ml = np.count_nonzero(LIVER) * 2 / 1000
    assert all(each.volume_ml <= max(20.0, liver_ml / 4) for each in places)
    assert worst[places[0].index]
    assert numbers.any()


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


LIVER_1, SPLEEN_7 = Structure(1, "liver"), Structure(7, "spleen")


@pytest.mark.parametrize("size", [1, 3])
def test_places_lie_on_the_grid_of_the_image_however_fine_it_is(size: int) -> None:
    """A voxel of 1.5 mm, or 27 of 0.5 mm in its place: the same places, volumes and numbers."""
    grid = np.ogrid[:40, :40, :40]
    liver, unsure = (
        sum((axis - middle) ** 2 for axis, middle in zip(grid, center, strict=True)) < radius**2
        for center, radius in (((20, 20, 20), 12), ((20, 26, 12), 5))
    )
    matrix = np.diag([-1.5 / size, -1.5 / size, 1.5 / size, 1.0])
    labels, doubt = (
        Volume(np.kron(each, np.ones((size,) * 3, each.dtype)), matrix)
        for each in (liver.astype(np.uint8), np.where(unsure, np.float32(0.9), np.float32(0)))
    )

    look = where_to_look(labels, doubt, [LIVER_1])

    (place,) = look.places
    assert (place.structure, place.value, place.number) == ("liver", 1, 1)
    assert look.numbers.shape == labels.shape_kji
    assert look.numbers[place.ijk[::-1]] == 1
    assert place.ras_mm == tuple((matrix @ [*place.ijk, 1])[:3])
    assert np.count_nonzero(look.numbers) * (1.5 / size) ** 3 / 1000 == pytest.approx(place.volume_ml, abs=0.005)
    inside, outside = np.count_nonzero(unsure & liver), np.count_nonzero(unsure & ~liver)
    assert look.sure_parts == pytest.approx((1 - inside / np.count_nonzero(liver),))
    assert look.possible_ml == pytest.approx((outside * 1.5**3 / 1000,))


def test_what_is_unsure_outside_may_belong_to_the_nearest_structure() -> None:
    labels = np.zeros((10, 20, 60), np.uint8)
    labels[:, 5:15, 2:20], labels[:, 5:15, 40:58] = 1, 7
    doubt = np.zeros(labels.shape, np.float32)
    doubt[:, 5:15, 20:24] = doubt[:, 5:15, 40:42] = 0.4  # 0.5 * ln 2 / ln 3 = 0.315
    doubt[:, 5:15, 36:40] = 0.3
    volume = Volume(labels, np.diag([-2.0, -2.0, 2.0, 1.0]))

    look = where_to_look(volume, volume.with_voxels(doubt), [SPLEEN_7, LIVER_1])

    assert look.sure_parts == pytest.approx((1 - 2 / 18, 1.0))
    assert look.possible_ml == pytest.approx((0.0, 10 * 10 * 4 * 0.008))


def test_nothing_found_is_nowhere_sure_and_nowhere_possible() -> None:
    volume = Volume(np.zeros((4, 5, 6), np.uint8), np.eye(4))

    look = where_to_look(volume, volume.with_voxels(np.ones((4, 5, 6), np.float32)), [LIVER_1])

    assert (look.places, look.sure_parts, look.possible_ml) == ((), (1.0,), (0.0,))
    assert not look.numbers.any()
