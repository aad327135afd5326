"""Each ablation changes what it says, and nothing else; unknown ones are refused."""

from __future__ import annotations

import pytest

from uncol.ablations import ABLATIONS, RELEASED
from uncol.config import Config
from uncol.errors import ConfigError


def test_an_unknown_ablation_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r'There is no ablation "no-magic"\. Choose from corrected, released, frozen-'):
        Config(ablations=("frozen-ema", "no-magic"))


def test_a_configuration_is_the_corrected_method_unless_it_names_ablations():
    assert Config().ablations == Config(ablations=("corrected",)).ablations == ()


def test_a_preset_stands_for_all_of_its_ablations():
    released = Config.from_document({"ablations": ["frozen-ema", "released"]})

    assert released.ablations == RELEASED
    assert Config.from_document(released.as_document()) == released


def test_the_released_preset_knows_only_ablations_that_exist():
    assert set(RELEASED) <= set(ABLATIONS)
