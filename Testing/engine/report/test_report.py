from __future__ import annotations

import re
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import uncol
from uncol.core.jobs import Structure
from uncol.report.pictures import uncertainty_scale
from uncol.report.report import DISCLAIMER, write_report
from uncol.report.story import (
    Comparison,
    LearningCurve,
    Provenance,
    ReferenceKind,
    Score,
    SliceScore,
    StackBox,
    Story,
    Suggestion,
)

LIVER, SPLEEN = Structure(1, "liver"), Structure(2, "spleen")
SHAPE = (9, 20, 24)


def make_story() -> Story:
    """A run on nine small slices, of which the first and the last are annotated."""
    generator = np.random.default_rng(0)
    reference = np.zeros(SHAPE, np.uint8)
    reference[:, 5:15, 3:12] = 1
    reference[:, 8:14, 15:21] = 2
    result = np.roll(reference, 1, axis=2)
    slice_scores = [
        SliceScore(index, min(index, 8 - index), {"interpolation": 0.8, "first_pass": 0.7, "fine_tuned": dice})
        for index, dice in enumerate((0.99, 0.95, 0.93, 0.61, 0.90, 0.92, 0.94, 0.96, 0.99))
    ]
    return Story(
        title="UnCoL demo",
        summary="Two annotated slices were enough.",
        plane="axial",
        image=generator.normal(40, 20, SHAPE),
        spacing_mm=(5.0, 2.0, 3.0),
        window=(-100.0, 200.0),
        structures=(LIVER, SPLEEN),
        reference=reference,
        result=result,
        uncertainty=generator.uniform(0, 0.4, SHAPE),
        annotated_slices=(0, 8),
        first_pass=reference,
        boxes=(StackBox(LIVER, (0, 4, 2), (8, 15, 12)),),
        comparisons=(
            Comparison(
                LIVER,
                {
                    "interpolation": Score(0.8127, 12.34),
                    "first_pass": Score(0.7020, 20.0),
                    "fine_tuned": Score(0.9349, 4.56),
                },
            ),
            Comparison(
                SPLEEN,
                {
                    "interpolation": Score(0.9200, 3.0),
                    "first_pass": Score(0.0, None),
                    "fine_tuned": Score(0.9100, 3.5),
                },
            ),
        ),
        slice_scores=tuple(slice_scores),
        scores_note="Scored on seven slices that nobody annotated.",
        curve=LearningCurve({"supervised": [(0, 1.5), (10, 0.5), (20, 0.25)], "pseudo-label": [(20, 0.3)]}, 10),
        uncertainty_note="A wrong voxel is more uncertain than a right one in 87 of 100 cases.",
        suggestion=Suggestion(4, "The border of the spleen is unsure."),
        provenance=Provenance(
            data_source="generated phantom",
            reference="generated",
            seed=17,
            steps=400,
            seconds=272.4,
            device="CPU",
            versions={"torch": "2.9.1"},
        ),
    )


@pytest.fixture(scope="module")
def story() -> Story:
    return make_story()


@pytest.fixture(scope="module")
def html(story: Story) -> str:
    return write_report(story)


def row_of(html: str, name: str) -> list[str]:
    row = re.search(rf'<tr[^>]*><th scope="row">{name}</th>(.*?)</tr>', html)
    assert row
    return re.findall(r"<td.*?</td>", row.group(1))


def test_the_sections_come_in_the_order_of_the_story(html: str) -> None:
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "The result in pictures",
        "The first pass from a box",
        "How the model learned",
        "How far from an annotated slice can it be trusted?",
        "Structure by structure",
        "Which slice to annotate next",
        "Where these numbers come from",
    ]


def test_the_headline_is_followed_by_the_summary_and_the_disclaimer(html: str) -> None:
    title, summary, disclaimer = (html.index(text) for text in ("<h1>UnCoL demo", "Two annotated slices", DISCLAIMER))

    assert DISCLAIMER == "Research use only. Not a medical device."
    assert title < summary < disclaimer < html.index("<h2>")


def test_nothing_is_loaded_from_outside_and_no_script_runs(html: str) -> None:
    addresses = re.findall(r'(?:src|href|srcset|action|data)="([^"]*)"', html)

    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    for forbidden in ("http:", "https:", "<script", "url(", "@import", "onload", "<iframe"):
        assert forbidden not in html


def test_every_picture_is_a_png_with_a_text_for_those_who_cannot_see_it(html: str) -> None:
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)">', html)

    assert len(pictures) == html.count("<img") == 8  # 3 slices, 1 coronal, first pass, curve, distance, suggestion
    assert all(b64decode(data).startswith(b"\x89PNG\r\n\x1a\n") for data, _ in pictures)
    assert all(alt for _, alt in pictures)


def test_text_from_outside_is_escaped_everywhere(story: Story) -> None:
    evil = '<script>alert("x")</script> $\\frac{'
    structure = Structure(1, evil)
    told = replace(
        story,
        title=evil,
        summary=evil,
        structures=(structure, SPLEEN),
        comparisons=(Comparison(structure, {"interpolation": Score(0.9, 1.0), "fine_tuned": Score(0.8, 2.0)}),),
        boxes=(StackBox(structure, (0, 4, 2), (8, 15, 12)),),
        curve=LearningCurve({evil: [(0, 1.0), (1, 0.5)]}),
        scores_note=evil,
        uncertainty_note=evil,
        suggestion=Suggestion(4, evil),
        provenance=replace(story.provenance, data_source=evil, device=evil, versions={evil: evil}),
    )

    html = write_report(told)

    assert "<script" not in html
    assert '"x")' not in html
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in html


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
    assert "worse than shape interpolation" in tuned_dice
    assert "worse than shape interpolation" in tuned_mm


