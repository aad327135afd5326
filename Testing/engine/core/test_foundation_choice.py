"""The choice of a foundation model."""

from __future__ import annotations

import pytest

from uncol.core.errors import ConfigError
from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice


def test_lite_medsam_comes_with_the_package():
    assert LITE_MEDSAM.is_installed
    assert LITE_MEDSAM.license == "Apache-2.0"


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r'Foundation model "CLIP" is unknown\. Choose one of LiteMedSAM, MedSAM, SAM'
    ):
        FoundationChoice.of("CLIP", None)


@pytest.mark.parametrize("family", ["MedSAM", "SAM"])
def test_weights_that_no_package_holds_must_be_named(family: str):
    with pytest.raises(ConfigError, match=rf"The weights of {family} are in no Python package\. Name their file"):
        FoundationChoice.of(family, None)
