from __future__ import annotations

import numpy as np
import pytest

from uncol.core.errors import GeometryError
from uncol.core.volume import PLANES, Axis, Plane, SliceView, Volume, grid_distance_mm, plane_of_axis, view_slices

RAS_VECTORS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
SPACING_MM = (0.7, 0.9, 2.5)


def volume_along(directions: str, tilt_degrees: float = 0.0) -> Volume:
    """Number 24 voxels on a grid whose I, J and K run along three letters, all turned about R, then about S."""
    cosine, sine = np.cos(np.radians(tilt_degrees)), np.sin(np.radians(tilt_degrees))
    about_r = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    about_s = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3] = about_s @ about_r @ np.array([RAS_VECTORS[letter] for letter in directions]).T * SPACING_MM
    ijk_to_ras[:3, 3] = (-11.0, 22.0, 333.0)
    return Volume(np.arange(24).reshape(2, 3, 4), ijk_to_ras)


def array_from(view: SliceView, stack: np.ndarray) -> np.ndarray:
    """The (K, J, I) array of a stack of slices."""
    unflipped = stack[tuple(slice(None, None, -1 if flip else 1) for flip in view.flips)]
    return unflipped.transpose(np.argsort(view.order))


def moved(volume: Volume, offset_mm: float) -> Volume:
    ijk_to_ras = volume.ijk_to_ras.copy()
    ijk_to_ras[1, 3] += offset_mm
    return Volume(volume.voxels, ijk_to_ras)


# Axial slices count to S with rows to P and columns to L; coronal: A, I, L; sagittal: L, I, P.
# The array axis of voxel index K is 0, of J 1 and of I 2.
VIEWS = [
    ("LPS", "axial", (0, 1, 2), (False, False, False), (2.5, 0.9, 0.7)),
    ("LPS", "coronal", (1, 0, 2), (True, True, False), (0.9, 2.5, 0.7)),
    ("LPS", "sagittal", (2, 0, 1), (False, True, False), (0.7, 2.5, 0.9)),
    ("RAS", "axial", (0, 1, 2), (False, True, True), (2.5, 0.9, 0.7)),
    ("RAS", "coronal", (1, 0, 2), (False, True, True), (0.9, 2.5, 0.7)),
    ("RAS", "sagittal", (2, 0, 1), (True, True, True), (0.7, 2.5, 0.9)),
    # left-handed
    ("RPS", "axial", (0, 1, 2), (False, False, True), (2.5, 0.9, 0.7)),
    ("RPS", "coronal", (1, 0, 2), (True, True, True), (0.9, 2.5, 0.7)),
    ("RPS", "sagittal", (2, 0, 1), (True, True, False), (0.7, 2.5, 0.9)),
    # sagittal acquisition, slices from left to right
    ("AIR", "axial", (1, 2, 0), (True, True, True), (0.9, 0.7, 2.5)),
    ("AIR", "coronal", (2, 1, 0), (False, False, True), (0.7, 0.9, 2.5)),
    ("AIR", "sagittal", (0, 1, 2), (True, False, True), (2.5, 0.9, 0.7)),
    # coronal acquisition, slices from back to front, left-handed
    ("RIA", "axial", (1, 0, 2), (True, True, True), (0.9, 2.5, 0.7)),
    ("RIA", "coronal", (0, 1, 2), (False, False, True), (2.5, 0.9, 0.7)),
    ("RIA", "sagittal", (2, 1, 0), (True, False, True), (0.7, 0.9, 2.5)),
]


@pytest.mark.parametrize("tilt_degrees", [0.0, 25.0, -25.0])
@pytest.mark.parametrize(("directions", "plane", "order", "flips", "spacing_mm"), VIEWS)
def test_a_view_puts_the_closest_axis_first_and_turns_it_the_way_of_the_plane(
    directions: str,
    plane: Plane,
    order: tuple[int, int, int],
    flips: tuple[bool, bool, bool],
    spacing_mm: tuple[float, float, float],
    tilt_degrees: float,
) -> None:
    view = view_slices(volume_along(directions, tilt_degrees), plane)

    assert (view.plane, view.order, view.flips) == (plane, order, flips)
    assert view.spacing_mm == pytest.approx(spacing_mm)


