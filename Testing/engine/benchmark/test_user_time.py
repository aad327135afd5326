"""The annotator's time by hand: 0.4 s to look, 400 painted and 800 travelled pixels a second."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.benchmark.user_time import correction_seconds


def test_a_slice_that_is_right_is_only_looked_at() -> None:
    right = np.eye(6, dtype=np.uint8)

    assert correction_seconds(right, right) == pytest.approx(0.4)


def test_only_what_is_wrong_is_painted_the_nearest_piece_first() -> None:
    """From the middle (10, 10) to (10, 14), 4 away, then to (10, 2), 12 away; 3 + 1 pixels are painted."""
    right = np.ones((20, 20), dtype=np.uint8)
    proposed = right.copy()
    proposed[9:12, 14] = 0
    proposed[10, 2] = 2

    assert correction_seconds(proposed, right) == pytest.approx(0.4 + 4 / 400 + 16 / 800)
