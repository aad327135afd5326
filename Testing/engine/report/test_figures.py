from __future__ import annotations

import pytest
from small_results import small_results

from uncol.report.figures import curve_png, stage2_step

CURVE = small_results().training["curve"]


def test_stage_2_starts_after_the_last_step_of_stage_1() -> None:
    assert stage2_step(CURVE) == 10
    assert stage2_step(CURVE[2:]) == 0


def test_a_run_that_never_reached_stage_2_has_no_such_step() -> None:
    assert stage2_step(CURVE[:2]) is None


@pytest.mark.parametrize("loss", [0.0, -0.5, 1.0])
def test_losses_are_drawn_whatever_their_sign(loss: float) -> None:
    # a logarithmic axis would silently leave out what is not above 0
    assert curve_png([*CURVE, {"step": 30, "seconds": 4.0, "stage": 2, "supervised": loss}]).startswith(b"\x89PNG")
