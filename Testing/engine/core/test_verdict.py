"""Better, not better or not compared: by the mean Dice of what both know, on the same slices."""

from __future__ import annotations

from typing import Any

import pytest

from uncol.core.errors import ConfigError
from uncol.core.records import from_document, to_document
from uncol.core.verdict import Verdict, judged, not_compared


def test_the_higher_mean_dice_of_what_both_know_is_better() -> None:
    verdict = judged({"liver": 0.9, "spleen": 0.8, "aorta": 1.0}, {"liver": 0.86, "spleen": 0.86, "kidney": 0.1}, 3)

    assert verdict == Verdict("better", {"liver": 0.9, "spleen": 0.8}, {"liver": 0.86, "spleen": 0.86}, 3)
    assert verdict.sentence == "Better than the earlier model: Dice 0.860, before 0.850, on 3 slices annotated since."


def test_equal_is_not_better() -> None:
    verdict = judged({"liver": 0.9}, {"liver": 0.9}, 1)

    assert verdict.outcome == "not better"
    assert verdict.sentence == (
        "Not better than the earlier model: Dice 0.900, before 0.900, on 1 slice annotated since. Keep the earlier one."
    )


def test_without_a_structure_that_both_know_nothing_is_compared() -> None:
    verdict = judged({"liver": 0.9}, {"kidney": 0.9}, 2)

    assert (verdict.outcome, verdict.old, verdict.new, verdict.slices) == ("not compared", {}, {}, 0)
    assert verdict.sentence == ("Not compared with the earlier model: those slices show no structure that both know.")


@pytest.mark.parametrize("verdict", [judged({"a": 0.5}, {"a": 0.7}, 2), not_compared("why")])
def test_a_verdict_is_read_as_it_was_written(verdict: Verdict) -> None:
    assert from_document(Verdict, to_document(verdict), "The verdict") == verdict


@pytest.mark.parametrize(
    "changed",
    [
        {"outcome": "best"},
        {"slices": 0},
        {"slices": -1},
        {"old": {}},
        {"old": {"b": 0.5}},
        {"new": {"a": 1.5}},
        {"new": {"a": "0.7"}},
        {"outcome": "not compared"},
        {"more": 1},
    ],
)
def test_what_contradicts_itself_is_no_verdict(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_document(Verdict, to_document(judged({"a": 0.5}, {"a": 0.7}, 2)) | changed, "The verdict")
