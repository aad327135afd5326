from __future__ import annotations

from typing import Any

import pytest

from uncol.core.errors import ConfigError
from uncol.core.findings import Finding
from uncol.core.jobs import AnnotatedSlices
from uncol.report.outcome import Outcome, duration_text, facts, sentences, subtitle, trust

REPORT: dict[str, Any] = {
    "uncol": "0.2.0",
    "intended_use": "Research use only.",
    "image": {"sha256": "ab", "size_ijk": [512, 512, 78], "spacing_mm": [0.727, 0.727, 2.0]},
    "model": "liver-model",
    "training": {"steps": 350, "seconds": 250.4, "device": "cpu", "annotated_slices": [6], "notes": ["A note."]},
    "annotated_slices": [{"axis": "K", "indices": [0, 8], "case": None}],
    "structures": [{"name": "liver", "value": 1, "voxels": 10, "volume_ml": 1409.4, "mean_uncertainty": None}],
    "device": "cpu",
    "seconds": 12.5,
    "notes": ["Another."],
    "files": {"segmentation.nii.gz": "cd"},
}


def test_a_report_is_read_as_it_was_written() -> None:
    outcome = Outcome.of_segmentation(REPORT)

    assert outcome.findings == (Finding("liver", 1, 10, 1409.4),)
    assert outcome.annotated == (AnnotatedSlices("K", (0, 8)),)
    assert (outcome.made_by, outcome.notes, outcome.seconds) == ("model liver-model", ("Another.", "A note."), 12.5)
    assert subtitle(outcome) == "512 x 512 x 78 voxels of 0.727 x 0.727 x 2 mm · model liver-model · CPU"
    assert facts(outcome)["Steps"] == "350"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"structures": None}, "report.json"),
        ({"structures": [{"name": "liver"}]}, 'lacks the field "value"'),
        ({"image": "none"}, 'field "image"'),
        ({"training": {"steps": "many"}}, "training.steps"),
        ({"seconds": "soon"}, "a number is needed"),
    ],
)
def test_what_is_no_report_of_ours_is_one_sentence(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Outcome.of_segmentation({**REPORT, **change})


def test_a_dice_is_told_or_why_there_is_none() -> None:
    few = Outcome.of_segmentation(REPORT)
    held = Outcome.of_segmentation({**REPORT, "training": {"held_out_dice": {"liver": 0.9312}}})
    untrained = Outcome.of_segmentation({**REPORT, "training": {}, "model": ""})

    assert few.why_no_dice == "Dice was not measured: that needs about 10 annotated slices, there were 6."
    assert held.why_no_dice == ""
    assert trust(held).startswith("Dice of the model on annotated slices that it had not learned from: liver 0.931.")
    assert untrained.why_no_dice == "Dice was not measured: nothing was learned, and no reference is given."
    assert untrained.made_by == "registration alone"


def test_everybody_who_had_a_say_is_named_with_their_part() -> None:
    report = {
        "foundation_model": {"name": "LiteMedSAM", "license": "Apache-2.0"},
        "model": "liver-2",
        "structures": [],
        "versions": {"uncol": "0.2.0", "torch": "2.9.0"},
        "sources": {
            "liver": {"registration": 0.5, "foundation model": 0.1, "student": 0.4},
            "spleen": {"registration": 0.7, "foundation model": 0.3},
        },
    }

    outcome = Outcome.of_segmentation(report)
    without_model = Outcome.of_segmentation({**report, "model": "", "sources": {"liver": {"registration": 1.0}}})

    assert outcome.made_by == "registration (60%), LiteMedSAM (20%) and model liver-2 (20%)"
    assert without_model.made_by == "registration (100%)"
    assert facts(outcome)["torch"] == "2.9.0"
    assert facts(outcome)["Licence of the foundation model's weights"] == "Apache-2.0"


def test_what_is_foreseen_is_told_where_nothing_was_held_out() -> None:
    foreseen = [{"name": "liver", "value": 1, "predicted_dice": [0.96, 0.93, 0.98]}, {"name": "spleen", "value": 2}]
    outcome = Outcome.of_segmentation({**REPORT, "training": {}, "structures": foreseen})

    said = "Dice foreseen where nobody annotated, by annotated slices that were left out in turn: "
    assert trust(outcome).startswith(f"{said}liver 0.96 (0.93 to 0.98).")


def test_a_verdict_is_told_with_the_rest() -> None:
    verdict = {"outcome": "better", "old": {"liver": 0.9}, "new": {"liver": 0.93}, "slices": 2, "reason": ""}
    outcome = Outcome.of_segmentation({**REPORT, "training": {"verdict": verdict}})

    assert (
        outcome.verdict_text == "Better than the earlier model: Dice 0.930, before 0.900, on 2 slices annotated since."
    )
    assert outcome.verdict_text in trust(outcome)


def test_a_time_and_sentences_are_told_as_a_person_does() -> None:
    assert (duration_text(59.4), duration_text(250.4)) == ("59 s", "4 min 10 s")
    assert sentences("a", ["b", "a", ""], "") == ["a", "b"]
