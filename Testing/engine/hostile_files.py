"""Files that nobody should have to trust: cards, folders, zips and configurations, each wrong in one way."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_models import files_of

DEEP = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
DEEP_LIST = b"[" * 100_000 + b"]" * 100_000
LONG = 10**400

NUMBERS = {"zero": 0, "negative": -1, "nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "tiny": 1e-9,
           "huge": 1e9, "400 digits": LONG, "text": "1", "null": None, "list": [], "true": True}  # fmt: skip
STUDENTS: list[Any] = [
    {"channels": [10**9] * 5}, {"channels": [10**5] * 5}, {"channels": [0] * 5}, {"channels": [2] * 4}, {"channels": 2},
    {"dims": 4}, {"dims": "2"}, {"kind": "mamba"}, {"kind": None}, {"dropout": 1}, {"dropout": float("nan")}, [], 3,
]  # fmt: skip
DATA: list[Any] = [
    {"neighbor_count": 10**9 + 1}, {"neighbor_count": 2}, {"neighbor_count": -1}, {"max_side_vox": 10**9},
    {"patch_vox": [16, 16, 16]}, {"patch_vox": [16 * 10**6] * 3}, {"patch_vox": [32]}, {"voxel_mm": 0},
    {"voxel_mm": float("nan")}, {"window": [1, 1]}, {"window": [float("-inf"), 0]}, {"rotation_deg": float("inf")},
]  # fmt: skip
OTHERS: list[Any] = [
    {"seed": -1}, {"seed": 2**63}, {"seed": 1.5}, {"seed": LONG}, {"method": "magic"}, {"method": None},
    {"ablations": ["x"]}, {"ablations": "x"}, {"unknown": 1}, {"optimizer": {"gradient_clip": -1}},
    {"optimizer": {"gradient_clip": 0}}, {"optimizer": {"batch_size": 10**9}}, {"optimizer": {"batch_size": 0}},
    {"optimizer": {"weight_decay": float("nan")}}, {"optimizer": {"weight_decay": -1}},
    {"optimizer": {"learning_rate": float("inf")}}, {"optimizer": {"poly_power": -1}},
    {"optimizer": {"poly_power": LONG}},
    {"budget": {"minutes": float("inf")}}, {"budget": {"minutes": float("nan")}}, {"budget": {"steps": LONG}},
    {"budget": {"checkpoint_s": -1}}, {"budget": {"checkpoint_s": float("nan")}}, {"teachers": {"ema_decay": 1}},
    {"teachers": {"box_margin_vox": -1}}, {"teachers": {"box_margin_vox": 1e300}},
    {"teachers": {"prompt_rounds": 10**9}},
    {"losses": {"class_weight_cap": float("inf")}}, {"losses": {"pseudo_label_weight": float("nan")}},
    {"losses": {"copy_paste_side": LONG}}, {"losses": {"consistency_weight": 1e300}},
]  # fmt: skip
CONFIGURATIONS: dict[str, bytes] = {
    **{f"student {each}"[:60]: json.dumps({"student": each}).encode() for each in STUDENTS},
    **{f"data {each}"[:60]: json.dumps({"data": each}).encode() for each in DATA},
    **{f"{each}"[:60]: json.dumps(each).encode() for each in OTHERS},
    "deep": DEEP,
    "deep list": DEEP_LIST,
    "5000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "no utf-8": b'{"method": "\xff"}',
    "half a character": b'{"method": "\\ud800"}',
    "empty": b"",
    "too large": b" " * (2 << 20) + b"{}",
}
"""The content of a configuration that is refused, by what is wrong with it."""

_WINDOWS: list[Any] = [
    [1, 1], [2, 1], [float("nan"), 1], [0, float("nan")], [float("-inf"), float("inf")], [0], [0, 1, 2], None, "01",
    [0, 1e300], [0, 1e-320], [0, LONG],
]  # fmt: skip
_STRUCTURES: list[Any] = [
    [], {}, None, "liver", [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}], [{"value": 0, "name": "a"}],
    [{"value": 255, "name": "a"}], [{"value": float("inf"), "name": "a"}], [{"value": "1", "name": "a"}],
    [{"value": True, "name": "a"}], [{"value": 1, "name": ["a"]}], [{"value": 1, "name": ""}], [{"value": 1}],
    [{"value": 1, "name": "a" * 2000}], [{"value": LONG, "name": "a"}], [[1, "a"]],
    [{"value": each, "name": "a"} for each in range(-5, 300)],
]  # fmt: skip
CARDS: dict[str, dict[str, Any]] = {
    **{f"pixel_mm {name}": {"pixel_mm": number} for name, number in NUMBERS.items()},
    **{f"slice_mm {name}": {"slice_mm": number} for name, number in NUMBERS.items()},
    **{f"plane {each}": {"plane": each} for each in ("foo", "", None, [], 3, "AXIAL")},
    **{f"window {str(each)[:40]}": {"window": each} for each in _WINDOWS},
    **{f"structures {str(each)[:60]}": {"structures": each} for each in _STRUCTURES},
    **{f"is_connected {str(each)[:40]}": {"is_connected": each}
       for each in ([True], [True] * 1000, "yes", [1, 0], None)},
    **{f"config {str(each)[:60]}": {"config": each} for each in ([], None, "x", *OTHERS)},
    **{f"config.student {str(each)[:60]}": {"config": {"student": each}} for each in STUDENTS},
    **{f"config.data {str(each)[:60]}": {"config": {"data": each}} for each in DATA},
    **{f"training {str(each)[:40]}": {"training": each} for each in (
        [], None, 3, {"steps": "x"}, {"steps": float("nan")}, {"curve": 5}, {"notes": {}}, {"held_out_dice": []},
        {"held_out_dice": {"x": "y"}}, {"held_out_dice": {"x": None}}, {"held_out_dice": None},
        {"held_out_dice": {"x": 2}}, {"seconds": "abc"}, {"seconds": None}, {"seconds": 1e308}, {"seconds": -1},
        {"annotated_slices": 5}, {"annotated_slices": ["x"]}, {"annotated_slices": [-1]}, {"slices": {}},
        {"slices": {"a": 1}}, {"notes": [1]}, {"notes": [{}]}, {"steps": -5}, {"versions": 3}, {"curve": [1]},
        {"generalized_teacher": {"a": 1}}, {"method": []}, {"device": 5}, {"verdict": 1},
        {"steps": True}, {"a": LONG})},
    **{f"format {each!r}": {"format": each} for each in (True, 2, "1", None, [], LONG)},
}  # fmt: skip
"""Changes of a good card after which it is refused, by what is wrong."""
TEXTS: dict[str, bytes] = {
    "nothing": b"", "list": b"[]", "number": b"1", "null": b"null", "zero bytes": b"\0" * 100, "deep": DEEP,
    "deep list": DEEP_LIST, "5000 digits": b'{"format": ' + b"1" * 5000 + b"}", "NaN": b"NaN",
    "no utf-8": b'{"format": 1, "plane": "\xff"}', "utf-16": json.dumps({"format": 1}).encode("utf-16"),
    "half a character": b'{"format": 1, "plane": "\\udc00"}', "cut off": b'{"format": 1',
    "large": b" " * (2 << 20) + b"{}",
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00",
}  # fmt: skip
"""Contents of `model.json` that are refused."""


def safetensors_of(tensors: dict[str, tuple[str, list[int], bytes]], **lies: Any) -> bytes:
    """A safetensors file of types, shapes and bytes; `lies` change what its header says of every tensor."""
    header: dict[str, Any] = {}
    start = 0
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, start + len(content)], **lies}
        start += len(content)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(content for _, _, content in tensors.values())


_ONE = {"a": ("F32", [1], struct.pack("<f", 1.0))}
WEIGHTS: dict[str, bytes] = {
    "nothing": b"", "pickle": b"\x80\x04\x95pickle", "length alone": (10**6).to_bytes(8, "little"),
    "length of 2^63": (2**63).to_bytes(8, "little") + b"{}", "no object": (2).to_bytes(8, "little") + b"[]",
    "deep header": len(DEEP).to_bytes(8, "little") + DEEP, "cut off": safetensors_of(_ONE)[:-1],
    "one byte more": safetensors_of(_ONE) + b"\0", "unknown type": safetensors_of(_ONE, dtype="PICKLE"),
    "type as list": safetensors_of(_ONE, dtype=["F32"]), "negative shape": safetensors_of(_ONE, shape=[-1]),
    "shape of 10^30": safetensors_of(_ONE, shape=[10**15, 10**15]), "shape as text": safetensors_of(_ONE, shape="1"),
    "offsets beyond": safetensors_of(_ONE, data_offsets=[0, 10**12]),
    "offsets reversed": safetensors_of(_ONE, data_offsets=[4, 0]),
    "offsets elsewhere": safetensors_of(_ONE, data_offsets=[-4, 0]),
    "a field more": safetensors_of(_ONE, code="print()"),
    "nan": safetensors_of({"a": ("F32", [1], struct.pack("<f", float("nan")))}),
    "inf": safetensors_of({"a": ("F32", [2], struct.pack("<ff", 1, float("inf")))}),
    "half inf": safetensors_of({"a": ("F16", [1], struct.pack("<e", float("inf")))}),
    "double nan": safetensors_of({"a": ("F64", [1], struct.pack("<d", float("nan")))}),
    "bfloat nan": safetensors_of({"a": ("BF16", [1], b"\xc0\x7f")}),
}  # fmt: skip
"""Weights that are refused without torch."""


def link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


STRANGE_FILES: dict[str, Callable[[Path], None]] = {
    "device": link_to_zero,
    "pipe": pipe,
    "folder": Path.mkdir,
    "loop": loop,
    "secret": lambda path: path.symlink_to("/etc/passwd"),
}
"""What may lie where a file of a model should, by name."""


def zip_with(path: Path, entries: dict[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content, how)
    return path


def model_zip(path: Path, card: Any = None, how: int = zipfile.ZIP_DEFLATED, **files: bytes) -> Path:
    """The zip of a small model called `good`, with another card, other files, or packed in another way."""
    content = {**(files_of() if card is None else files_of(card)), **files}
    return zip_with(path, {f"good/{name}": each for name, each in content.items()}, how)
