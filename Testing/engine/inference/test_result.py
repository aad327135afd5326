"""Tests of a finished segmentation: every slice in its place, and structures that leave room for background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from uncol.core.errors import NotFiniteError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume, view_slices
from uncol.inference.result import SegmentationBuilder, with_background

STRUCTURES = (Structure(7, "liver"), Structure(3, "spleen"))


def certain(classes: list[list[int]]) -> Tensor:
    """Class probabilities (3, H, W) of a slice that is sure of these class indices."""
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).movedim(-1, 0).float()


@pytest.fixture
def image(make_volume: Callable[..., Volume]) -> Volume:
    return make_volume(geometry="anisotropic")  # axial as acquired: the stack is the file


@pytest.fixture
def builder(image: Volume) -> SegmentationBuilder:
    return SegmentationBuilder(image, view_slices(image, "axial"), STRUCTURES)


class TestBuilder:
    def test_classes_become_label_values(self, builder: SegmentationBuilder) -> None:
        builder.put(1, certain([[0, 1, 2, 0], [1, 1, 1, 1], [2, 2, 0, 0]]))

        labels = builder.finish().labels.voxels

        assert labels.dtype == np.uint8
        assert labels[1].tolist() == [[0, 7, 3, 0], [7, 7, 7, 7], [3, 3, 0, 0]]

    def test_uncertainty_is_the_normalized_entropy(self, builder: SegmentationBuilder) -> None:
        probabilities = torch.full((3, 3, 4), 1 / 3)
        probabilities[:, 0, 0] = torch.tensor([1.0, 0.0, 0.0])
        probabilities[:, 0, 1] = torch.tensor([0.5, 0.5, 0.0])

        builder.put(0, probabilities)
        builder.put(1, certain([[1] * 4] * 3))
        uncertainty = builder.finish().uncertainty.voxels

        # ln 2 / ln 3 = 0.630930
        assert uncertainty.dtype == np.float32
        assert uncertainty[0, 0].tolist() == pytest.approx([0, 0.630930, 1, 1], abs=1e-6)
        assert uncertainty.max() <= 1

    def test_a_slice_nobody_spoke_about_is_certain_background(self, builder: SegmentationBuilder) -> None:
        builder.put(1, certain([[1] * 4] * 3))

        segmentation = builder.finish()

        assert not segmentation.labels.voxels[0].any()
        assert not segmentation.uncertainty.voxels[0].any()

    def test_an_annotated_slice_is_entered_as_it_is(self, builder: SegmentationBuilder) -> None:
        builder.put(0, torch.full((3, 3, 4), 1 / 3))

        builder.put_known(0, np.array([[0, 2, 2, 0]] * 3, dtype=np.uint8))
        segmentation = builder.finish()

        value = STRUCTURES[1].value
        assert segmentation.labels.voxels[0].tolist() == [[0, value, value, 0]] * 3
        assert not segmentation.uncertainty.voxels[0].any()

    def test_pixels_that_nobody_annotated_keep_what_was_found(self, builder: SegmentationBuilder) -> None:
        builder.put(0, torch.tensor([0.2, 0.5, 0.3]).expand(3, 4, 3).movedim(2, 0))

        builder.put_known(0, np.array([[0, 255, 255, 2]] * 3, dtype=np.uint8))
        segmentation = builder.finish()

        first, second = (each.value for each in STRUCTURES)
        assert segmentation.labels.voxels[0].tolist() == [[0, first, first, second]] * 3
        assert (segmentation.uncertainty.voxels[0] > 0).tolist() == [[False, True, True, False]] * 3

    def test_slices_of_another_plane_land_in_the_files_own_voxels(self, make_volume: Callable[..., Volume]) -> None:
        image = make_volume(geometry="sagittal")
        builder = SegmentationBuilder(image, view_slices(image, "axial"), STRUCTURES)

        # axial slice 0 is the lowest: J = 2; its row is I, its column is K (see the tests of `data/cases.py`)
        builder.put(0, certain([[1, 0], [0, 0], [0, 0], [0, 2]]))
        labels = builder.finish().labels.voxels

        expected = np.zeros((2, 3, 4))
        expected[0, 2, 0], expected[1, 2, 3] = 7, 3
        np.testing.assert_array_equal(labels, expected)

    @pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
    def test_every_geometry_gets_back_what_was_put_in(self, nasty_volume: Volume, plane: str) -> None:
        truth = np.random.default_rng(0).integers(0, 3, nasty_volume.shape_kji)
        view = view_slices(nasty_volume, plane)  # type: ignore[arg-type]  # a plane's name
        builder = SegmentationBuilder(nasty_volume, view, STRUCTURES)

        for index, classes in enumerate(view.stack_from(truth)):
            builder.put(index, certain(classes.tolist()))
        segmentation = builder.finish()

        np.testing.assert_array_equal(segmentation.labels.voxels, np.array([0, 7, 3])[truth])
        assert segmentation.labels.shares_grid_with(nasty_volume)
        assert segmentation.uncertainty.shares_grid_with(nasty_volume)

    def test_sources_are_told_as_their_mean_part_over_the_slices_that_show_a_structure(
        self, builder: SegmentationBuilder
    ) -> None:
        builder.put(0, certain([[0, 1, 1, 0]] * 3))
        builder.count_sources(0, {"registration": np.array([0.75, 0.5]), "student": np.array([0.25, 0.5])})
        builder.put(1, certain([[0, 1, 2, 0]] * 3))
        builder.count_sources(1, {"registration": np.array([0.25, 0.875]), "student": np.array([0.75, 0.125])})

        assert builder.finish().sources == {
            "liver": {"registration": 0.5, "student": 0.5},
            "spleen": {"registration": 0.875, "student": 0.125},
        }

    def test_one_source_alone_and_structures_that_are_nowhere_are_not_told(self, builder: SegmentationBuilder) -> None:
        builder.put(0, certain([[0, 1, 1, 0]] * 3))
        builder.count_sources(0, {"registration": np.ones(2)})
        alone = builder.finish().sources
        builder.count_sources(0, {"student": np.ones(2)})

        assert alone == {}
        assert set(builder.finish().sources) == {"liver"}

    @pytest.mark.parametrize(
        ("annotated", "found", "note"),
        [
            pytest.param([2, 6], range(2, 12), "the last annotated slice; annotate the slice", id="to the last slice"),
            pytest.param([6, 9], range(7), "the first annotated slice; annotate the slice", id="to the first slice"),
            pytest.param([4, 6], range(2, 9), "", id="not farther than annotated slices lie apart"),
            pytest.param([4, 5], range(2, 10), "the first and the last annotated slice; annotate the slices", id="far"),
            pytest.param([4], range(2, 7), "the only annotated slice; annotate the slices", id="from one slice"),
            pytest.param([4], range(4, 6), "", id="to the next slice"),
            pytest.param([1, 4, 10], range(1, 10), "", id="one more annotated slice that does not show it"),
            pytest.param([4, 10], range(4, 12), "", id="one more slice to the edge"),
            pytest.param([], range(12), "", id="nothing annotated"),
        ],
    )
    def test_structures_that_go_on_beyond_annotated_slices_are_named_and_their_ends_asked_for(
        self, annotated: list[int], found: range, note: str
    ) -> None:
        image = Volume(np.zeros((12, 3, 4), dtype=np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
        builder = SegmentationBuilder(image, view_slices(image, "axial"), STRUCTURES[:1])
        for index in range(12):
            classes = np.full((3, 4), index in found, dtype=np.int64)
            builder.put(index, torch.nn.functional.one_hot(torch.from_numpy(classes), 2).movedim(-1, 0).float())
            builder.put_known(index, classes.astype(np.uint8) if index in annotated else np.full((3, 4), 255, np.uint8))

        builder.note_open_ends()

        assert builder.finish().notes == ((f'"liver" goes on beyond {note} where it ends.',) if note else ())

    def test_the_notes_name_the_structures_that_were_not_found(self, builder: SegmentationBuilder) -> None:
        builder.put(0, certain([[0, 1, 1, 0]] * 3))

        segmentation = builder.finish(("It was slow.",))

        assert segmentation.notes == (
            "It was slow.",
            '"spleen" was not found anywhere. '
            "If the image shows it, annotate one more slice in its middle, or draw its box tighter.",
        )
        assert segmentation.structures == STRUCTURES

    def test_a_note_says_how_much_of_islands_was_removed(self, make_volume: Callable[..., Volume]) -> None:
        image = replace(make_volume(shape_kji=(1, 4, 24)), ijk_to_ras=np.diag([5.0, 4.0, 10.0, 1.0]))  # 0.2 ml a voxel
        builder = SegmentationBuilder(image, view_slices(image, "axial"), STRUCTURES)
        whole = [1] * 6 + [0] * 6 + [2] * 6 + [0] * 6
        with_islands = [1] * 6 + [0] * 4 + [1, 1] + [2] * 6 + [0] * 5 + [2]
        builder.put(0, certain([with_islands, whole, whole, whole]))

        builder.remove_small_components((True, True))

        assert builder.finish().notes == (
            'Islands apart from the largest piece were removed: "liver" 0.40 ml, "spleen" 0.20 ml.',
        )

    def test_nothing_found_anywhere_is_a_warning_and_the_map_says_unknown(self, builder: SegmentationBuilder) -> None:
        builder.put(0, certain([[0] * 4] * 3))
        builder.put_known(1, np.array([[0, 0, 255, 255]] * 3, dtype=np.uint8))

        segmentation = builder.finish(("It was slow.",))

        assert segmentation.notes[0].startswith("Warning: nothing was found anywhere in this image. That is no finding")
        assert len(segmentation.notes) == 4  # the warning, the note, and a sentence for each structure
        assert (segmentation.uncertainty.voxels[0] == 1).all()
        # what a person annotated as background stays known
        assert segmentation.uncertainty.voxels[1].tolist() == [[0, 0, 1, 1]] * 3

    @pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
    def test_probabilities_that_are_not_finite_are_an_error(self, builder: SegmentationBuilder, number: float) -> None:
        probabilities = certain([[0, 1, 1, 0]] * 3)
        probabilities[1, 2, 3] = number

        with pytest.raises(NotFiniteError, match=r"^The probabilities in slice 1 are not finite: the model's weights"):
            builder.put(1, probabilities)

    def test_nothing_is_noted_when_everything_was_found(self, builder: SegmentationBuilder) -> None:
        builder.put(0, certain([[0, 1, 2, 0]] * 3))

        assert builder.finish().notes == ()


class TestWithBackground:
    @pytest.mark.parametrize(
        ("structures", "expected"),
        [
            pytest.param([0.2, 0.3], [0.5, 0.2, 0.3], id="background is what is left"),
            # 0.9 + 0.8 = 1.7 leaves nothing; 0.9 / 1.7 and 0.8 / 1.7
            pytest.param([0.9, 0.8], [0.0, 0.529412, 0.470588], id="more than one leaves no background"),
            pytest.param([1.0, 0.0], [0.0, 1.0, 0.0], id="certain of a structure"),
            pytest.param([0.0, 0.0], [1.0, 0.0, 0.0], id="certain of background"),
            pytest.param([1.0, 1.0], [0.0, 0.5, 0.5], id="certain of both"),
        ],
    )
    def test_structure_maps_become_class_probabilities(self, structures: list[float], expected: list[float]) -> None:
        probabilities = with_background(torch.tensor(structures).reshape(2, 1, 1))

        assert probabilities.flatten().tolist() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("shape", [(1, 5), (4, 3, 5), (2, 2, 3, 5)])
    def test_probabilities_sum_to_one_everywhere(self, shape: tuple[int, ...]) -> None:
        probabilities = with_background(torch.rand(shape))

        assert probabilities.shape == (shape[0] + 1, *shape[1:])
        assert probabilities.min() >= 0
        torch.testing.assert_close(probabilities.sum(0), torch.ones(shape[1:]))

    def test_the_order_of_structures_survives(self) -> None:
        structures = torch.rand(3, 6, 7) + 1e-3

        assert torch.equal(with_background(structures)[1:].argmax(0), structures.argmax(0))
