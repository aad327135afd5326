"""What a job's own choices make of a configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uncol.core.config import Config, StudentConfig
from uncol.core.errors import ConfigError
from uncol.core.jobs import Case, FineTuneJob, StudentChoice
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import LabeledCase
from uncol.pipelines.fine_tune import with_job_choices


def case(unknown_voxels: int) -> LabeledCase:
    labels = np.zeros((2, 3, 4), dtype=np.uint8)
    labels.flat[:unknown_voxels] = UNKNOWN_LABEL
    return LabeledCase(Volume(labels.astype(np.int16), np.eye(4)), Volume(labels, np.eye(4)))


def job(method: str | None = None, student: StudentChoice | None = None) -> FineTuneJob:
    return FineTuneJob((Case(Path("image"), Path("labels")),), Path("out"), method=method, student=student)


@pytest.mark.parametrize(
    ("student", "unknown_voxels", "dims"),
    [
        ("2d", 0, 2),
        ("3d", 5, 3),
        pytest.param("auto", 0, 3, id="auto, annotated as a whole"),
        pytest.param("auto", 5, 2, id="auto, partly annotated"),
    ],
)
def test_the_student_suits_the_annotation(student: StudentChoice, unknown_voxels: int, dims: int):
    chosen = with_job_choices(Config(), job(student=student), [case(0), case(unknown_voxels)])

    assert chosen.student.dims == dims


def test_what_a_job_leaves_out_is_as_configured():
    config = Config(method="bcp", student=StudentConfig(dims=3))

    assert with_job_choices(config, job(), [case(5)]) == config
    assert with_job_choices(config, job(method="ua-mt"), [case(5)]).method == "ua-mt"


@pytest.mark.parametrize("method", ["frozen-teacher", "supervised-all"])
def test_methods_that_make_no_model_are_for_the_benchmark(method: str):
    with pytest.raises(ConfigError) as told:
        with_job_choices(Config(), job(method=method), [case(0)])

    assert str(told.value) == (
        f'Method "{method}" is for `uncol benchmark` only. Choose one of supervised, mean-teacher, ua-mt, bcp, '
        "uncol-without-generalized, uncol-without-specialized, uncol-without-gating, uncol."
    )
