"""Each ablation changes what it says, and nothing else; unknown ones are refused."""

from __future__ import annotations

import pytest

from uncol.ablations import ABLATIONS, RELEASED, check_ablations
from uncol.config import Config
from uncol.errors import ConfigError


def test_an_unknown_ablation_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r'There is no ablation "no-magic"\. Choose from frozen-ema, softmax-of'):
        check_ablations(("frozen-ema", "no-magic"))


def test_a_configuration_is_the_corrected_method_unless_it_names_ablations():
    assert Config().ablations == ()
    assert Config.from_document({"ablations": list(RELEASED)}).ablations == RELEASED


def test_the_released_preset_knows_only_ablations_that_exist():
    assert set(RELEASED) <= set(ABLATIONS)
