"""What is kept of a simulated annotator comes back, and the table says what it took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from uncol.benchmark.annotator_rounds import (
    GOAL,
    ROUNDS_FILE,
    Curve,
    Round,
    kept_curves,
    table_of,
    with_curve,
    write_curves,
)
from uncol.core.errors import ConfigError

TWO, THREE = Round((2, 6), 0.4, 0.7), Round((2, 4, 6), 0.9, 0.89, is_trained=True)
GAIN = Curve("liver", "expected-gain", "registration", rounds=(TWO, THREE))
EVERY = Curve("liver", GOAL, "registration", rounds=(Round((0, 2, 4, 6, 8), 0.0, 0.9),))
RANDOM = replace(GAIN, arm="random", rounds=(Round((2, 6), 0.4, 0.7), Round((2, 6, 7), 2.5, 0.75)))


def test_curves_come_back_and_a_longer_one_takes_the_place_of_the_same_one(tmp_path: Path) -> None:
    assert kept_curves(tmp_path) == ()
    longer = replace(GAIN, rounds=(*GAIN.rounds, Round((2, 4, 5, 6), 1.0, 0.9)))

    write_curves(tmp_path, with_curve((EVERY, GAIN), longer))

    assert kept_curves(tmp_path) == (EVERY, longer)
    assert with_curve((GAIN,), replace(GAIN, seed=1)) == (GAIN, replace(GAIN, seed=1))


@pytest.mark.parametrize("text", ["{", '{"curves": 1}', '{"rounds": []}'])
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / ROUNDS_FILE).write_text(text)

    with pytest.raises(ConfigError, match=r"cannot be read\. Move it away to begin anew"):
        kept_curves(tmp_path)


def test_the_table_says_how_many_slices_and_minutes_it_took() -> None:
    """98 % of 0.9 is 0.882. After 0.5 min two slices stand; after 1 min one has ended, and the other has not."""
    table = table_of((EVERY, GAIN, RANDOM)).splitlines()

    assert table[0].startswith(
        "| volume | chosen by | proposed by | 98 % of every second slice with | Dice, 2 slices |"
    )
    assert table[2] == "| liver | expected-gain | registration | 3 | 0.700 | 0.700 |  |  |  |"
    assert table[3] == "| liver | random | registration | not with 3 | 0.700 | 0.700 | 0.700 | 0.700 |  |"
