"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from uncol.errors import ConfigError
from uncol.job import Device

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout; the result comes last.")]
DeviceChoice = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", help="Folder for the foundation model's embeddings of your slices.")
]
WeightsFile = Annotated[
    Path | None, typer.Option("--foundation-weights", help="LiteMedSAM weights; else those of the installed package.")
]


def parse_device(text: str) -> Device:
    """Read the name of a device.

    Raises:
        ConfigError: If there is no such kind of device.
    """
    if text not in get_args(Device):
        message = f'Device "{text}" is unknown. Choose one of {", ".join(get_args(Device))}.'
        raise ConfigError(message)
    return cast(Device, text)


def cache_folder(chosen: Path | None) -> Path:
    """Return the folder for embeddings that was chosen, or the user's own."""
    return chosen or Path(typer.get_app_dir("uncol")) / "embeddings"
