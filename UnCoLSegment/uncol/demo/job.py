"""What the demo is to do, as the command line says it; nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from uncol.core.errors import ConfigError
from uncol.core.jobs import Device, DicomChoice, Structure

_FEWEST = 2
"""With every slice annotated, nothing would be left to learn without labels or to score."""


@dataclass(frozen=True)
class DemoJob:
    """Run the whole story on one volume.

    Attributes:
        out: Folder for the report, the volumes and the model.
        image: The user's own image, together with `labels`; None takes another one.
        labels: Its full label map.
        structures: Names of the label values in `labels`; empty calls them "label-N".
        every: One slice in so many is annotated.
        minutes: Time for fine-tuning.
        device: Where to compute.
        dicom: What to take of DICOM folders.

    Raises:
        ConfigError: If the choices contradict each other.
    """

    out: Path
    image: Path | None = None
    labels: Path | None = None
    structures: tuple[Structure, ...] = ()
    every: int = 8
    minutes: float = 3.0
    device: Device = "auto"
    dicom: DicomChoice = field(default_factory=DicomChoice)

    def __post_init__(self) -> None:
        contradictions = {
            "Give --image and --labels together: the label map plays the annotator. Or leave out both.": (
                (self.image is None) != (self.labels is None)
            ),
            "--structure names the values of --labels. Give both or neither.": (
                bool(self.structures) and self.labels is None
            ),
            f"--every must be at least {_FEWEST}, got {self.every}: some slices must stay without annotation.": (
                self.every < _FEWEST
            ),
            f"--minutes must be above 0, got {self.minutes}.": not self.minutes > 0,
        }
        for message, is_wrong in contradictions.items():
            if is_wrong:
                raise ConfigError(message)
