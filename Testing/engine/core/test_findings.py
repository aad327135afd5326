"""What a result says of its structures is read back as it was written, and a range says what it rests on."""

from __future__ import annotations

import json

import pytest

from uncol.core.errors import ConfigError
from uncol.core.findings import Finding, Findings, Place, findings_in, ml_text
from uncol.core.next_slices import NextSlice, NextSlices
from uncol.core.records import to_document

PLACE = Place(1, (3, 4, 5), (-3.5, 4.0, 12.5), 2.25, 0.75, "outside", "liver", 1)
LIVER = Finding("liver", 1, 10, 1409.4, 0.1, (1175.0, 1637.0), (0.95, 0.92, 0.97), with_two_more=0.96)
SPLEEN = Finding("spleen", 2, 4, 12.0, None, (10.0, 14.0), range_rests_on="map", why_no_promise="Too few slices.")
FOUND = Findings((LIVER, SPLEEN), (PLACE,), NextSlices("K", (NextSlice(7, None, ("liver",), None),)), 0.2)


def test_a_report_holds_it_beside_whatever_else() -> None:
    report = json.loads(json.dumps({**to_document(FOUND), "device": "cpu", "notes": []}))
    report["structures"][0]["found_by_a_later_version"] = 1

    assert findings_in(report) == FOUND


def test_a_report_of_an_earlier_version_has_structures_only() -> None:
    found = findings_in({"structures": [{"name": "liver", "value": 1, "voxels": 10, "volume_ml": 2.0}]})

    assert found == Findings((Finding("liver", 1, 10, 2.0),), (), None, 0.5)


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ({}, 'field "structures": a list is needed'),
        ({"structures": "liver"}, 'field "structures": a list is needed'),
        ({"structures": [], "places": [{"number": 1}]}, 'lacks the field "ijk"'),
    ],
)
def test_what_cannot_be_read_is_one_sentence(report: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        findings_in(report)


def test_a_volume_has_the_digits_that_mean_something_and_a_range_says_what_it_rests_on() -> None:
    assert [ml_text(each) for each in (1409.4, 99.96, 1.25, 0.128)] == ["1,409", "100.0", "1.2", "0.13"]
    assert LIVER.volume_text == "1,409 ml (1,175 to 1,637)"
    assert SPLEEN.volume_text == "12.0 ml (sure 10.0, possible 14.0)"
    assert LIVER.predicted_text == "0.95 (0.92 to 0.97)"
    assert Finding("liver", 1, 10, 1409.4).volume_text == "1,409 ml"
    assert Finding("liver", 1).volume_text == Finding("liver", 1).predicted_text == ""


def test_a_place_is_called_by_its_side_of_the_contour() -> None:
    assert PLACE.sentence == "may belong to liver"
    others = [Place(1, (0, 0, 0), (0, 0, 0), 1, 1, side, "liver", 1).sentence for side in ("inside", "both")]
    assert others == ["may not be liver", "border of liver unsure"]
