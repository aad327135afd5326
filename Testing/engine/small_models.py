"""Models of a few bytes, written by hand: to the store they are whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

FILES = {"model.json", "weights.safetensors", "SHA256SUMS"}
HEADER = b'{"weight":{"dtype":"U8","shape":[16,16],"data_offsets":[0,256]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(range(256))
CARD = {
    "format": 1,
    "structures": [{"value": 3, "name": "spleen"}, {"value": 1, "name": "liver"}],
    "plane": "axial",
    "pixel_mm": 1.0,
    "slice_mm": 3.0,
    "window": [0.0, 100.0],
    "config": {},
    "training": {"steps": 40, "notes": [], "curve": [{"step": 4, "supervised": 1.5}]},
    "intended_use": "Research use only. Not a medical device.",
}


def files_of(card: Any = CARD, weights: bytes = WEIGHTS) -> dict[str, bytes]:
    """The three files of a small model whose sums fit; a card of bytes is written as it is."""
    text = card if isinstance(card, bytes) else json.dumps(card).encode()
    texts = {"model.json": text, "weights.safetensors": weights}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in texts.items())
    return {**texts, "SHA256SUMS": sums.encode()}


def write_model(folder: Path, files: dict[str, bytes] | None = None) -> None:
    folder.mkdir(parents=True)
    for name, content in (files or files_of()).items():
        (folder / name).write_bytes(content)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
