"""The methods that train nothing, by name: what the command line, tables and pictures know of them; nothing is loaded.

What `WITHOUT_TRAINING` holds is a method of the command line and a row of every table of slices; what it does stands in
`without_training.FILL_SLICES`.
"""

from __future__ import annotations

from dataclasses import dataclass

REGISTRATION, FROZEN_TEACHER = "registration", "frozen-teacher"


@dataclass(frozen=True, kw_only=True)
class WithoutTraining:
    """One method that trains nothing.

    Attributes:
        style: Color, marker and line in pictures, unlike those of all other methods.
        uses_foundation_model: Whether its outcome depends on the foundation model.
    """

    style: tuple[str, str, str]
    uses_foundation_model: bool = False


WITHOUT_TRAINING = {
    "shape-interpolation": WithoutTraining(style=("#8A8A8A", "X", ":")),
    "shape-interpolation-ends": WithoutTraining(style=("#6B6B6B", "x", "-.")),
    "morphological-interpolation": WithoutTraining(style=("#A0785A", "d", "--")),
    REGISTRATION: WithoutTraining(style=("#E69F00", "H", "--")),
    FROZEN_TEACHER: WithoutTraining(style=("#56A0D3", "P", ":"), uses_foundation_model=True),
    "untrained": WithoutTraining(style=("#A33B00", "8", "-."), uses_foundation_model=True),
}
"""By name, in the order of tables. Where whole cases are labeled, the frozen teacher is prompted by a student."""
