"""Whole-volume prediction: the grid comes back, orientation does not matter, memory does not grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.errors import CancelledError
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import Volume, view_slices
from uncol.data.cases import LabeledCase, SliceIndex
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.student import SliceInputs, predict, segment_with_model
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.training.setup import card_for, frame_cases
from uncol.training.state import FineTuneSetup

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    """A student that was never trained: good enough for everything that is not about quality."""
    torch.manual_seed(0)
    config = Config(student=StudentConfig(channels=(8, 8, 8, 8, 8)))
    card = ModelCard((Structure(2, "a"), Structure(9, "b")), "axial", 1.0, 3.0, (0.0, 100.0), config)
    return Model(card, build_student(card).eval())


@pytest.fixture(scope="module")
def image() -> Volume:
    """Noise on a scanner's usual grid: 7 slices of 20 x 25 voxels."""
    voxels = np.random.default_rng(0).integers(0, 100, (7, 20, 25)).astype(np.int16)
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    matrix[:3, 3] = (40, 50, -60)
    return Volume(voxels, matrix)


def stored_otherwise(volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    """Return the same voxels at the same places, in a file with other axes."""
    kji_to_ras = volume.ijk_to_ras[:, [2, 1, 0, 3]]
    columns, origin, voxels = kji_to_ras[:, :3].copy(), kji_to_ras[:, 3].copy(), volume.voxels
    for axis in np.flatnonzero(flips):
        origin = origin + columns[:, axis] * (voxels.shape[axis] - 1)
        columns[:, axis] *= -1
        voxels = np.flip(voxels, axis)
    columns, voxels = columns[:, list(order)], voxels.transpose(order)
    return Volume(np.ascontiguousarray(voxels), np.column_stack([columns[:, ::-1], origin]))


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        pytest.param((0, 1, 2), (True, False, False), id="slices downwards"),
        pytest.param((0, 1, 2), (False, False, True), id="left-handed"),
        pytest.param((2, 0, 1), (False, True, False), id="sagittal file"),
        pytest.param((1, 2, 0), (True, True, True), id="coronal file, all flipped"),
    ],
)
def test_the_same_patient_in_another_file_gets_the_same_labels(model: Model, image: Volume, order, flips):
    expected = segment_with_model(image, model, CPU)

    other = stored_otherwise(image, order, flips)
    result = segment_with_model(other, model, CPU)

    assert (result.labels.ijk_to_ras == other.ijk_to_ras).all()
    back = np.flip(result.labels.voxels.transpose(np.argsort(order)), np.flatnonzero(flips))
    assert (back == expected.labels.voxels).all()


def test_results_lie_on_the_images_grid_with_label_values_and_entropies(model: Model, image: Volume):
    result = segment_with_model(image, model, CPU)

    assert result.labels.shares_grid_with(image)
    assert result.uncertainty.shares_grid_with(image)
    assert (result.labels.voxels.dtype, result.uncertainty.voxels.dtype) == (np.uint8, np.float32)
    assert set(np.unique(result.labels.voxels)) <= {0, 2, 9}
    assert result.uncertainty.voxels.min() >= 0
    assert result.uncertainty.voxels.max() <= 1


def test_a_structure_that_is_nowhere_is_named(model: Model, image: Volume):
    result = segment_with_model(image, model, CPU)

    for structure in model.card.structures:
        is_missing = not (result.labels.voxels == structure.value).any()
        assert any(f'"{structure.name}" was not found' in note for note in result.notes) == is_missing


def test_neighbors_of_a_thinner_stack_are_taken_at_the_trainings_distance(model: Model):
    # Slices every 1.5 mm, trained with 3 mm: neighbors are two slices apart. Slice k holds the grey value 10 k.
    ramp = Volume(np.tile(10 * np.arange(9)[:, None, None], (1, 4, 4)).astype(np.int16), np.diag([-1.0, -1.0, 1.5, 1]))
    inputs = SliceInputs(ramp, view_slices(ramp, "axial"), model.card)

    # Around slice 4 at -3 ... 3 times 2 slices: -2 (repeats 0), 0, 2, 4, 6, 8, 10 (repeats 8); window 0 ... 100.
    assert inputs.of(range(4, 5))[0, :, 0, 0].tolist() == pytest.approx([0, 0, 0.2, 0.4, 0.6, 0.8, 0.8])


def test_neighbors_of_a_thicker_stack_are_interpolated(model: Model):
    # Slices every 6 mm: neighbors are half a slice apart; slice k holds 10 k.
    ramp = Volume(np.tile(10 * np.arange(9)[:, None, None], (1, 4, 4)).astype(np.int16), np.diag([-1.0, -1.0, 6.0, 1]))
    inputs = SliceInputs(ramp, view_slices(ramp, "axial"), model.card)

    # Around slice 4: 2.5, 3, 3.5, 4, 4.5, 5, 5.5.
    assert inputs.of(range(4, 5))[0, :, 0, 0].tolist() == pytest.approx([0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55])


