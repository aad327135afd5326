from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256

import pytest
from small_results import (
    GOOD_UNCERTAINTY,
    LIVER,
    SCORES,
    SPLEEN,
    TURNED,
    Scores,
    evaluations_of,
    small_results,
    small_scene,
)

from uncol.core.findings import Finding
from uncol.core.jobs import AnnotatedSlices, Box, Structure
from uncol.core.model_folder import DISCLAIMER
from uncol.report import report
from uncol.report.outcome import Outcome
from uncol.report.results import Results, Suggestion


def written(results: Results) -> str:
    return report.write(results, small_scene(results))


@pytest.fixture(scope="module")
def results() -> Results:
    return small_results()


@pytest.fixture(scope="module")
def html(results: Results) -> str:
    return written(results)


def row_of(html: str, name: str) -> list[str]:
    row = re.search(rf'<tr[^>]*><th scope="row">{name}</th>(.*?)</tr>', html)
    assert row
    return re.findall(r"<td.*?</td>", row.group(1))


HEADLINES = [
    "The result in pictures",
    "The first pass from a box",
    "How far from an annotated slice can it be trusted?",
    "Can its confidence be believed?",
    "Structure by structure",
    "Which slice to annotate next",
    "Where these numbers come from",
    "How the model learned",
    "Methods",
    "Notes and errors",
]


def test_the_viewer_comes_first_and_the_sections_in_the_order_of_the_story(html: str) -> None:
    page = html[html.index("<main>") :]

    assert re.findall(r'<section id="(?!uv-)[a-z-]+"><h2>(.*?)</h2>', page) == HEADLINES
    assert page.index('<section class="look"') < page.index(f"<h2>{HEADLINES[0]}</h2>")
    assert re.findall(r'<a href="#[a-z-]+">(.*?)</a>', html) == ["Look through it", *HEADLINES]


def test_the_headline_is_followed_by_the_summary_and_the_disclaimer(html: str) -> None:
    title, summary, disclaimer = (html.index(text) for text in ("<h1>UnCoL demo", "A test drew", DISCLAIMER))

    assert DISCLAIMER == "Research use only. Not a medical device."
    assert title < summary < disclaimer < html.index("<section")


def test_nothing_is_loaded_from_outside_and_no_script_runs_but_our_own(html: str) -> None:
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)

    assert policy
    allowed = re.findall(r"sha256-([A-Za-z0-9+/=]+)", policy.group(1))
    assert allowed == [b64encode(sha256(each.encode()).digest()).decode() for each in scripts]
    assert policy.group(1).startswith("default-src &#x27;none&#x27;; script-src &#x27;sha256-")
    assert "script-src &#x27;unsafe" not in policy.group(1)
    own = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    addresses = re.findall(r'(?:src|href|srcset|action|data)="([^"]*)"', own)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    for forbidden in ("http:", "https:", "url(", "@import", "onload", "<iframe"):
        assert forbidden not in own


def test_every_picture_is_a_png_with_a_text_for_those_who_cannot_see_it(html: str) -> None:
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)">', html)

    assert (
        len(pictures) == html.count("<img") == 19
    )  # 3 for each of 3 slices, 1 coronal and the suggestion; 2 of the first pass; curve, distance
    assert all(b64decode(data).startswith(b"\x89PNG\r\n\x1a\n") for data, _ in pictures)
    assert all(alt for _, alt in pictures)


def test_the_summary_tells_what_was_done_and_what_came_of_it(results: Results, html: str) -> None:
    first_pass_wins = replace(results, evaluations=evaluations_of({**SCORES, "first_pass": ((0.95, 5.0), (0.95, 5.0))}))

    assert (
        "<p>The image is a generated phantom. A test drew the first and the last slice: 2 of 9. From these, and from "
        "the 7 slices that nobody annotated, UnCoL learned for 272 s. On the slices that nobody annotated its mean "
        "Dice is 0.922 (shape interpolation 0.866, first pass 0.351). The reference was used for nothing else.</p>"
    ) in html
    assert "(shape interpolation 0.866, first pass 0.950). By mean Dice the" in written(first_pass_wins)


def test_text_from_outside_is_escaped_everywhere(results: Results) -> None:
    evil = '<script>alert("x")</script> $\\frac{'
    told = replace(
        results,
        title=evil,
        source=evil,
        structures=(Structure(1, evil), SPLEEN),
        boxes=(Box(evil, (2, 4, 0), (12, 15, 8)),),
        annotator=evil,
        reference_source=evil,
        reference_use=evil,
        suggestion=Suggestion(4, 4, 0.3, evil),
        training={**results.training, "device": evil, "versions": {evil: evil}},
        foundation_model=evil,
    )

    html = written(told)

    assert "<script>alert" not in html.lower()
    shown = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert '"x")' not in shown
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in shown


def test_the_given_numbers_stand_in_the_table_and_the_best_is_bold(html: str) -> None:
    assert row_of(html, "liver") == [
        "<td>0.813</td>",
        "<td>12.3</td>",
        "<td>0.702</td>",
        "<td>20.0</td>",
        '<td class="best">0.935</td>',
        '<td class="best">4.6</td>',
    ]


def test_a_structure_that_got_worse_is_marked_and_an_empty_result_is_never_zero_mm(html: str) -> None:
    interpolation_dice, interpolation_mm, first_dice, first_mm, tuned_dice, tuned_mm = row_of(html, "spleen")

    assert (interpolation_dice, interpolation_mm) == ('<td class="best">0.920</td>', '<td class="best">3.0</td>')
    assert (first_dice, first_mm) == ("<td>0.000</td>", "<td>undefined</td>")
    assert "0.910" in tuned_dice
    assert "3.5" in tuned_mm
    assert "worse than the first pass or shape interpolation" in tuned_dice
    assert "worse than the first pass or shape interpolation" in tuned_mm


