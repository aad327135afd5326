"""Sizes of the paper's students: the ready-made ones, what follows from them, and what cannot be built."""

from __future__ import annotations

from typing import Any

import pytest

from uncol.core.errors import ConfigError
from uncol.models.paper_config import PaperStudentConfig


def test_the_defaults_are_the_papers_2d_student() -> None:
    assert PaperStudentConfig() == PaperStudentConfig.paper_2d()
    assert PaperStudentConfig().channels == (16, 32, 64, 128, 256)


@pytest.mark.parametrize(
    ("config", "size_multiple", "prior_channels"),
    [
        pytest.param(PaperStudentConfig.paper_2d(), 16, 256, id="paper 2D"),
        pytest.param(PaperStudentConfig.paper_3d(), 16, 256, id="paper 3D"),
        pytest.param(PaperStudentConfig.small_2d(), 16, 128, id="small 2D: the neck widens 64 to 128"),
        pytest.param(PaperStudentConfig.small_3d(), 16, 64, id="small 3D: no neck"),
        # four halvings need 16, patches of 12 need 12: the least common multiple is 48
        pytest.param(PaperStudentConfig(patch=12), 48, 256, id="patches of 12"),
    ],
)
def test_input_sides_and_prior_follow_from_the_size(
    config: PaperStudentConfig, size_multiple: int, prior_channels: int
) -> None:
    assert (config.size_multiple, config.prior_channels) == (size_multiple, prior_channels)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        pytest.param({"dims": 4}, "dims must be 2 or 3, got 4", id="dims"),
        pytest.param({"channels": (8, 16)}, r"channels needs 5 numbers, got \(8, 16\)", id="channels"),
        pytest.param({"dropout": (0.1,)}, r"dropout needs 5 numbers, got \(0.1,\)", id="dropout count"),
        pytest.param({"dropout": (0.0, 0.0, 0.0, 0.0, 1.0)}, r"dropout must be in \[0, 1\)", id="dropout"),
        pytest.param({"heads": 0}, "every size must be at least 1", id="size"),
        pytest.param({"token_dim": 3}, "token_dim must be at least 4, got 3", id="no room for positions"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"The paper's student cannot be built: {rule}.*ready-made sizes\."):
        PaperStudentConfig(**changes)
