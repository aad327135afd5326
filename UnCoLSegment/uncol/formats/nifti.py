"""NIfTI and Analyze through nibabel: what the header says is compared with itself before it is believed."""

from __future__ import annotations

from pathlib import Path

from uncol.core.volume import Volume


def read_nifti(path: Path, subject: str) -> Volume:
    """Read a NIfTI-1, NIfTI-2 or Analyze file or pair."""
    raise NotImplementedError