def test_the_sides_of_a_stack_are_those_of_the_permuted_array_with_the_first_voxel_in_its_corner() -> None:
    volume = volume_along("AIR")

    stack = view_slices(volume, "axial").stack_from(volume.voxels)

    # Slices count along J, rows along I, columns along K, all of them backwards.
    assert stack.shape == (3, 4, 2)
    assert stack[0, 0, 0] == volume.voxels[1, 2, 3]
    assert stack[0, 1, 0] == volume.voxels[1, 2, 2]
    assert stack[1, 0, 0] == volume.voxels[1, 1, 3]
    assert stack[0, 0, 1] == volume.voxels[0, 2, 3]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("directions", ["LPS", "RAS", "RPS", "AIR", "RIA", "SRP"])
def test_an_array_seen_as_a_stack_comes_back_as_the_same_array(directions: str, plane: Plane) -> None:
    volume = volume_along(directions, 25.0)
    view = view_slices(volume, plane)

    np.testing.assert_array_equal(array_from(view, view.stack_from(volume.voxels)), volume.voxels)


def test_a_stack_is_a_view_of_the_same_memory() -> None:
    volume = volume_along("AIR")
    stack = view_slices(volume, "axial").stack_from(volume.voxels)

    stack[0, 0, 0] = -1

    assert volume.voxels[1, 2, 3] == -1


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("directions", ["LPS", "RPS", "AIR"])
def test_moving_through_a_stack_moves_through_the_patient_in_the_directions_of_the_plane(
    directions: str, plane: Plane
) -> None:
    volume = volume_along(directions)
    k, j, i = np.indices(volume.voxels.shape)
    positions = np.moveaxis(np.stack([i, j, k], axis=-1) @ volume.ijk_to_ras[:3, :3].T, -1, 0)
    view = view_slices(volume, plane)

    stack = np.stack([view.stack_from(coordinate) for coordinate in positions], axis=-1)

    letters = {"axial": "SPL", "coronal": "AIL", "sagittal": "LIP"}[plane]
    steps = (stack[1, 0, 0] - stack[0, 0, 0], stack[0, 1, 0] - stack[0, 0, 0], stack[0, 0, 1] - stack[0, 0, 0])
    for step, letter, spacing in zip(steps, letters, view.spacing_mm, strict=True):
        np.testing.assert_allclose(step, np.array(RAS_VECTORS[letter]) * spacing)


def test_slice_numbers_of_file_and_stack_run_against_each_other_only_where_the_axis_is_flipped() -> None:
    flipped = view_slices(volume_along("LPI"), "axial")
    straight = view_slices(volume_along("LPS"), "axial")

    assert [flipped.stack_index(index, 5) for index in range(5)] == [4, 3, 2, 1, 0]
    assert [straight.stack_index(index, 5) for index in range(5)] == [0, 1, 2, 3, 4]
    assert flipped.file_index(flipped.stack_index(1, 5), 5) == 1


@pytest.mark.parametrize(
    ("directions", "axis", "plane"),
    [
        ("LPS", "K", "axial"),
        ("LPS", "J", "coronal"),
        ("LPS", "I", "sagittal"),
        ("AIR", "K", "sagittal"),
        ("AIR", "J", "axial"),
        ("AIR", "I", "coronal"),
    ],
)
def test_the_plane_of_a_voxel_index_and_the_index_that_counts_a_planes_slices_agree(
    directions: str, axis: Axis, plane: Plane
) -> None:
    volume = volume_along(directions, 25.0)

    assert plane_of_axis(volume, axis) == plane
    assert view_slices(volume, plane).slice_axis == axis


def test_spacing_and_shape_follow_the_voxel_indices() -> None:
    volume = volume_along("AIR", 25.0)

    assert volume.spacing_mm == pytest.approx(SPACING_MM)
    assert volume.shape_kji == (2, 3, 4)


def test_a_grid_is_shared_within_two_percent_of_the_smallest_spacing() -> None:
    volume = volume_along("RPS", 25.0)

    # 2 % of 0.7 mm are 0.014 mm.
    assert volume.shares_grid_with(moved(volume, 0.0139))
    assert not volume.shares_grid_with(moved(volume, 0.0141))


