"""The same on a real CT: what a brush that leaks, and a structure that is added later, must not teach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scene_parts import addSegmentation, addVolume, paint

from uncol.core.volume import UNKNOWN_LABEL, Volume
from UnCoLSegmentLib.Scene import Bridge
from UnCoLSegmentLib.Scene.AnnotatedSlices import detectAnnotated

pytestmark = pytest.mark.realdata
CASE = "ts_body3mm_sm"
BRUSH_MM = 9.0


@pytest.fixture(scope="module")
def organs(shared_data: Path) -> Callable[[str], np.ndarray]:
    """Return a function that returns where an organ is (K, J, I)."""
    names = json.loads((shared_data / "totalseg_ct/labels.json").read_text())[CASE]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(shared_data / f"totalseg_ct/labels/{CASE}.nii.gz")))
    return lambda name: labels == next(int(value) for value, each in names.items() if each == name)


@pytest.fixture
def volume(scene: Any, organs: Callable[[str], np.ndarray]) -> Any:
    """A volume of that size with its voxels of 3 mm; its gray values play no part."""
    shape = organs("liver").shape
    return addVolume(Volume(np.zeros(shape, dtype=np.int16), np.diag([-3.0, -3.0, 3.0, 1.0])))


def test_a_sphere_brush_that_leaks_teaches_nothing_as_background(volume: Any, organs: Any) -> None:
    """Five slices are painted whole with twelve dabs each of a ball; 1360 liver voxels had been taught as none."""
    liver = organs("liver")
    slices = np.quantile(np.flatnonzero(liver.any(axis=(1, 2))), [0.1, 0.3, 0.5, 0.7, 0.9]).astype(int).tolist()
    axes, random = np.ogrid[tuple(slice(size) for size in liver.shape)], np.random.default_rng(0)
    painted, table = np.zeros(liver.shape, dtype=bool), None
    segmentation = addSegmentation({"liver": painted}, volume)
    for k in slices:  # slice by slice, as a user does
        painted[k] |= liver[k]
        for j, i in random.permutation(np.argwhere(liver[k]))[:12]:
            distances = zip(axes, (k, j, i), strict=True)
            painted |= liver & (sum(((index - center) * 3.0 / BRUSH_MM) ** 2 for index, center in distances) < 1)
        paint(segmentation, "liver", painted, volume)
        table = detectAnnotated(segmentation, None, volume)

    assert table is not None
    assert [row.index for row in table.complete] == slices
    labels = Bridge.labelsFromSegmentation(segmentation, volume, table).labels.volume().voxels
    assert not ((labels == 0) & liver).any()


def test_a_structure_that_is_added_later_is_unknown_where_nobody_asked_about_it(volume: Any, organs: Any) -> None:
    """A liver in six slices, then a spleen in one of them although all show it: 313 voxels had been taught as none."""
    liver, spleen, slices = organs("liver"), organs("spleen"), [2, 7, 12, 17, 22, 27]
    only = np.zeros(liver.shape, dtype=bool)
    only[slices] = True
    segmentation = addSegmentation({"liver": liver & only}, volume)
    detectAnnotated(segmentation, None, volume)
    segmentation.GetSegmentation().AddEmptySegment("spleen", "spleen")
    only[:] = False
    only[22] = True
    paint(segmentation, "spleen", spleen & only, volume)

    found = Bridge.labelsFromSegmentation(segmentation, volume, detectAnnotated(segmentation, None, volume))

    values = {each.name: each.value for each in found.structures}
    assert not ((found.labels.volume().voxels == 0) & spleen).any()
    assert (found.labels.volume().voxels == values["spleen"]).sum() == spleen[22].sum()
    assert (found.labels.volume().voxels == values["liver"]).sum() == (liver & ~spleen)[slices].sum()
    assert (found.labels.volume().voxels[22] != UNKNOWN_LABEL).all()
