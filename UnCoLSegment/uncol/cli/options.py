"""Options that all commands share, and how the texts of options are read."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar, cast, get_args

import typer
from platformdirs import user_cache_path

from uncol.core.errors import ConfigError
from uncol.core.foundation_choice import Family
from uncol.core.jobs import Case, Device

DATA, HOW_LONG, ADVANCED, FOR_PROGRAMS = "Data", "How long", "Advanced", "For programs"
"""How options are grouped in the help."""
FLAG = " "
"""What stands for the value of an option that has none."""

# `readable=False`: what cannot be read or written is told in one sentence by who reads and writes, not by typer.
JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar=FLAG,
        rich_help_panel=FOR_PROGRAMS,
        help="One JSON object per line on stdout; the result comes last.",
    ),
]
OutFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.", readable=False)]
DeviceChoice = Annotated[
    str, typer.Option("--device", metavar="NAME", rich_help_panel=ADVANCED, help="auto, cpu, cuda or mps.")
]
Texts = list[str] | None
"""What a repeatable option holds."""
Structures = Annotated[
    Texts, typer.Option("--structure", metavar="NAME=VALUE", help="Structure in the label map; repeatable.")
]
Maps = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help=(
            "Maps to write: entropy, always there; teacher-disagreement, with --labels or --proposal; "
            "augmentation-variance, with -m, in nine times the time."
        ),
    ),
]
SLICES, BOX = "AXIS:N1,N2,...", "LABEL=I0,J0,K0,I1,J1,K1"
ANNOTATED_HELP = (
    "Slices of the label map that count as annotated, e.g. K:0,8,16 (K is the third number in Slicer's Data Probe); "
    "without it all that are not 255; repeatable."
)
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        rich_help_panel=ADVANCED,
        help="Folder for the foundation model's embeddings of your slices.",
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option(
        "--foundation-weights",
        metavar="FILE",
        rich_help_panel=ADVANCED,
        help="File with its weights; LiteMedSAM's come with the installed package.",
    ),
]
FoundationFamily = Annotated[
    str,
    typer.Option(
        "--foundation-model", metavar="NAME", rich_help_panel=ADVANCED, help=f"{', '.join(get_args(Family))}."
    ),
]
Series = Annotated[
    int | None,
    typer.Option(
        "--series",
        metavar="N",
        rich_help_panel=ADVANCED,
        help="Which series of a DICOM folder, as the refusal lists them.",
    ),
]
AllowIncomplete = Annotated[
    bool,
    typer.Option(
        "--allow-incomplete",
        metavar=FLAG,
        rich_help_panel=ADVANCED,
        help="Read DICOM without its damaged and odd slices.",
    ),
]

_NAMING = {"-o", "--out", "--proposal", "--cache", "--models", "--unlabeled", "--labels", "--image", "--config"}
"""Options whose values name files or folders, also such as are not there yet."""
_SUFFIX = re.compile(r"[.][A-Za-z]{1,5}$")
"""How the names of files end."""
_BETWEEN_PATHS = "\x1f"
"""The unit separator: no path of a user holds it."""
Parsed = TypeVar("Parsed")


def parsed(texts: Texts, parse: Callable[[str], Parsed]) -> tuple[Parsed, ...]:
    """Read each text of a repeatable option; an option left out has none."""
    return tuple(parse(text) for text in texts or ())


def parse_device(text: str) -> Device:
    """Read the name of a device.

    Raises:
        ConfigError: If there is no such kind of device.
    """
    if text not in get_args(Device):
        message = f'Device "{text}" is unknown. Choose one of {", ".join(get_args(Device))}.'
        raise ConfigError(message)
    return cast(Device, text)


def join_cases(arguments: list[str]) -> list[str]:
    """Join `--case IMAGE LABELS` to one value: typer has repeatable options, but none of two values each."""
    joined = list(arguments)
    for place in [number for number, each in enumerate(arguments) if each == "--case"][::-1]:
        paths = [each for each in joined[place + 1 : place + 3] if not each.startswith("--")]
        joined[place + 1 : place + 1 + len(paths)] = [_BETWEEN_PATHS.join(paths)]
    return joined


def parse_case(text: str) -> Case:
    """Read the value that `join_cases` made of an image and its label map.

    Raises:
        ConfigError: If there are not two paths in it.
    """
    image, between, labels = text.partition(_BETWEEN_PATHS)
    if not between:
        message = "--case needs two paths: the image and its label map, as in --case ct.nii.gz labels.nii.gz."
        raise ConfigError(message)
    return Case(Path(image), Path(labels))


def check_only_with_labels(labels: Path | None, options: Mapping[str, Sequence[str] | None]) -> None:
    """Refuse options that say something about a label map where there is none.

    Raises:
        ConfigError: If one of them is given without `--labels`.
    """
    given = [name for name, texts in options.items() if texts]
    if given and labels is None:
        message = f"{given[0]} is about the label map of --labels, which is not given here. Leave out {given[0]}."
        raise ConfigError(message)


def without_names(arguments: Sequence[str]) -> str:
    """Return a command line in which FILE stands for every path: names of files are often those of patients."""
    shown, is_named = ["uncol"], False
    for each in arguments:
        option, between, value = each.partition("=")
        if not each.startswith("-"):
            shown.append("FILE" if is_named or _is_path(each) else shlex.quote(each))
        elif between and option.startswith("--") and (option in _NAMING or _is_path(value)):
            shown.append(f"{option}=FILE")
        else:
            shown.append(shlex.quote(each))
        is_named = each in _NAMING
    return " ".join(shown)


def _is_path(text: str) -> bool:
    is_written_so = any(each in text for each in ("/", "\\", _BETWEEN_PATHS)) or _SUFFIX.search(text) is not None
    return is_written_so or os.path.lexists(text)


def check_cohort(*, cohort: bool, of_one_image: Mapping[str, object], of_cohorts: Mapping[str, object]) -> None:
    """Refuse options of a single image with `--cohort`, and options of cohorts without it.

    Raises:
        ConfigError: If one of them is given.
    """
    for name in (each for each, value in of_one_image.items() if cohort and value):
        message = f"{name} is about one image, but --cohort segments many with one model. Leave out {name}."
        raise ConfigError(message)
    for name in (each for each, value in of_cohorts.items() if not cohort and value is not None):
        message = f"{name} is for a whole folder. Add --cohort, or leave out {name}."
        raise ConfigError(message)


def needed_by_cohort(model: str | None) -> str:
    """Return the model of a cohort.

    Raises:
        ConfigError: If there is none.
    """
    if model is None:
        message = "A cohort is segmented with one model for all images: give it with --model."
        raise ConfigError(message)
    return model


def cache_folder(chosen: Path | None) -> Path:
    """Return the folder for embeddings that was chosen, or the user's own, which may be deleted at any time."""
    return chosen or user_cache_path("uncol", appauthor=False) / "embeddings"