def test_a_tiny_error_of_the_spacing_counts_where_it_adds_up_over_many_voxels() -> None:
    volume = volume_along("LPS")
    stretched_matrix = volume.ijk_to_ras @ np.diag([1.0 + 1e-4, 1.0, 1.0, 1.0])
    long_voxels = np.zeros((2, 3, 400))

    # Three steps of 0.7 mm: the last voxel is 0.0002 mm off; 399 steps: 0.028 mm, more than 2 % of 0.7 mm.
    assert volume.shares_grid_with(Volume(volume.voxels, stretched_matrix))
    assert not Volume(long_voxels, volume.ijk_to_ras).shares_grid_with(Volume(long_voxels, stretched_matrix))


def test_the_distance_of_two_grids_is_that_of_the_corner_where_they_differ_most() -> None:
    other = np.eye(4)
    other[:3, 3] = (0.0, 0.0, 4.0)
    other[0, 0] = 1.5  # the last of seven columns is 6 * 0.5 = 3 mm off, too

    assert grid_distance_mm(np.eye(4), other, (2, 3, 7)) == pytest.approx(5.0)  # 3, 4, 5


def test_any_grid_that_a_file_states_may_fit_and_none_is_needed() -> None:
    volume = volume_along("RPS")
    elsewhere = moved(volume, 11.0)
    voxels, smaller = volume.voxels, volume.voxels[:1]

    assert not volume.fits(elsewhere)
    assert volume.fits(Volume(voxels, elsewhere.ijk_to_ras, (volume.ijk_to_ras,)))
    assert Volume(voxels, elsewhere.ijk_to_ras, (volume.ijk_to_ras,)).fits(volume)
    assert volume.fits(Volume(voxels, np.eye(4), is_placed=False))
    assert not volume.fits(Volume(smaller, volume.ijk_to_ras, is_placed=False))


@pytest.mark.parametrize("directions", ["RPS", "LAS", "PLS", "LPI"])
def test_grids_with_other_directions_are_not_shared(directions: str) -> None:
    assert not volume_along("LPS").shares_grid_with(volume_along(directions))


def test_grids_of_other_sizes_are_not_shared() -> None:
    volume = volume_along("LPS")

    assert not volume.shares_grid_with(Volume(np.zeros((2, 4, 3)), volume.ijk_to_ras))


def test_other_voxels_keep_the_grid() -> None:
    volume = volume_along("RPS", 25.0)

    other = volume.with_voxels(np.ones((2, 3, 4)))

    assert other.shares_grid_with(volume)
    assert other.voxels.max() == 1


def test_voxels_of_another_shape_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"Voxels of shape \(4, 3, 2\) do not fit the grid \(2, 3, 4\)\."):
        volume_along("LPS").with_voxels(np.ones((4, 3, 2)))


def test_voxels_without_three_axes_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"needs three axes \(K, J, I\), got an array of shape \(2, 3\)\."):
        Volume(np.zeros((2, 3)), np.eye(4))


@pytest.mark.parametrize("matrix", [np.eye(3), np.full((4, 4), np.nan)], ids=["3 x 3", "not finite"])
def test_a_matrix_that_is_no_finite_4_by_4_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="must be 4 x 4 and finite"):
        Volume(np.zeros((2, 3, 4)), matrix)


@pytest.mark.parametrize(
    "matrix",
    [np.diag([1.0, 0.0, 1.0, 1.0]), np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])],
    ids=["spacing 0", "parallel axes"],
)
def test_a_grid_without_volume_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="two parallel axes or a spacing of 0 mm"):
        Volume(np.zeros((2, 3, 4)), matrix)


def test_a_view_written_by_hand_gives_the_stack_written_by_hand_and_back() -> None:
    view = SliceView("coronal", (1, 0, 2), (True, False, False), (1.0, 1.0, 1.0))
    array = np.array([[[1], [2]], [[3], [4]]])  # K = 2, J = 2, I = 1

    # Slices along J backwards, rows along K.
    np.testing.assert_array_equal(view.stack_from(array), [[[2], [4]], [[1], [3]]])
    np.testing.assert_array_equal(array_from(view, np.array([[[2], [4]], [[1], [3]]])), array)
