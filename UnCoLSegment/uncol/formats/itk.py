"""NRRD and MetaImage through SimpleITK; what it does not check is read from the header first."""

from __future__ import annotations

from pathlib import Path

from uncol.core.volume import Volume


def read_nrrd(path: Path, subject: str) -> Volume:
    """Read a .nrrd or .nhdr file."""
    raise NotImplementedError


def read_metaimage(path: Path, subject: str) -> Volume:
    """Read a .mha or .mhd file."""
    raise NotImplementedError
