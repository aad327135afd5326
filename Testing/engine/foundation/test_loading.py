"""The foundation model that a user chooses: by family and file, from Python and from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from uncol.core.errors import ConfigError
from uncol.core.jobs import Box, SegmentJob
from uncol.core.progress import UNWATCHED
from uncol.core.volume import Volume
from uncol.data.io import write_results
from uncol.foundation.embeddings import EmbeddingCache, PromptableStack
from uncol.foundation.lite_medsam import LiteMedSAM
from uncol.foundation.loading import LITE_MEDSAM, FoundationModel, load_foundation_model
from uncol.foundation.sam_checkpoint import EncoderSize, build_sam
from uncol.foundation.segment_anything import SegmentAnything
from uncol.pipelines.tasks import Context, run_segment

CPU = torch.device("cpu")
TINY = EncoderSize(width=32, depth=2, heads=2, patch=8, grid=8, window=3, global_blocks=(1,), embedding_width=16)
LARGE_FRAME = EncoderSize(
    width=32, depth=2, heads=2, patch=16, grid=64, window=3, global_blocks=(1,), embedding_width=16
)


def write_checkpoint(path: Path, size: EncoderSize) -> Path:
    pytest.importorskip("segment_anything", reason="needs the optional package segment-anything")
    torch.manual_seed(0)
    torch.save(build_sam(size).state_dict(), path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny_sam.pth", TINY)


def test_without_a_choice_it_is_lite_medsam():
    assert isinstance(load_foundation_model(CPU, LITE_MEDSAM), LiteMedSAM)
    assert LITE_MEDSAM.is_installed
    assert LITE_MEDSAM.license == "Apache-2.0"


@pytest.mark.parametrize("family", ["MedSAM", "SAM"])
def test_a_file_is_loaded_as_the_family_that_was_named(checkpoint: Path, family: str):
    teacher = load_foundation_model(CPU, FoundationModel.of(family, checkpoint))

    assert isinstance(teacher, SegmentAnything)
    assert teacher.name.startswith(f"{family} ViT")


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r'Foundation model "CLIP" is unknown\. Choose one of LiteMedSAM, MedSAM, SAM'
    ):
        FoundationModel.of("CLIP", None)


@pytest.mark.parametrize("family", ["MedSAM", "SAM"])
def test_weights_that_no_package_holds_must_be_named(family: str):
    with pytest.raises(ConfigError, match=rf"The weights of {family} are in no Python package\. Name their file"):
        FoundationModel.of(family, None)


@pytest.mark.parametrize(("size", "scale"), [(TINY, 1.0), (LARGE_FRAME, 4.0)], ids=["64 pixels", "1024 pixels"])
def test_margins_grow_with_the_teachers_frame(tmp_path: Path, size: EncoderSize, scale: float):
    teacher = load_foundation_model(CPU, FoundationModel("SAM", write_checkpoint(tmp_path / "sam.pth", size)))

    stack = PromptableStack(np.zeros((1, 20, 30)), (1.0, 1.0), (0.0, 1.0), teacher, EmbeddingCache(None))

    assert stack.scale == scale


def test_an_image_is_segmented_with_a_checkpoint_of_the_user(tmp_path: Path, checkpoint: Path):
    grey = np.random.default_rng(0).normal(0, 100, (3, 20, 24)).astype(np.float32)
    write_results(tmp_path / "data", {"ct.nii.gz": Volume(grey, np.diag([-1.0, -1.0, 2.0, 1.0]))}, {})
    job = SegmentJob(
        image=tmp_path / "data" / "ct.nii.gz", out=tmp_path / "out", boxes=(Box("liver", (2, 2, 0), (20, 15, 2)),)
    )
    context = Context(UNWATCHED, None, FoundationModel("SAM", checkpoint))

    report = run_segment(job, context)

    assert report["foundation_model"]["name"].startswith("SAM ViT with 2 blocks")
    assert report["foundation_model"]["license"] == "see where the weights come from"
    assert (tmp_path / "out" / "segmentation.nii.gz").is_file()


def test_the_command_line_takes_family_and_file(checkpoint: Path):
    command = [sys.executable, "-m", "uncol", "doctor", "--json", "--foundation-model", "MedSAM"]

    done = subprocess.run(
        [*command, "--foundation-weights", str(checkpoint)], capture_output=True, text=True, check=True
    )
    refused = subprocess.run(command, capture_output=True, text=True, check=False)

    checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert checks["MedSAM"]["state"].startswith("ready: MedSAM ViT with 2 blocks of width 32")
    assert refused.returncode == 2
    assert "--foundation-weights" in refused.stderr
