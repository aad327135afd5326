"""Parts of jobs as they are written on the command line."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast, get_args

from uncol.core.errors import ConfigError
from uncol.core.jobs import AnnotatedSlices, Box, Structure, StudentChoice

_NUMBER = re.compile(r" *\d{1,18} *")  # Python reads no more than 4,300 digits, and not every blank


def parse_structure(text: str) -> Structure:
    """Read `NAME=VALUE`, as in `spleen=1`."""
    name, separator, value = text.rpartition("=")
    if not separator or not name.strip() or not _NUMBER.fullmatch(value):
        message = f'"{text}" does not say which structure it is. Write NAME=VALUE, for example spleen=1.'
        raise ConfigError(message)
    return Structure(int(value), name.strip())


def parse_box(text: str) -> Box:
    """Read `LABEL=I0,J0,K0,I1,J1,K1`, as in `liver=10,20,5,90,80,40`."""
    name, separator, numbers = text.rpartition("=")
    try:
        indices = [int(number) for number in numbers.split(",")]
    except ValueError:
        indices = []
    if not separator or not name.strip() or len(indices) != 6:
        message = f'Box "{text}" is not readable. Write LABEL=I0,J0,K0,I1,J1,K1 with six whole voxel indices.'
        raise ConfigError(message)
    lower, upper = (indices[0], indices[1], indices[2]), (indices[3], indices[4], indices[5])
    return Box(name.strip(), lower, upper)


_HOW_TO_WRITE_SLICES = "Write AXIS:N1,N2,... (I, J or K), as in K:0,8,16"


def parse_slices(text: str) -> AnnotatedSlices:
    """Read `AXIS:N1,N2,...` where there is one image only, as in `K:0,8,16`."""
    case, at, rest = text.rpartition("@")
    slices = _read_slices(rest)
    if at and slices is not None:
        message = f'Slices "{text}" name a case, but there is only one image here. Leave out "{case}@".'
        raise ConfigError(message)
    if slices is None:
        message = f'Slices "{text}" are not readable. {_HOW_TO_WRITE_SLICES}.'
        raise ConfigError(message)
    return slices


def parse_annotated_slices(text: str) -> AnnotatedSlices:
    """Read `[CASE@]AXIS:N1,N2,...` where there may be several cases, as in `K:0,8,16` or `2@J:40`."""
    case, at, rest = text.rpartition("@")
    slices = _read_slices(rest)
    if slices is None or (at and not (_NUMBER.fullmatch(case) and int(case) > 0)):
        message = (
            f'Slices "{text}" are not readable. {_HOW_TO_WRITE_SLICES}, '
            "or CASE@AXIS:N1,N2,... for one of several cases, as in 2@K:0,8,16."
        )
        raise ConfigError(message)
    return replace(slices, case=int(case)) if at else slices


def _read_slices(text: str) -> AnnotatedSlices | None:
    axis, _, numbers = text.partition(":")
    try:
        indices = tuple(sorted({int(number) for number in numbers.split(",")}))
    except ValueError:
        return None
    letter = axis.strip().upper()
    if letter not in ("I", "J", "K") or min(indices) < 0:
        return None
    return AnnotatedSlices(letter, indices)  # type: ignore[arg-type]  # checked to be I, J or K above


def parse_student(text: str) -> StudentChoice:
    """Read `2d`, `3d` or `auto`."""
    if text not in get_args(StudentChoice):
        message = f'Student "{text}" is unknown. Choose one of {", ".join(get_args(StudentChoice))}.'
        raise ConfigError(message)
    return cast(StudentChoice, text)
