"""Names of maps, and which results can have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from uncol.core.errors import ConfigError
from uncol.core.jobs import Box, SegmentJob
from uncol.core.uncertainty_maps import AUGMENTATION, DISAGREEMENT, parse_maps, unsure_from

JOB = {"image": Path("ct.nii.gz"), "out": Path("out")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("entropy", ()),
        ("teacher-disagreement", (DISAGREEMENT,)),
        (" teacher-disagreement, entropy,teacher-disagreement", (DISAGREEMENT,)),
    ],
)
def test_the_entropy_is_always_there_and_others_are_named(text: str, expected: tuple[str, ...]) -> None:
    assert parse_maps(text) == expected


@pytest.mark.parametrize("text", ["", "aleatoric", "entropy,Teacher-Disagreement"])
def test_what_does_not_exist_is_refused_with_what_does(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r'^Map ".*" is unknown\. Choose from entropy, teacher-disagreement, augmentation-variance\.$'
    ):
        parse_maps(text)


def test_one_source_alone_has_no_disagreement() -> None:
    message = r"teacher-disagreement only where several sources are fused, which needs annotated slices \(--labels\)"
    with pytest.raises(ConfigError, match=message):
        SegmentJob(**JOB, boxes=(Box("ball", (0, 0, 0), (1, 1, 1)),), maps=(DISAGREEMENT,))
    with pytest.raises(ConfigError, match=message):
        SegmentJob(**JOB, model=Path("model"), maps=(DISAGREEMENT,))
    with pytest.raises(ConfigError, match="augmentation-variance only of what a model segments"):
        SegmentJob(**JOB, labels=Path("labels.nii.gz"), maps=(AUGMENTATION,))

    assert SegmentJob(**JOB, model=Path("model"), maps=(AUGMENTATION,)).maps == (AUGMENTATION,)

    assert SegmentJob(**JOB, labels=Path("labels.nii.gz"), maps=(DISAGREEMENT,)).maps == (DISAGREEMENT,)


def test_a_voxel_is_unsure_between_two_classes_however_many_there_are() -> None:
    """Half of ln 2, divided by ln 2 for one structure and by ln 4 for three."""
    assert [unsure_from(count) for count in (0, 1, 3)] == [0.5, 0.5, 0.25]
