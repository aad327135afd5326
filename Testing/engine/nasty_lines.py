"""Lines for a worker that no panel would send, made of those that it does send; a seed always gives the same ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker_child import file_fields, fine_tune_fields

from uncol.core.protocol import PROTOCOL

DEPTHS = (40, *range(960, 1000, 2), 5_000)
NUMBERS = (-1, 0, 255, 2**31, 2**63, -(2**63), 2**64, 10**309, 10**400, -(10**400), 0.5, -0.0, 1e300, 5e-324)
TEXTS = ("", " ", ".", "..", "/", "a" * 255, "a" * 300, "b" * 5_000, "a/" * 3_000, "../" * 40, "a\0b", "\ud800",
         "\udcff", "\U0001f9e0", "K:1", "con", "-", "%s", "{}", "\x1b[2J", "/dev/zero", "/dev/stdin")  # fmt: skip


def requests_of(job: Path) -> list[dict[str, Any]]:
    """Requests that end within milliseconds: each has one thing that cannot be done."""
    box = {"structure": "ball", "lower_ijk": [1, 2, 3], "upper_ijk": [900, 30, 6]}
    image, labels = file_fields("image"), file_fields("labels")
    slices = [{"axis": "K", "indices": [0, 99], "case": None}]
    stack = {"reference": labels, "prediction": labels, "uncertainty": image}
    return [
        {"op": "hello", "protocol": PROTOCOL},
        {"op": "cancel", "target": 1},
        {"op": "segment", "out": str(job), "image": image, "boxes": [box], "device": "cpu"},
        {"op": "segment", "out": job.name, "image": image, "labels": labels, "annotated_slices": slices},
        {"op": "segment", "out": str(job), "image": image, "model": "nobody"},
        {"op": "fine_tune", **fine_tune_fields(job, "x", minutes=1, method="frozen-teacher", student="2d")},
        {"op": "fine_tune", **fine_tune_fields(job, "x", steps=2, annotated_slices=slices, preview_s=5.0)},
        {"op": "fine_tune", **fine_tune_fields(job, "x", steps=2, base="nobody", unlabeled=[image])},
        {"op": "score", "out": str(job), "stacks": [stack], "structures": [{"value": 1, "name": "ball"}]},
        {
            "op": "export_dicom",
            "out": str(job),
            "images": [str(job / "no.dcm")],
            "labels": [labels],
            "uncertainty": image,
            "structures": [{"value": 1, "name": "ball"}],
        },
    ]


def nasty_lines(job: Path, count: int, seed: int) -> Iterator[bytes]:
    """Yield lines without line breaks: of nasty values in the places of requests, and of damaged bytes."""
    chance = random.Random(seed)
    bases = requests_of(job)
    for number in range(count):
        document = json.loads(json.dumps({"id": number, **chance.choice(bases)}))
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
            _spoil(document, chance)
        line = json.dumps(document).encode()
        if chance.random() < 0.3:
            line = _damaged(line, chance)
        for depth in DEPTHS:
            line = line.replace(b'"DEEP%d"' % depth, b"[" * depth + b"]" * depth)
        yield line.replace(b"\n", b" ")


def _spoil(document: Any, chance: random.Random) -> None:
    """Put a nasty value somewhere, or a field too many, or one too few."""
    place = document
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = chance.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.7:
            place = place[key]
            continue
        what = chance.random()
        if what < 0.8:
            place[key] = _nasty_value(chance)
        elif what < 0.9:
            del place[key]
        elif isinstance(place, dict):
            place[chance.choice(TEXTS)] = _nasty_value(chance)
        return


def _nasty_value(chance: random.Random) -> Any:
    simple = (None, True, False, float("nan"), float("inf"), [], {}, *NUMBERS, *TEXTS)
    kind = chance.random()
    if kind < 0.15:
        return f"DEEP{chance.choice(DEPTHS)}"
    if kind < 0.25:
        return [chance.choice(simple) for _ in range(chance.choice((1, 3, 4, 6)))]
    if kind < 0.3:
        return {"file": chance.choice(TEXTS), "ijk_to_ras": [[chance.choice(NUMBERS) for _ in range(4)]] * 4}
    return chance.choice(simple)


def _damaged(line: bytes, chance: random.Random) -> bytes:
    content = bytearray(line)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(content) or 1)
        what = chance.random()
        if what < 0.4 and content:
            content[at] = chance.randrange(256)
        elif what < 0.6:
            del content[at : at + chance.randint(1, 20)]
        elif what < 0.8:
            content[at:at] = chance.choice((b"[", b"{", b'"', b"\\ud800", b"\xff", b"9" * 400, b",", b"\0"))
        else:
            del content[at:]
    return bytes(content)