def test_training_and_inference_take_the_same_neighbors(model: Model):
    # Slices every 2 and every 5 mm; neighbors are 2 mm apart in both, as in the first case.
    random, cases = np.random.default_rng(1), []
    for slices, spacing_mm in ((9, 2.0), (6, 5.0)):
        grid = Volume(random.integers(0, 100, (slices, 20, 25)).astype(np.int16), np.diag([-1.0, -1.0, spacing_mm, 1]))
        cases.append(LabeledCase(grid, grid.with_voxels(np.full(grid.shape_kji, 2, dtype=np.uint8))))
    setup = FineTuneSetup(cases, [], model.card.structures, "axial", model.card.config, CPU, None, EmbeddingCache(None))
    card = card_for(setup)

    _, pool = frame_cases(setup, card)

    assert card.slice_mm == 2
    for case, each in enumerate(cases):
        inputs = SliceInputs(each.image, view_slices(each.image, "axial"), card)
        drawn = pool.inputs([SliceIndex(case, index) for index in range(len(inputs))])
        torch.testing.assert_close(drawn[..., :20, :25], inputs.of(range(len(inputs))), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 16, 16), (1, 12, 14)], ids=["one slice in the last batch", "one slice"])
def test_slices_of_few_pixels_are_segmented(model: Model, shape: tuple[int, int, int]):
    small = Volume(np.random.default_rng(0).integers(0, 100, shape).astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))

    assert segment_with_model(small, model, CPU).labels.voxels.shape == shape


def test_prediction_does_not_depend_on_how_many_slices_are_done_at_once(model: Model):
    slices = torch.rand(4, 7, 20, 25)

    together = predict(model.student, slices, CPU)
    alone = torch.cat([predict(model.student, each[None], CPU) for each in slices])

    assert torch.allclose(together, alone, atol=2e-2)  # bfloat16 keeps three digits
    assert torch.allclose(together.sum(1), torch.ones(4, 20, 25))


def test_cancelling_ends_with_an_error_and_no_result(model: Model, image: Volume):
    with pytest.raises(CancelledError, match="nothing was written"):
        segment_with_model(image, model, CPU, monitor=Monitor(should_stop=lambda: True))


def test_progress_reaches_the_end(model: Model, image: Volume):
    told: list[Progress] = []

    segment_with_model(image, model, CPU, monitor=Monitor(told.append))

    assert [each.fraction for each in told] == sorted(each.fraction for each in told)
    assert told[-1].fraction == 1


@pytest.mark.gpu
def test_a_gpu_gives_the_same_labels_as_the_cpu(model: Model, image: Volume):
    device = torch.device("cuda" if torch.cuda.is_available() else "mps")
    on_cpu = segment_with_model(image, model, CPU).labels.voxels
    on_gpu = segment_with_model(image, model, device).labels.voxels

    assert (on_cpu == on_gpu).mean() > 0.97


@pytest.fixture(scope="module")
def model_3d() -> Model:
    """An untrained 3D student that sees voxels of 2 mm in windows of 16 x 16 x 32."""
    torch.manual_seed(0)
    config = Config(data=DataConfig(patch_vox=(16, 16, 32)), student=StudentConfig(dims=3, channels=(4, 4, 4, 4, 4)))
    card = ModelCard((Structure(2, "a"), Structure(9, "b")), "axial", 2.0, 3.0, (0.0, 100.0), config)
    return Model(card, build_student(card).eval())


def test_a_3d_student_gives_labels_and_uncertainty_on_the_grid_of_any_image(model_3d: Model, nasty_volume: Volume):
    result = segment_with_model(nasty_volume, model_3d, CPU)

    for volume, kind in ((result.labels, np.uint8), (result.uncertainty, np.float32)):
        assert volume.voxels.shape == nasty_volume.voxels.shape
        assert np.array_equal(volume.ijk_to_ras, nasty_volume.ijk_to_ras)
        assert volume.voxels.dtype == kind
    assert 0 <= result.uncertainty.voxels.min() <= result.uncertainty.voxels.max() <= 1


def test_a_3d_student_sees_the_same_patient_in_another_file(model_3d: Model, image: Volume):
    order, flips = (2, 0, 1), (False, True, False)
    expected = segment_with_model(image, model_3d, CPU)

    other = segment_with_model(stored_otherwise(image, order, flips), model_3d, CPU)

    assert np.array_equal(other.labels.voxels, stored_otherwise(expected.labels, order, flips).voxels)


def test_a_3d_student_tells_its_windows_and_stops_between_them(model_3d: Model):
    large = Volume(np.zeros((16, 64, 80), dtype=np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
    told: list[Progress] = []

    segment_with_model(large, model_3d, CPU, monitor=Monitor(told.append))

    # Voxels of 2 mm: 16 x 32 x 40; windows begin every 12 rows and every 24 columns: 1 * 3 * 2.
    assert [each.fraction for each in told] == pytest.approx([part / 6 for part in range(6)])
    answers = iter([False, True])
    with pytest.raises(CancelledError):
        segment_with_model(large, model_3d, CPU, monitor=Monitor(should_stop=lambda: next(answers)))
