"""Voxel grids as files state them."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.core.errors import DataError, GeometryError
from uncol.core.volume import Volume
from uncol.formats.grid import length_in_mm, lps_to_ras, regular_grid, slant_of, tuple_text, turned

SUBJECT = 'Image "x"'


def slanted(cosine: float) -> np.ndarray:
    """Axes I and J with this cosine between them; lengths 2, 3 and 4."""
    grid = np.diag([2.0, 3.0, 4.0, 1.0])
    grid[:2, 1] = 3 * cosine, 3 * np.sqrt(1 - cosine**2)
    grid[:3, 3] = 10, 20, 30
    return grid


def test_a_regular_grid_is_returned_as_it_is() -> None:
    assert regular_grid(slanted(0), SUBJECT) is not None
    np.testing.assert_array_equal(regular_grid(slanted(1e-7), SUBJECT), slanted(1e-7))


def test_a_rounded_grid_is_made_right_with_its_lengths_and_its_origin() -> None:
    grid = regular_grid(slanted(4e-4), SUBJECT)

    assert slant_of(grid) < 1e-12
    np.testing.assert_allclose(np.linalg.norm(grid[:3, :3], axis=0), [2, 3, 4])
    np.testing.assert_array_equal(grid[:3, 3], [10, 20, 30])
    np.testing.assert_allclose(grid, slanted(4e-4), atol=1e-3)


@pytest.mark.parametrize(
    "grid",
    [slanted(6e-4), slanted(0.5), np.diag([0.0, 1, 1, 1]), np.diag([np.nan, 1, 1, 1]), np.diag([np.inf, 1, 1, 1])],
    ids=["slanted", "sheared", "no length", "nan", "inf"],
)
def test_another_grid_is_refused(grid: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="not at right angles or no valid spacing"):
        regular_grid(grid, SUBJECT)


@pytest.mark.parametrize("length", [0.0009, 1001])
def test_a_spacing_of_other_units_is_refused(length: float) -> None:
    with pytest.raises(GeometryError, match=r"each must be 0\.001 to 1000 mm\. The units are probably mixed up"):
        regular_grid(np.diag([length, 1, 1, 1]), SUBJECT)


@pytest.mark.parametrize(("unit", "length"), [("mm", 1), ("", 1), ("MM", 1), ("um", 0.001), ("cm", 10), ("m", 1000)])
def test_units_are_known_by_their_names(unit: str, length: float) -> None:
    assert length_in_mm(unit, SUBJECT) == length


def test_an_unknown_unit_is_named() -> None:
    with pytest.raises(DataError, match=r'^Image "x" states its lengths in "inch".* Export it again in mm\.$'):
        length_in_mm("inch", SUBJECT)


def test_left_and_front_change_their_signs_and_nothing_becomes_minus_0() -> None:
    # x = 1 + 2 i to the left, y = 3 j to the back, z = 4 k up.
    lps = np.array([[2.0, 0, 0, 1], [0, 3, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])

    ras = lps_to_ras(lps)

    np.testing.assert_array_equal(ras, [[-2, 0, 0, -1], [0, -3, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
    assert not np.signbit(ras[ras == 0]).any()


def test_numbers_in_messages_are_rounded() -> None:
    assert tuple_text(np.array([0.7265625, -0.0, 1 / 3])) == "(0.726562, 0, 0.333333)"


def test_voxels_are_counted_anew_on_a_grid_that_has_the_same_ones() -> None:
    voxels = np.arange(24).reshape(2, 3, 4)
    volume = Volume(voxels, np.array([[0, 0, -4.0, 9], [2, 0, 0, 1], [0, 3, 0, 5], [0, 0, 0, 1]]))
    # I of this grid is K of the volume, backwards; J is its I, K its J.
    grid = np.array([[4.0, 0, 0, 5], [0, 2, 0, 1], [0, 0, 3, 5], [0, 0, 0, 1]])

    found = turned(volume, grid, (3, 4, 2))

    assert found is not None
    for i, j, k in np.ndindex(2, 4, 3):
        assert found[k, j, i] == voxels[1 - i, k, j]


@pytest.mark.parametrize(
    ("shift_mm", "shape"),
    [((0.0, 0.0, 0.0), (2, 3, 5)), ((0.05, 0.0, 0.0), (2, 3, 4)), ((0.0, 0.0, 3.0), (2, 3, 4))],
)
def test_on_a_grid_of_other_voxels_there_are_none(
    shift_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    grid = np.diag([2.0, 2.0, 3.0, 1.0])
    moved = grid.copy()
    moved[:3, 3] = shift_mm

    assert turned(Volume(np.zeros((2, 3, 4)), grid), moved, shape) is None