def test_the_means_and_the_verdict_follow_from_the_table(html: str) -> None:
    # (0.8127 + 0.92) / 2 = 0.866, (0.702 + 0) / 2 = 0.351, (0.9349 + 0.91) / 2 = 0.922
    assert [re.sub("<.*?>", "", cell) for cell in row_of(html, "Mean")] == ["0.866", "", "0.351", "", "0.922", ""]
    assert (
        "ahead of both first pass and shape interpolation for 1 of 2 structures by Dice, and for 1 of 2 by HD95" in html
    )
    assert "By Dice it is not ahead for: spleen." in html
    assert "Scored on the 7 slices that nobody annotated." in html


def report_on_liver(results: Results, scores: Scores) -> str:
    return written(replace(results, structures=(LIVER,), evaluations=evaluations_of(scores, (LIVER,))))


def test_equal_scores_are_both_best_and_neither_is_worse(results: Results) -> None:
    even: Scores = {
        "interpolation": ((0.90004, 2.0),),
        "first_pass": ((0.5, 9.0),),
        "fine_tuned": ((0.9, 2.04),),
    }

    cells = row_of(report_on_liver(results, even), "liver")

    assert cells[:2] == cells[4:] == ['<td class="best">0.900</td>', '<td class="best">2.0</td>']


def test_the_verdict_on_one_structure_is_in_the_singular(results: Results) -> None:
    better: Scores = {"interpolation": ((0.8, 3.0),), "first_pass": ((0.5, 9.0),), "fine_tuned": ((0.9, 2.0),)}

    assert "for 1 of 1 structure by Dice, and for 1 of 1 by HD95." in report_on_liver(results, better)


def test_slices_beyond_the_annotated_ones_are_pointed_out(results: Results, html: str) -> None:
    inner = written(replace(results, annotated=AnnotatedSlices("K", (1, 6))))

    assert "has only one side to go by" not in html
    # slices 0, 7 and 8 lie beyond
    assert "Before slice 1 and after slice 6, in 3 of them, interpolation has only one side to go by" in inner


def test_the_uncertainty_is_told_with_its_numbers_or_why_there_are_none(results: Results, html: str) -> None:
    without = replace(GOOD_UNCERTAINTY, error_detection_auroc=None)
    no_errors = replace(results, evaluations=evaluations_of(SCORES, uncertainty=without))

    # 25 of 1000 voxels of the band
    assert "Within 5 mm of a boundary 2.5% of the voxels are wrong; there a wrong voxel is more uncertain" in html
    assert "in 87 of 100 cases (50 would be chance). Confidence and accuracy differ there by 0.123 on" in html
    assert "Within 5 mm of a boundary there were not both right and wrong voxels" in written(no_errors)


def test_the_pictures_show_an_annotated_the_worst_and_a_typical_slice(html: str) -> None:
    captions = [re.sub("<.*?>", "", each) for each in re.findall(r"<figcaption>(.*?)</figcaption>", html)]

    assert captions[0].startswith("Slice 0, annotated.")
    assert captions[1].startswith("Slice 3, the worst of the slices that nobody annotated. Dice 0.61, 3 slices from")
    assert captions[2].startswith("Slice 2, a typical slice that nobody annotated. Dice 0.93, 2 slices from")
    assert captions[3].startswith("Coronal, across all slices.")


def test_slices_carry_the_numbers_of_the_file() -> None:
    html = written(small_results(TURNED))

    assert "Slice 3, the worst" in html  # slice 5 of the stack
    assert "<b>Slice 4.</b> The border of the spleen is unsure." in html


def test_the_provenance_names_seed_steps_time_device_versions_and_source(html: str) -> None:
    facts = html[html.index("Where these numbers come from") :]

    for fact in (
        "a generated phantom",
        "made up for a test",
        ">17<",
        "400 steps in 4 min 32 s on CPU",
        "LiteMedSAM; it made the first pass and was a teacher",
        "torch",
        "2.9.1",
    ):
        assert fact in facts


def test_what_a_run_did_not_have_is_not_told(results: Results) -> None:
    training = {**results.training, "generalized_teacher": None, "curve": results.training["curve"][:2]}

    html = written(replace(results, suggestion=None, training=training))

    assert "No slice is suggested." in html
    assert "Stage 1 learns from the annotated slices only.</p>" in html
    assert "it made the first pass<" in html


def test_the_same_results_give_the_same_file(results: Results, html: str) -> None:
    assert written(results) == html


def test_the_page_of_a_model_tells_everything_once_and_nothing_of_a_result() -> None:
    curve = [{"step": step, "seconds": step, "stage": 1, "supervised": 0.5} for step in (1, 2)]
    training = {"steps": 1500, "seconds": 43.0, "annotated_slices": [4], "slices": [30], "curve": curve}
    outcome = Outcome((Finding("liver", 1), Finding("spleen", 2)), training=training, model="liver-model")

    html = report.write_run("Model liver-model: Liver, spleen", outcome, None, "uncol fine-tune --out FILE --seed 1")

    assert html.count("Dice was not measured: that needs about 10 annotated slices, there were 4.") == 1
    assert "Doubt says" not in html
    assert "liver, spleen: learned with UnCoL" in html
    assert "<b>1,500 steps in 43\N{NO-BREAK SPACE}s</b>" in html, "a number stays with its unit"
