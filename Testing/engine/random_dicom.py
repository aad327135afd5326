"""Random DICOM scans, whole or with one fault, and what must come of reading them, computed without the reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import RLELossless
from written_dicom import grid_lps, group, save_frames, save_scout, save_slices, text, to_ras

from uncol.core.volume import Volume

Fault = Literal[
    "none", "no tag", "odd spacing", "odd orientation", "cut", "empty", "copy", "scout", "phase", "gap", "tilt"
]
_HARMLESS = ("none", "copy", "scout")
_OF_ONE_SLICE = ("no tag", "odd spacing", "odd orientation", "cut", "empty")
_GROUP_OF = {
    "PixelSpacing": "PixelMeasuresSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
}


@dataclass(frozen=True)
class Scan:
    """A stack of random numbers, how it lies, how it is stored, and what is wrong with it at slice `where`.

    Attributes:
        form: A folder of slices, a folder with one file of frames, or that file.
        stored: Array (K, J, I).
        grid: Matrix to LPS, right-handed; `is_downwards` turns its third axis.
    """

    form: Literal["slices", "frames", "file"]
    stored: np.ndarray
    bits_stored: int
    slopes: tuple[float, ...]
    intercept: float
    grid: np.ndarray
    is_downwards: bool
    order: tuple[int, ...]
    is_compressed: bool
    fault: Fault
    where: int
    tag: str
    has_consent: bool

    def expected(self) -> Volume | None:
        """What must be read; None where it must be refused."""
        kept = [*range(len(self.stored))]
        is_end = self.where in (0, kept[-1])
        if self.fault not in _HARMLESS:
            may_miss = self.fault in _OF_ONE_SLICE and self.has_consent and self.form == "slices"
            if not (is_end and (self.fault == "gap" or may_miss)):
                return None
            kept.remove(self.where)
        upwards = kept[::-1] if self.is_downwards else kept
        matrix = self.grid.copy()
        matrix[:3, 3] = self._place(upwards[0])
        return Volume(self._real()[upwards], to_ras(matrix))

    def write(self, folder: Path) -> Path:
        """Write it; returns what is to be read."""
        if self.form == "slices":
            names = [f"{number:03}.dcm" for number in self.order]
            numbers = {"slope": 1, "intercept": 0, "dtype": self.stored.dtype, "bits_stored": self.bits_stored}
            save_slices(
                folder, self.stored, self.grid, **numbers, names=names, edit=self._edit_slice, compress=self._syntax
            )
            self._damage(folder / names[self.where])
            return folder
        path = save_frames(
            folder / "frames.dcm",
            self._real(),
            self.grid,
            order=[n for n in self.order if not self._is_missing(n)],
            rescale=lambda n: (self._slope(n), self.intercept),
            dtype=self.stored.dtype,
            bits_stored=self.bits_stored,
            edit=self._edit_frame,
            edit_header=self._edit_header,
            compress=self._syntax,
        )
        self._damage(path)
        return path if self.form == "file" else folder

    def _slope(self, n: int) -> float:
        return self.slopes[n % len(self.slopes)]

    def _real(self) -> np.ndarray:
        slopes = np.array([self._slope(n) for n in range(len(self.stored))])
        return self.stored * slopes[:, None, None] + self.intercept

    @property
    def _syntax(self) -> str | None:
        return RLELossless if self.is_compressed and self.fault != "no tag" else None

    def _is_missing(self, n: int) -> bool:
        return self.fault == "gap" and n == self.where

    def _place(self, n: int) -> np.ndarray:
        height = -n if self.is_downwards else n
        if n == self.where and self.fault == "phase":
            height += 1 if n else -1
        aside = 0.5 * n * np.linalg.norm(self.grid[:3, 2]) * self._axes[:, 1] if self.fault == "tilt" else 0
        place: np.ndarray = (self.grid @ [0, 0, height, 1])[:3] + aside
        return place

    @property
    def _axes(self) -> np.ndarray:
        axes: np.ndarray = self.grid[:3, :3] / np.linalg.norm(self.grid[:3, :3], axis=0)
        return axes

    def _odd_tags(self, n: int) -> dict[str, list[str]]:
        if n != self.where:
            return {}
        return {
            "odd spacing": {"PixelSpacing": ["7.5", "7.5"]},
            "odd orientation": {"ImageOrientationPatient": text([*self._axes[:, 1], *self._axes[:, 2]])},
        }.get(self.fault, {})

    def _edit_slice(self, n: int, dataset: Dataset) -> bool:
        dataset.RescaleSlope, dataset.RescaleIntercept = text([self._slope(n), self.intercept])
        dataset.ImagePositionPatient = text(self._place(n))
        for keyword, value in self._odd_tags(n).items():
            setattr(dataset, keyword, value)
        if n == self.where and self.fault == "no tag":
            delattr(dataset, self.tag)
        return not self._is_missing(n)

    def _edit_frame(self, n: int, item: Dataset) -> None:
        item.PlanePositionSequence = group(ImagePositionPatient=text(self._place(n)))
        for keyword, value in self._odd_tags(n).items():
            setattr(item, _GROUP_OF[keyword], group(**{keyword: value}))

    def _edit_header(self, dataset: Dataset) -> None:
        if self.fault != "no tag":
            return
        if self.tag not in _GROUP_OF:
            delattr(dataset, self.tag)
            return
        for each in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
            if _GROUP_OF[self.tag] in each:
                delattr(each, _GROUP_OF[self.tag])

    def _damage(self, path: Path) -> None:
        if self.fault == "cut":
            path.write_bytes(path.read_bytes()[:-2])
        elif self.fault == "empty":
            path.write_bytes(b"")
        elif self.fault == "copy" and self.form == "slices":
            (path.parent / "copy.dcm").write_bytes(path.read_bytes())
        elif self.fault == "scout":
            save_scout(path.parent)


@st.composite
def _scans(draw: st.DrawFn) -> Scan:
    shape = draw(st.tuples(st.integers(4, 6), st.integers(2, 7), st.integers(2, 7)))
    dtype, bits = draw(
        st.sampled_from([(np.uint8, 8), (np.uint16, 12), (np.uint16, 16), (np.int16, 12), (np.int16, 16)])
    )
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    fields: dict[str, Any] = {
        "fault": draw(st.sampled_from(Fault.__args__)),  # type: ignore[attr-defined]
        "tag": draw(st.sampled_from([*_GROUP_OF, "Rows", "PixelRepresentation"])),
        "slopes": draw(st.lists(st.sampled_from([1.0, 2.0, 0.5, -1.0, 0.37]), min_size=1, max_size=3).map(tuple)),
        "intercept": draw(st.sampled_from([0.0, -1024.0, 0.25, 40000.0])),
    }
    return Scan(
        form=draw(st.sampled_from(["slices", "frames", "file"])),
        stored=random.integers(low, low + 2**bits, shape).astype(dtype),
        bits_stored=bits,
        grid=grid_lps(
            spacing=draw(st.tuples(*[st.floats(0.2, 6)] * 3)),
            origin=draw(st.tuples(*[st.floats(-800, 800)] * 3)),
            turn=draw(st.tuples(*[st.floats(-180, 180)] * 3)),
        ),
        is_downwards=draw(st.booleans()),
        order=tuple(draw(st.permutations(range(shape[0])))),
        is_compressed=draw(st.booleans()),
        where=draw(st.integers(0, shape[0] - 1)),
        has_consent=draw(st.booleans()),
        **fields,
    )


SCANS = _scans()
