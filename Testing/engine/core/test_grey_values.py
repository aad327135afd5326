"""What cards say about grey values, and what those tell that were written before they said it."""

from __future__ import annotations

from typing import Any

import pytest

from uncol.core.grey_values import grey_values_in


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        pytest.param({"window": [-160.0, 240.0]}, "hounsfield", id="soft tissue"),
        pytest.param({"window": [-985, 653]}, "hounsfield", id="widened, in whole numbers"),
        pytest.param({"window": [-159.5, 240.0]}, "arbitrary", id="percentiles of a piece without air"),
        pytest.param({"window": [7.0, 109.0]}, "arbitrary", id="percentiles of an MR"),
        pytest.param({"window": [7.0, 109.0], "grey_values": "hounsfield"}, "hounsfield", id="as it says"),
        pytest.param({"window": [-160.0, 240.0], "grey_values": "arbitrary"}, "arbitrary", id="as it says again"),
        pytest.param({"window": "wide"}, "arbitrary", id="no window"),
        pytest.param({}, "arbitrary", id="nothing"),
    ],
)
def test_a_card_tells_what_its_grey_values_mean(card: dict[str, Any], expected: str) -> None:
    assert grey_values_in(card) == expected
