"""What the user wants to be compared or simulated, as the command line says it; nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from uncol.benchmark.annotator_rounds import ARMS
from uncol.core.errors import ConfigError
from uncol.core.foundation_choice import LITE_MEDSAM, Family
from uncol.core.jobs import Device

MOST_SLICES = 16
"""With how many the simulated annotator ends."""


@dataclass(frozen=True)
class Choice:
    """What the user wants to be compared.

    Attributes:
        methods: Names; none leaves it to the benchmark.
        labeled: Label counts; none takes all of the benchmark.
        seeds: How many seeds: 0, 1, 2, ...; None leaves it to the benchmark.
        steps: Training steps of a run; None leaves it to the benchmark.
        device: Where to train.
        foundation: Family of the foundation model.
        weights_sha256: SHA-256 of its weights; none for those of LiteMedSAM, which are always the same.
    """

    methods: tuple[str, ...] = ()
    labeled: tuple[int, ...] = ()
    seeds: int | None = None
    steps: int | None = None
    device: Device = "auto"
    foundation: Family = LITE_MEDSAM.family
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        for option, value in (("--seeds", self.seeds), ("--steps", self.steps)):
            if value is not None and value < 1:
                message = f"{option} must be at least 1, got {value}."
                raise ConfigError(message)


@dataclass(frozen=True)
class BenchmarkJob:
    """What is to be compared, and where.

    Attributes:
        name: Name of the benchmark on the command line.
        data: Folder that holds the benchmark's folder.
        out: Folder for the results, to which one sitting after the other can add.
        choice: What the user wants to be compared.
        jobs: How many processes do the work; 1 is this one.
    """

    name: str
    data: Path
    out: Path
    choice: Choice = field(default_factory=Choice)
    jobs: int = 1


@dataclass(frozen=True)
class AnnotatorJob:
    """What is simulated, and where.

    Attributes:
        name: One of `suites.ANNOTATORS`.
        data: Folder that holds the benchmark's folder.
        out: Folder for the results; the same folder goes on where it was.
        arms: What is compared; none compares all.
        most: With how many slices it ends.
        steps: Training steps with 4, 8 and 16 slices; 0 never trains.
        seed: Of what is drawn, and of training.
        device: Where to compute.
    """

    name: str
    data: Path
    out: Path
    arms: tuple[str, ...] = ()
    most: int = MOST_SLICES
    steps: int = 0
    seed: int = 0
    device: Device = "auto"

    def __post_init__(self) -> None:
        for each in self.arms:
            if each not in ARMS:
                message = f'"{each}" cannot be compared by the annotator. Choose from {", ".join(ARMS)}.'
                raise ConfigError(message)
