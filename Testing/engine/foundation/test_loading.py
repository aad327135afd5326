"""The foundation model that a user chooses: by family and file, from Python and from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_sam
import torch

from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice
from uncol.core.jobs import Box, SegmentJob
from uncol.core.progress import UNWATCHED
from uncol.core.volume import Volume
from uncol.data.io import write_results
from uncol.foundation.loading import load_foundation_model
from uncol.pipelines.context import Context
from uncol.pipelines.segment import run_segment

CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tiny_sam.register()
    return tiny_sam.write_checkpoint(tmp_path / "tiny_sam.pth")


def test_without_a_choice_it_is_lite_medsam():
    assert load_foundation_model(CPU, LITE_MEDSAM).name == "LiteMedSAM"


@pytest.mark.parametrize("family", ["MedSAM", "SAM"])
def test_a_file_is_loaded_as_the_family_that_was_named(checkpoint: Path, family: str):
    assert load_foundation_model(CPU, FoundationChoice.of(family, checkpoint)).name.startswith(f"{family} ViT-T")


def test_an_image_is_segmented_with_a_checkpoint_of_the_user(tmp_path: Path, checkpoint: Path):
    grey = np.random.default_rng(0).normal(0, 100, (3, 20, 24)).astype(np.float32)
    write_results(tmp_path / "data", {"ct.nii.gz": Volume(grey, np.diag([-1.0, -1.0, 2.0, 1.0]))}, {})
    job = SegmentJob(
        image=tmp_path / "data" / "ct.nii.gz", out=tmp_path / "out", boxes=(Box("liver", (2, 2, 0), (20, 15, 2)),)
    )
    context = Context(UNWATCHED, None, FoundationChoice("SAM", checkpoint))

    report = run_segment(job, context)

    assert report["foundation_model"]["name"].startswith("SAM ViT-T (")
    assert report["foundation_model"]["license"] == "see where the weights come from"
    assert (tmp_path / "out" / "segmentation.nii.gz").is_file()


def test_the_command_line_takes_family_and_file(checkpoint: Path):
    program = "import tiny_sam, runpy; tiny_sam.register(); runpy.run_module('uncol', run_name='__main__')"
    command = [sys.executable, "-c", program, "doctor", "--json", "--foundation-model", "MedSAM"]

    paths = os.pathsep.join([str(Path(tiny_sam.__file__).parent), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": paths}
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)

    done, refused = run("--foundation-weights", str(checkpoint)), run()

    checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert checks["MedSAM"]["state"].startswith("ready: MedSAM ViT-T (")
    assert refused.returncode == 2
    assert "--foundation-weights" in refused.stderr
