"""What a report says of its origin, and what of that goes into DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from given import a_larger_ball

from uncol import __version__
from uncol.core.config import Config, StudentConfig
from uncol.core.jobs import AnnotatedSlices, Case, FineTuneJob, Structure
from uncol.core.model_folder import DISCLAIMER
from uncol.core.progress import UNWATCHED
from uncol.core.volume import UNKNOWN_LABEL, Plane, Volume
from uncol.core.volume_files import VolumeFile
from uncol.models.checkpoints import load_model
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import run_fine_tune
from uncol.pipelines.history import facts_of, identity_of, line_of, made_with, slices_used, versions

SHA256 = "ab" * 32


def test_versions_name_what_was_computed_with() -> None:
    found = versions()

    assert found["uncol"] == __version__
    assert found["torch"] == torch.__version__
    assert set(found) == {"uncol", "python", "torch", "monai", "numpy", "scipy", "SimpleITK", "pydicom"}


@pytest.mark.parametrize(
    ("directions", "plane", "told"),
    [
        ((-1.0, -1.0, 2.0), "axial", ["K:1,3"]),
        ((-1.0, -1.0, -2.0), "axial", ["K:1,3"]),  # the stack runs against the file; the file's numbers count
        ((-1.0, -1.0, 2.0), "sagittal", []),
    ],
)
def test_annotated_slices_are_counted_as_in_the_file(
    directions: tuple[float, float, float], plane: Plane, told: list[str]
) -> None:
    labels = np.full((5, 3, 4), UNKNOWN_LABEL, dtype=np.uint8)
    labels[[1, 3]] = 0

    assert slices_used(Volume(labels, np.diag([*directions, 1.0])), plane) == {"annotated_slices": told}


REPORT = {
    "model": "spleen",
    "model_sha256": SHA256,
    "training": {"held_out_dice": {"spleen": 0.9}, "annotated_slices": [5], "base_sha256": None, "seconds": 3},
    "versions": {"uncol": "1", "torch": "2"},
}


def test_of_a_model_dicom_says_hash_scores_slices_and_versions() -> None:
    assert facts_of(REPORT) == {
        "model": "spleen",
        "model_sha256": SHA256,
        "training_held_out_dice": "{'spleen': 0.9}",
        "training_annotated_slices": "[5]",
        "version_uncol": "1",
        "version_torch": "2",
        "intended_use": DISCLAIMER,
    }
    assert identity_of(REPORT) == SHA256
    assert line_of(REPORT) == f"Research use only. UnCoL {__version__}, model abababababab"


@pytest.mark.parametrize(
    ("source", "identity"),
    [
        ({"foundation_model": {"name": "LiteMedSAM", "license": "x"}}, "LiteMedSAM"),
        ({"foundation_model": None}, "registration"),
    ],
)
def test_without_a_model_the_foundation_model_made_it_or_registration(source: dict[str, object], identity: str) -> None:
    report = {**source, "annotated_slices": ["K:1"], "versions": {}}

    assert identity_of(report) == identity
    assert line_of(report).endswith(f", {identity}")
    assert facts_of(report)["annotated_slices"] == "['K:1']"


def test_a_model_remembers_its_base_and_who_taught_it_under_which_license(tmp_path: Path) -> None:
    case = a_larger_ball()
    image, labels = (
        VolumeFile.write(tmp_path / f"{name}.npy", each)
        for name, each in (("image", case.image), ("labels", case.labels))
    )
    config = Config(student=StudentConfig(channels=(4, 4, 4, 4, 4)))
    context = Context(UNWATCHED, None)

    def learn(name: str, base: str | None) -> Path:
        job = FineTuneJob(
            (Case(image, labels),),
            tmp_path / name,
            annotated_slices=(AnnotatedSlices("K", (0, 6, 11)),),
            structures=(Structure(3, "ball"),),
            steps=2,
            base=None if base is None else tmp_path / base,
            method="uncol-without-generalized",
            device="cpu",
        )
        run_fine_tune(job, config, context)
        return tmp_path / name

    first = load_model(learn("first", None))
    second = load_model(learn("second", "first"))

    assert len(first.sha256) == 64
    told = made_with(second, tmp_path / "second")
    assert (told["model"], told["model_sha256"]) == ("second", second.sha256)
    assert told["training"]["base_sha256"] == first.sha256
    assert first.card.training["base_sha256"] is None
    assert first.card.training["generalized_teacher_license"] is None