def test_the_means_and_the_verdict_follow_from_the_table(html: str) -> None:
    # (0.8127 + 0.92) / 2 = 0.866, (0.702 + 0) / 2 = 0.351, (0.9349 + 0.91) / 2 = 0.922
    assert [re.sub("<.*?>", "", cell) for cell in row_of(html, "Mean")] == ["0.866", "", "0.351", "", "0.922", ""]
    assert "ahead of shape interpolation for 1 of 2 structures by Dice, and for 1 of 2 by HD95" in html
    assert "By Dice it is not ahead for: spleen." in html
    assert "Scored on seven slices that nobody annotated." in html


def test_equal_scores_are_both_best_and_neither_is_worse(story: Story) -> None:
    even = Comparison(LIVER, {"interpolation": Score(0.90004, 2.0), "fine_tuned": Score(0.9, 2.04)})

    cells = row_of(write_report(replace(story, comparisons=(even,))), "liver")

    assert cells == ['<td class="best">0.900</td>', '<td class="best">2.0</td>'] * 2


def test_the_verdict_on_one_structure_is_in_the_singular(story: Story) -> None:
    better = Comparison(LIVER, {"interpolation": Score(0.8, 3.0), "fine_tuned": Score(0.9, 2.0)})

    html = write_report(replace(story, comparisons=(better,)))

    assert "for 1 of 1 structure by Dice, and for 1 of 1 by HD95." in html


def test_the_pictures_show_an_annotated_the_worst_and_a_typical_slice(html: str) -> None:
    captions = [re.sub("<.*?>", "", each) for each in re.findall(r"<figcaption>(.*?)</figcaption>", html)]

    assert captions[0].startswith("Slice 0, annotated.")
    assert captions[1].startswith("Slice 3, the worst of the slices that nobody annotated. Dice 0.61, 3 slices from")
    assert captions[2].startswith("Slice 2, a typical slice that nobody annotated. Dice 0.93, 2 slices from")
    assert captions[3].startswith("Coronal, across all slices.")


def test_slices_carry_the_numbers_of_the_file(story: Story) -> None:
    html = write_report(replace(story, slice_numbers=tuple(range(108, 99, -1))))

    assert "Slice 105, the worst" in html  # slice 3 of the stack counted down from 108
    assert "<b>Slice 104.</b> The border of the spleen is unsure." in html


def test_the_provenance_names_seed_steps_time_device_versions_and_source(html: str) -> None:
    facts = html[html.index("Where these numbers come from") :]

    for fact in ("generated phantom", ">17<", "400 steps in 4 min 32 s on CPU", "torch", "2.9.1"):
        assert fact in facts


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("given", "who drew it, and how well, is not known here"),
        ("none", "nothing here says how accurate the result is"),
        ("generated", "generated together with the image"),
    ],
)
def test_the_reader_learns_where_the_reference_comes_from(story: Story, kind: ReferenceKind, words: str) -> None:
    assert words in write_report(replace(story, provenance=replace(story.provenance, reference=kind)))


def test_a_story_without_its_optional_parts_says_so(story: Story) -> None:
    bare = replace(
        story, first_pass=None, boxes=(), comparisons=(), slice_scores=(), curve=None, suggestion=None, scores_note=""
    )

    html = write_report(bare)

    for sentence in (
        "There was no first pass",
        "No losses were recorded.",
        "No slice apart from the annotated ones was scored.",
        "No reference was given, so nothing could be scored.",
        "No slice is suggested.",
    ):
        assert sentence in html


def test_the_same_story_gives_the_same_file(story: Story, html: str) -> None:
    assert write_report(story) == html


def test_a_cut_across_a_sagittal_stack_is_axial_with_posterior_down(story: Story) -> None:
    # a sagittal stack is (left, inferior, posterior); its axial cut must be (posterior, left)
    cut = replace(story, plane="sagittal").cross_cut(7)

    assert cut.plane == "axial"
    assert np.array_equal(cut.image, story.image[:, 7, :].T)
    assert cut.spacing_mm == (3.0, 5.0)


def test_a_cut_across_an_axial_stack_is_coronal_with_superior_up(story: Story) -> None:
    cut = story.cross_cut(7)

    assert cut.plane == "coronal"
    assert np.array_equal(cut.image[0], story.image[-1, 7])
    assert cut.spacing_mm == (5.0, 3.0)


def test_the_color_scale_ends_above_nearly_all_uncertainty_but_never_looks_alarming_for_nothing() -> None:
    assert uncertainty_scale(np.full((2, 3, 4), 0.31)) == pytest.approx(0.4)
    assert uncertainty_scale(np.zeros((2, 3, 4))) == pytest.approx(0.2)
    assert uncertainty_scale(np.ones((2, 3, 4))) == 1.0


def test_arrays_of_different_shape_are_refused(story: Story) -> None:
    with pytest.raises(ValueError, match=r"must have the image's shape \(9, 20, 24\)"):
        replace(story, result=story.result[:-1])


def test_writing_a_report_leaves_matplotlibs_global_state_alone() -> None:
    program = "import sys, uncol.report.report; sys.exit('matplotlib.pyplot' in sys.modules)"

    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(uncol.__file__).parents[1])
