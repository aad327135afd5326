"""One result as a page to look through: three planes, 3D, where to look, a verdict; NiiVue draws, nothing is fetched.

NiiVue (BSD-2-Clause, `web/LICENSE.niivue.txt`) lies beside this file as its npm package holds it; `NIIVUE` says which.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from itertools import cycle
from typing import Any

import numpy as np

from uncol.core.jobs import Structure
from uncol.core.model_folder import DISCLAIMER
from uncol.core.next_slices import NextSlice
from uncol.core.slice_suggestion import next_slice, score_slices
from uncol.core.uncertainty_maps import unsure_from
from uncol.core.volume import ARRAY_AXIS, UNKNOWN_LABEL, SliceView, Volume
from uncol.report.canvas import STRUCTURE_COLORS
from uncol.report.outcome import Outcome, facts, sentences, subtitle, trust
from uncol.report.picture import DATA_BLOCK, VOLUME_BLOCK, Picture, nifti_text
from uncol.report.places import WhereToLook, near_structures, where_to_look

NIIVUE = {
    "package": "@niivue/niivue",
    "version": "0.69.0",
    "file": "dist/niivue.umd.js",
    "sha256": "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af",
}
"""What `web/niivue.umd.js` is."""
SCRIPTS = ("niivue.umd.js", "geometry.js", "planes.js", "viewer.js")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One result as it is looked at; all volumes lie on one grid.

    Attributes:
        title: What it is, in a few words without names of files.
        outcome: Its numbers and words.
        picture: The image.
        labels: What was found.
        uncertainty: In [0, 1].
        view: How slices are counted.
        compared: Other label maps by name.
        reference: Labels that count as right, 255 where nobody knows; None without them.
        slice_dice: Dice of each slice of the file against the reference, None where neither shows anything.
        scores: What to tell of each structure's score, by label value.
        look: Where to look; None looks for it.
    """

    title: str
    outcome: Outcome
    picture: Picture
    labels: Volume
    uncertainty: Volume
    view: SliceView
    compared: Mapping[str, Volume] = field(default_factory=dict)
    reference: Volume | None = None
    slice_dice: Sequence[float | None] | None = None
    scores: Mapping[int, str] = field(default_factory=dict)
    look: WhereToLook | None = None


@dataclass(frozen=True)
class Parts:
    """A viewer inside a page: its style, its body, and its scripts as pairs of hash and text."""

    style: str
    body: str
    scripts: tuple[str, ...]
    blocks: str

    @property
    def policy(self) -> str:
        """The content security policy under which it works: its own scripts alone, and no request but to itself."""
        hashes = " ".join(f"'sha256-{_hash(each)}'" for each in self.scripts)
        return (
            f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'"
        )

    @property
    def html(self) -> str:
        """Body, data and scripts, in the order in which a browser needs them."""
        return self.body + self.blocks + "".join(f"<script>{each}</script>\n" for each in self.scripts)


def viewer_of(scene: Scene, save_to: str = "") -> Parts:
    """Return the viewer of a result.

    Args:
        scene: The result.
        save_to: Address on the page's own server that takes the verdict; "" lets the browser save it.
    """
    frame = scene.picture.frame
    labels = frame.upright(scene.labels.voxels)
    stored = np.round(np.clip(frame.upright(scene.uncertainty.voxels), 0, 1) * 255).astype(np.uint8)
    spacing = np.linalg.norm(frame.matrix[:3, :3], axis=0).tolist()
    near = near_structures(labels, spacing)
    structures = [Structure(each.value, each.name) for each in scene.outcome.findings]
    look = scene.look or where_to_look(scene.labels, scene.uncertainty, structures)
    volumes = {
        "image": scene.picture.text,
        "labels": nifti_text(labels, frame.matrix),
        "uncertainty": nifti_text(stored, frame.matrix, 1 / 255),
        "near": nifti_text(near.astype(np.uint8), frame.matrix),
        "places": nifti_text(frame.upright(look.numbers), frame.matrix),
    }
    others = {f"other-{number}": (name, each) for number, (name, each) in enumerate(scene.compared.items())}
    if scene.reference is not None:
        others = {"reference": ("Reference", _of_structures(scene.reference, structures)), **others}
    volumes |= {name: nifti_text(frame.upright(each.voxels), frame.matrix) for name, (_, each) in others.items()}
    data = {
        "title": scene.title,
        "subtitle": subtitle(scene.outcome),
        "disclaimer": DISCLAIMER,
        "version": scene.outcome.version,
        "structures": _structures(scene),
        "places": _places(scene, look),
        "unsureFrom": unsure_from(max(1, len(structures))),
        "ruler": _ruler(scene),
        "picture": scene.picture.as_document(),
        "compare": [{"id": name, "name": each} for name, (each, _) in others.items()],
        "hasReference": scene.reference is not None,
        "trust": trust(scene.outcome),
        "notes": sentences(scene.outcome.notes),
        "facts": list(facts(scene.outcome).items()),
        "imageSha256": scene.outcome.image_sha256,
        "files": dict(scene.outcome.files),
        "saveTo": save_to,
    }
    blocks = [f'<script type="application/json" id="{DATA_BLOCK}">{_as_json(data)}</script>']
    blocks += [f'<script type="text/plain" id="{VOLUME_BLOCK}{name}">{text}</script>' for name, text in volumes.items()]
    scripts = tuple(web_text(name) for name in SCRIPTS)
    return Parts(web_text("viewer.css"), web_text("viewer.html"), scripts, "\n".join(blocks) + "\n")


