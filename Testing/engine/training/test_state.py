"""Losses averaged over short stretches of a run."""

from __future__ import annotations

from uncol.training.state import LearningCurve


def test_a_point_is_the_mean_since_the_last_one():
    curve = LearningCurve()
    curve.add({"supervised": 1.0})
    curve.add({"supervised": 2.0})
    curve.close_point(2, 10.04, 1)
    curve.add({"supervised": 4.0, "pseudo_label": 1.0})
    curve.close_point(3, 12.0, 2)

    assert curve.points == [
        {"step": 2, "seconds": 10.0, "stage": 1, "supervised": 1.5},
        {"step": 3, "seconds": 12.0, "stage": 2, "supervised": 4.0, "pseudo_label": 1.0},
    ]


def test_without_losses_there_is_no_point():
    curve = LearningCurve()
    curve.close_point(0, 0.0, 1)

    assert curve.points == []
