"""A reliability diagram shows each bin where it lies, and says in words why there is none."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from small_results import GOOD_UNCERTAINTY

from uncol.core.promise import StructureCalibration
from uncol.core.reliability import ReliabilityBin
from uncol.report.confidence import HEADLINE, reliability_svg, tried_on_left_out, tried_on_reference

BEFORE = (ReliabilityBin(0.6, 0.7, 100), ReliabilityBin(0.95, 0.9, 300))
AFTER = (ReliabilityBin(0.6, 0.6, 100), ReliabilityBin(1.0, 0.95, 400))


def circles(svg: str) -> list[tuple[str, float, float, float]]:
    found = re.findall(r'<circle class="(\w+)" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"/>', svg)
    return [(name, float(x), float(y), float(r)) for name, x, y, r in found]


def test_every_bin_lies_at_its_confidence_and_accuracy() -> None:
    """From 0.6 to 1 on 240 units: 0.1 are 60. The largest bin has a dot of 9, one of a quarter of its voxels 4.5."""
    svg = reliability_svg({"before": BEFORE, "after": AFTER}, "liver")

    assert circles(svg) == [
        ("before", 52.0, 192.0, 4.5),
        ("before", 262.0, 72.0, 7.8),
        ("after", 52.0, 252.0, 4.5),
        ("after", 292.0, 42.0, 9.0),
    ]
    assert re.findall(r">([\d.]+)</text>", svg)[::2] == ["1", "0.9", "0.8", "0.7", "0.6"]


@pytest.mark.parametrize("bins", [(ReliabilityBin(1.0, 1.0, 5),), (ReliabilityBin(0.5, 0.0, 5),)])
def test_a_single_bin_is_drawn_inside_the_picture(bins: tuple[ReliabilityBin, ...]) -> None:
    ((_, x, y, _),) = circles(reliability_svg({"after": bins}, "liver"))

    assert 52 <= x <= 292
    assert 12 <= y <= 252


def test_structures_that_are_not_calibrated_say_so_and_names_are_no_markup() -> None:
    liver = StructureCalibration("<b>liver", 3, 0.3, 0.1, 8.0, BEFORE, AFTER)

    (section,) = tried_on_left_out([liver, StructureCalibration("spleen", 1)]).values()

    assert "3 left-out slices; gap before 0.062, after 0.040." in section  # (10 + 15) / 400, (0 + 20) / 500
    assert "<b>liver" not in section
    assert "&quot;spleen&quot; is not calibrated and has no promise" in section
    assert section.count("<svg") == 1


def test_without_any_calibrated_structure_there_are_words_alone() -> None:
    (section,) = tried_on_left_out([StructureCalibration("spleen", 0)]).values()

    assert "<svg" not in section
    assert section.startswith("<p>&quot;spleen&quot; is not calibrated")
    assert tried_on_left_out([]) == {}


def test_beside_a_reference_all_structures_are_drawn_together_or_the_reason_is_told() -> None:
    drawn = tried_on_reference(replace(GOOD_UNCERTAINTY, reliability=AFTER))[HEADLINE]
    empty = tried_on_reference(replace(GOOD_UNCERTAINTY, words={"calibration_error": "undefined: no boundary"}))

    assert "All structures; gap 0.040 on average." in drawn
    assert empty[HEADLINE] == "<p>There is no diagram: undefined: no boundary.</p>"
    assert "no uncertainty" in tried_on_reference(None)[HEADLINE]
