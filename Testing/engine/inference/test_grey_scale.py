"""An image without Hounsfield units is segmented alike on every scale; images of another kind are told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from given import CPU, a_ball, a_setup, annotated_in

from uncol.core.config import Config, DataConfig
from uncol.core.grey_values import GreyValues, Window
from uncol.core.jobs import Case, FineTuneJob, SegmentJob, Structure, VolumeSource
from uncol.core.progress import UNWATCHED
from uncol.core.volume import Volume
from uncol.data.io import read_image, read_labels, write_results
from uncol.inference.grey_scale import says_unlike, window_for
from uncol.inference.student import segment_with_model
from uncol.models.card import ModelCard
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import run_fine_tune
from uncol.pipelines.segment import run_segment
from uncol.training.train import fine_tune

RANDOM = np.random.default_rng(0)
CT = (RANDOM.choice([-1000, -100, 60], size=(8, 20, 24)) + RANDOM.normal(0, 10, (8, 20, 24))).astype(np.float32)
PIECE_OF_CT = CT.clip(-120)
MR = np.arange(1001).astype(np.float32)
"""Percentile 0.5 is 5, percentile 99.5 is 995."""


def a_card(grey_values: GreyValues, window: Window, *, is_fixed: bool = False) -> ModelCard:
    config = Config(data=DataConfig(window=window if is_fixed else None))
    return ModelCard((Structure(1, "a"),), "axial", 1.0, 2.0, window, config, grey_values=grey_values)


OF_CT, OF_MR, FIXED = (
    a_card("hounsfield", (-160, 240)),
    a_card("arbitrary", (7, 109)),
    a_card("arbitrary", (0, 1000), is_fixed=True),
)


@pytest.mark.parametrize(
    ("card", "voxels", "expected"),
    [
        pytest.param(OF_CT, CT, (-160, 240), id="CT by CT"),
        pytest.param(OF_CT, PIECE_OF_CT, (-160, 240), id="a piece by CT"),
        pytest.param(OF_CT, MR, (-160, 240), id="MR by CT"),
        pytest.param(OF_MR, MR, (5, 995), id="MR by MR"),
        pytest.param(OF_MR, 4 * MR, (20, 3980), id="brighter MR by MR"),
        pytest.param(OF_MR, CT, (7, 109), id="CT by MR, or by pieces of CT"),
        pytest.param(FIXED, 4 * MR, (0, 1000), id="by a window that was named"),
    ],
)
def test_hounsfield_units_and_named_windows_stay_and_others_are_the_images_own(
    card: ModelCard, voxels: np.ndarray, expected: Window
) -> None:
    assert window_for(card, voxels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("card", "voxels", "sentence"),
    [
        pytest.param(OF_CT, MR, "do not look like Hounsfield units, so they lie outside what the model", id="MR"),
        pytest.param(OF_CT, MR / 1000, "do not look like Hounsfield units", id="MR from 0 to 1"),
        pytest.param(OF_CT, CT + 1024, "do not look like Hounsfield units", id="CT as stored"),
        pytest.param(OF_MR, CT, "looks like a CT, but the model learned from images without Hounsfield", id="CT"),
        pytest.param(FIXED, CT, "looks like a CT, but the model learned from images without", id="CT, window named"),
        pytest.param(FIXED, 4 * MR, r"\(20 to 3980\) lie outside what the model knows \(0 to 1000, ", id="brighter"),
        pytest.param(FIXED, MR / 4, r"\(1\.25 to 248\.75\) lie outside what the model knows", id="darker"),
        pytest.param(FIXED, MR + 5000, r"\(5005 to 5995\) lie outside what the model knows", id="elsewhere"),
    ],
)
def test_an_image_of_another_kind_is_told_in_one_note(card: ModelCard, voxels: np.ndarray, sentence: str) -> None:
    (note,) = says_unlike(card, voxels)

    assert re.search(sentence, note)


@pytest.mark.parametrize(
    ("card", "voxels"),
    [
        pytest.param(OF_CT, CT, id="CT"),
        pytest.param(OF_CT, PIECE_OF_CT, id="a piece of a CT without air"),
        pytest.param(OF_MR, MR, id="MR"),
        pytest.param(OF_MR, 4 * MR, id="brighter MR"),
        pytest.param(OF_MR, PIECE_OF_CT, id="a piece of a CT cannot be told from MR"),
        pytest.param(a_card("arbitrary", (-110, 90)), CT, id="CT by a model that learned from pieces of CT"),
        pytest.param(FIXED, MR, id="MR in the window that was named"),
        pytest.param(FIXED, 1.5 * MR, id="MR a little out of it"),
    ],
)
def test_nothing_is_said_about_images_of_its_kind(card: ModelCard, voxels: np.ndarray) -> None:
    assert says_unlike(card, voxels) == ()


def test_an_image_without_hounsfield_units_is_segmented_alike_on_every_scale(tmp_path: Path) -> None:
    ball = a_ball()
    model = fine_tune(a_setup([annotated_in(ball)], steps=30), tmp_path / "model")

    as_it_was, *others = (
        segment_with_model(ball.image.with_voxels((factor * ball.image.voxels + shift).astype(np.float32)), model, CPU)
        for factor, shift in ((1.0, 0), (4.0, 0), (0.25, 0), (3.0, 500))
    )

    assert model.card.grey_values == "arbitrary"
    assert (as_it_was.labels.voxels == 3).any()
    for each in others:
        assert dice(each.labels, as_it_was.labels) > 0.98
        assert each.notes == as_it_was.notes


def test_a_ct_model_notes_what_it_does_not_know_in_the_result(tmp_path: Path) -> None:
    ball = a_ball()
    model = fine_tune(a_setup([annotated_in(ball)], steps=2), tmp_path / "model")
    of_ct = replace(model, card=replace(model.card, grey_values="hounsfield", window=(-160.0, 240.0)))

    notes = segment_with_model(ball.image.with_voxels(abs(ball.image.voxels)), of_ct, CPU).notes

    assert "The model learned from CT, but" in notes[0]


def dice(first: Volume, second: Volume) -> float:
    """Of everything that is no background."""
    both = ((first.voxels > 0) & (second.voxels > 0)).sum()
    return float(2 * both / ((first.voxels > 0).sum() + (second.voxels > 0).sum()))


@pytest.mark.realdata
@pytest.mark.slow
def test_a_real_mr_is_segmented_alike_when_its_grey_values_are_multiplied(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "hippocampus"
    name, another = (f"hippocampus_{number:03}.nii.gz" for number in (1, 3))
    context, structures = Context(UNWATCHED, tmp_path / "cache"), (Structure(1, "anterior"), Structure(2, "posterior"))
    case = Case(folder / "images" / name, folder / "labels" / name)
    job = FineTuneJob(cases=(case,), out=tmp_path / "model", structures=structures, steps=120)
    run_fine_tune(job, Config(), context)

    def segment(image: VolumeSource, out: str) -> Volume:
        run_segment(SegmentJob(image=image, model=tmp_path / "model", out=tmp_path / out), context)
        return read_image(tmp_path / out / "segmentation.nii.gz")

    image = read_image(case.image)
    as_it_was = segment(case.image, "as-it-was")
    assert dice(as_it_was, read_labels(case.labels, image, name)) > 0.7
    for factor in (4.0, 0.25):
        scaled = {"image.nii.gz": image.with_voxels((factor * image.voxels).astype(np.float32))}
        write_results(tmp_path / f"times-{factor}", scaled, {})
        found = segment(tmp_path / f"times-{factor}" / "image.nii.gz", f"found-{factor}")
        assert dice(found, as_it_was) > 0.98
        report = json.loads((tmp_path / f"found-{factor}" / "report.json").read_text())
        assert not any("grey values" in each for each in report["notes"])
    # another patient, from a scanner with eight times the values
    other = read_image(folder / "images" / another)
    found = segment(folder / "images" / another, "another")
    assert dice(found, read_labels(folder / "labels" / another, other, another)) > 0.6