def view_page(scene: Scene, save_to: str = "") -> str:
    """Return the viewer alone as the text of one self-contained HTML file."""
    parts = viewer_of(scene, save_to)
    style = f"html, body {{ height: 100%; margin: 0; background: #0c0f13; }}\n{parts.style}"
    return page(scene.title, style, parts.html, parts.policy)


def page(title: str, style: str, body: str, policy: str) -> str:
    """Return a whole HTML file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def web_text(name: str) -> str:
    """Return a text file that lies in `web`."""
    return files("uncol.report").joinpath("web", name).read_text(encoding="utf-8")


def _structures(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "value": each.value,
            "name": each.name,
            "color": color,
            "ml": each.volume_ml,
            "range": each.volume_range_ml,
            "isPromised": each.range_rests_on == "promise",
            "predicted": each.predicted_text,
            "dice": scene.outcome.held_out_dice.get(each.name),
            "scored": scene.scores.get(each.value, ""),
        }
        for each, color in zip(scene.outcome.findings, cycle(STRUCTURE_COLORS), strict=False)
    ]


def _places(scene: Scene, look: WhereToLook) -> list[dict[str, Any]]:
    counted = 2 - ARRAY_AXIS[scene.view.slice_axis]
    return [
        {
            "number": each.number,
            "at": list(scene.picture.frame.page_index(each.ijk)),
            "ml": each.volume_ml,
            "doubt": each.uncertainty,
            "slice": each.ijk[counted],
            "text": each.sentence,
        }
        for each in look.places
    ]


def _ruler(scene: Scene) -> dict[str, Any]:
    frame, axis = scene.picture.frame, scene.view.slice_axis
    page_axis, is_turned = frame.page_axis(axis)
    used = frame.used(axis)
    structures = [Structure(each.value, each.name) for each in scene.outcome.findings]
    scores = score_slices(scene.labels, scene.uncertainty, structures, axis)
    count = scene.labels.shape_kji[ARRAY_AXIS[axis]]
    known = {index for each in scene.outcome.annotated if each.axis == axis for index in each.indices}
    annotated = sorted(known & set(range(count)))  # a report of others may name slices that are not there
    doubt: list[float | None] = [None] * count
    for each in scores:
        doubt[each.index] = round(each.score, 4)
    told = scene.outcome.next_slices
    least_sure = next_slice(scores, annotated) if told is None and annotated else None
    following = told.slices if told is not None and told.axis == axis else ()
    if least_sure is not None:
        following = (NextSlice(least_sure.index, None, least_sure.unsure, least_sure.distance),)
    first = max(scores, key=lambda each: each.score).index if scores else count // 2
    dice = scene.slice_dice
    return {
        "axis": page_axis,
        "flip": is_turned,
        "start": used.start,
        "step": used.step,
        "doubt": doubt,
        "first": first,
        "plane": scene.view.plane.capitalize(),
        "annotated": annotated,
        "next": [{"slice": each.index, "text": each.sentence} for each in following if 0 <= each.index < count],
        "dice": None if dice is None else [None if each is None else round(each, 3) for each in dice],
    }


def _of_structures(labels: Volume, structures: Sequence[Structure]) -> Volume:
    """Return labels in which all but some structures, and what nobody knows, is background."""
    kept = np.zeros(256, dtype=np.uint8)
    for value in (UNKNOWN_LABEL, *(each.value for each in structures)):
        kept[value] = value
    return labels.with_voxels(kept[labels.voxels])


def _as_json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    return b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
