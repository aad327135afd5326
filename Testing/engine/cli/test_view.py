"""`uncol view`: a page, or one sentence and exit code 2."""

from __future__ import annotations

import json
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
