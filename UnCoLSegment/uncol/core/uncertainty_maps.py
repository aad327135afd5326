"""The maps that come beside a segmentation, by their names: named for what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, cast, get_args

from uncol.core.errors import ConfigError

MapName = Literal["teacher-disagreement", "augmentation-variance"]
"""A map beside the entropy: how far apart the sources are that were fused, or a model's answers to changed inputs."""
DISAGREEMENT: Final[MapName] = "teacher-disagreement"
AUGMENTATION: Final[MapName] = "augmentation-variance"
_ENTROPY = "entropy"
UNSURE = 0.5
"""Entropy between two classes, in [0, 1], from which one is unsure: the winning class has a probability of 0.89."""


def unsure_from(structure_count: int) -> float:
    """Return the normalized entropy, in [0, 1], from which a voxel counts as unsure between two of all classes.

    With one structure it is 0.5. With more the entropy is divided by the logarithm of more classes, so that a voxel
    torn between two of seven has 0.36 at most, and 0.5 would never be reached.

    Args:
        structure_count: Structures without the background.
    """
    return UNSURE * math.log(2) / math.log(max(structure_count, 1) + 1)


def parse_maps(text: str) -> tuple[MapName, ...]:
    """Read the names of maps, as in `entropy,teacher-disagreement`; the entropy is always there and left out.

    Raises:
        ConfigError: If there is no such map.
    """
    names = [name for name in (each.strip() for each in text.split(",")) if name != _ENTROPY]
    for name in names:
        if name not in get_args(MapName):
            message = f'Map "{name}" is unknown. Choose from {", ".join((_ENTROPY, *get_args(MapName)))}.'
            raise ConfigError(message)
    return cast(tuple[MapName, ...], tuple(dict.fromkeys(names)))


def check_maps(maps: Sequence[MapName], *, has_sources: bool, has_model: bool) -> None:
    """Refuse maps that a result cannot have.

    Args:
        maps: What is wanted.
        has_sources: Whether several sources are fused, as from annotated slices.
        has_model: Whether a model segments alone.

    Raises:
        ConfigError: If sources are to be compared where there is one only, or a model's answers where there is none.
    """
    if DISAGREEMENT in maps and not has_sources:
        message = (
            f"There is {DISAGREEMENT} only where several sources are fused, which needs annotated slices (--labels). "
            f"Leave {DISAGREEMENT} out of --maps."
        )
        raise ConfigError(message)
    if AUGMENTATION in maps and not has_model:
        message = (
            f"There is {AUGMENTATION} only of what a model segments (--model of uncol segment). "
            f"Leave {AUGMENTATION} out of --maps."
        )
        raise ConfigError(message)
