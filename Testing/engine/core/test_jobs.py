"""Tests of what a piece of work is asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from uncol.core.errors import ConfigError, UncolError
from uncol.core.jobs import AnnotatedSlices, Box, Case, FineTuneJob, SegmentJob, Structure

CASE = Case(Path("a.nrrd"), Path("a-labels.nrrd"))


@pytest.mark.parametrize("value", [1, 254])
def test_structure_takes_label_values_that_are_neither_background_nor_unknown(value: int) -> None:
    assert Structure(value, "spleen").value == value


@pytest.mark.parametrize("value", [-1, 0, 255, 256])
def test_structure_refuses_other_label_values(value: int) -> None:
    message = f'Structure "spleen" has label value {value}; use 1 to 254 (0 is background, 255 unknown).'

    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Structure(value, "spleen")


def test_links_in_a_circle_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(UncolError, match=r"leads nowhere"):
        FineTuneJob((CASE,), Path("model"), proposal=tmp_path / "loop" / "found")


def test_a_job_with_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'There is no method "magic"\. Choose one of supervised, '):
        FineTuneJob(cases=(CASE,), out=Path("model"), method="magic")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cases": ()}, "There is nothing to learn from: give at least one image with annotated slices."),
        ({"seed": -1}, "seed must be a whole number from 0 to 2^63 - 1, got -1."),
        ({"seed": 2**63}, f"seed must be a whole number from 0 to 2^63 - 1, got {2**63}."),
        ({"preview_s": 0.0}, "preview_s must be above 0, got 0. Leave it out for no previews."),
    ],
)
def test_a_job_whose_fields_are_out_of_range_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        FineTuneJob(**({"cases": (CASE,), "out": Path("model")} | fields))


@pytest.mark.parametrize(
    "sources",
    [{}, {"model": Path("m"), "labels": Path("l")}, {"model": Path("m"), "boxes": (Box("x", (0, 0, 0), (1, 1, 1)),)}],
)
def test_an_image_is_segmented_with_one_thing_only(sources: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"exactly one of a model \(--model\), boxes \(--box\) or slices \(--labels\)"
    ):
        SegmentJob(Path("image"), Path("out"), **sources)


def test_slices_of_a_case_that_is_not_there_are_refused() -> None:
    cases = (CASE, Case(Path("b.nrrd"), Path("b-labels.nrrd")))
    message = (
        'Slices "3@K:0,5" are of case 3, but the last one is case 2. '
        "Cases are counted from 1, in the order of --case: correct the number."
    )

    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        FineTuneJob(cases, Path("model"), annotated_slices=(AnnotatedSlices("K", (0, 5), case=3),))
    FineTuneJob(cases, Path("model"), annotated_slices=(AnnotatedSlices("K", (0, 5), case=2),))


@pytest.mark.parametrize(
    ("proposal", "further", "can"),
    [(Path("p"), (Path("q"), Path("r")), 1), (None, (Path("q"),), 0)],
    ids=["one too many", "none for the first case"],
)
def test_each_further_case_has_one_folder_for_its_proposal(
    proposal: Path | None, further: tuple[Path, ...], can: int
) -> None:
    cases = (Case(Path("a"), Path("b")), Case(Path("c"), Path("d")))

    with pytest.raises(ConfigError) as told:
        FineTuneJob(cases, Path("m"), proposal=proposal, further_proposals=further)

    assert str(told.value) == (
        f"There are {len(further)} folders for what is proposed after the first case, where {can} can be filled. "
        "Give one for each further case, or none."
    )


def test_maps_are_of_a_proposal_only() -> None:
    with pytest.raises(
        ConfigError, match=r"^There is teacher-disagreement of a proposal only\. Add --proposal, or leave"
    ):
        FineTuneJob((CASE,), Path("model"), maps=("teacher-disagreement",))
    FineTuneJob((CASE,), Path("model"), proposal=Path("found"), maps=("teacher-disagreement",))
