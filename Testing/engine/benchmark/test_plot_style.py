"""Every method has a look of its own."""

from __future__ import annotations

from uncol.benchmark.plot_style import STYLES
from uncol.benchmark.suites import METHODS


def test_every_method_has_its_color_and_its_marker() -> None:
    assert sorted(STYLES) == sorted(METHODS)
    assert len({style.color for style in STYLES.values()}) == len(METHODS)
    assert len({style.marker for style in STYLES.values()}) == len(METHODS)
