"""`uncol view`: a page, or one sentence and exit code 2."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from given import a_larger_ball

from uncol.core.jobs import Structure
from uncol.inference.result import Segmentation
from uncol.pipelines.results import reported


@pytest.fixture
def result(tmp_path: Path) -> Path:
    case = a_larger_ball()
    doubt = case.image.with_voxels(np.zeros(case.image.shape_kji, np.float32))
    found = Segmentation(case.labels, doubt, (Structure(3, "ball"),))
    reported(case.image, found, {"foundation_model": None}, torch.device("cpu"), 1.0).write(tmp_path / "result")
    return tmp_path / "result"


def test_the_page_is_written_and_named(uncol: Callable[..., Any], result: Path):
    code, out, err = uncol("view", result, "--no-open")

    assert (code, out) == (0, "")
    assert str(result / "view.html") in err.replace("\n", "")
    code, out, _ = uncol("view", result, "--json")
    assert json.loads(out) == {"event": "result", "page": str(result / "view.html")}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "holds no result"),
        (["RESULT", "--compare", "before"], "Write NAME=FILE"),
        (["RESULT", "--image", "labels.nii.gz"], "is not the one that was segmented"),
        (["RESULT", "--serve", "--image", "nowhere.nii.gz"], "does not exist"),
        (["RESULT", "-o", "ct.nii.gz/pages"], "cannot be written"),
    ],
)
def test_what_cannot_be_shown_gets_one_sentence_and_exit_code_2(
    uncol: Callable[..., Any], result: Path, arguments: list[str], sentence: str
):
    code, out, err = uncol("view", *(result if each == "RESULT" else each for each in arguments), "--no-open")

    assert (code, out) == (2, "")
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.soak
def test_a_volume_of_2_gb_that_is_not_the_image_is_one_sentence(
    uncol: Callable[..., Any], result: Path, tmp_path: Path
):
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 1024, 1024, 1024, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)  # int16
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<h", header, 254, 1)
    for row in range(3):
        struct.pack_into("<f", header, 280 + 20 * row, 1)
    header[344:348] = b"n+1\0"
    large = tmp_path / "large.nii"
    large.write_bytes(header)
    with large.open("r+b") as file:
        file.seek(352 + 2 * 1024**3 - 2)
        file.write(b"\1\0")

    code, out, err = uncol("view", result, "--image", large, "--no-open")

    assert (code, out) == (2, "")
    assert "is not the one that was segmented" in " ".join(err.split())
    assert err.strip().count(". ") <= 1
    assert "Traceback" not in err
    assert not (result / "view.html").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
@pytest.mark.parametrize("option", [(), ("--serve",)])
def test_a_folder_without_rights_is_one_sentence(
    uncol: Callable[..., Any], result: Path, tmp_path: Path, option: tuple[str, ...]
):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):  # as root: nobody writes there
        closed = Path("/sys/uncol-pages")
    if not closed.parent.is_dir():
        pytest.skip("this user may write everywhere")

    code, out, err = uncol("view", result, "--out", closed, "--no-open", *option)

    assert (code, out) == (2, "")
    assert "choose another folder" in " ".join(err.lower().split())
    assert "Traceback" not in err
