"""The host is a real one: files keep voxels and geometry, and left-handed files come in as Slicer brings them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer.util
from host import Host
from scene_parts import addSegmentation, addVolume, maskOf, worldOf

from uncol.core.volume import Volume
from uncol.data.io import write_results


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz"])
def test_a_volume_file_keeps_voxels_and_places(host: Host, nasty_volume: Volume, tmp_path: Path, suffix: str) -> None:
    saved = addVolume(nasty_volume)

    assert slicer.util.saveNode(saved, str(tmp_path / f"ct.{suffix}"))
    read = slicer.util.loadVolume(str(tmp_path / f"ct.{suffix}"))

    assert valuesByPlace(read) == valuesByPlace(saved)


def test_slicer_reverses_the_slices_of_a_left_handed_file(host: Host, make_volume, tmp_path: Path) -> None:
    volume = make_volume(geometry="left-handed")
    write_results(tmp_path, {"ct.nrrd": volume}, {})

    node = slicer.util.loadVolume(str(tmp_path / "ct.nrrd"))

    assert np.array_equal(slicer.util.arrayFromVolume(node), volume.voxels[::-1])


def test_a_scene_file_brings_nodes_and_their_references_back(host: Host, make_volume, tmp_path: Path) -> None:
    volume = addVolume(make_volume(geometry="oblique"))
    mask = np.zeros((2, 3, 4), dtype=bool)
    mask[1, 0, 2] = True
    addSegmentation({"spleen": mask}, volume)

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    host.scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))

    segmentation = slicer.util.getNode("Segmentation")
    assert np.array_equal(maskOf(segmentation, "spleen", slicer.util.getNode("CT")), mask)


def test_errors_of_mrml_are_noticed() -> None:
    with Host() as host:
        host.scene.AddNewNodeByClass("vtkMRMLNoSuchNode")

        assert any("vtkMRMLNoSuchNode" in error for error in host.errors)


def valuesByPlace(node) -> dict[tuple[float, ...], float]:
    voxels = slicer.util.arrayFromVolume(node)
    ijk = np.argwhere(np.ones(voxels.shape))[:, ::-1]
    places = np.round(worldOf(node, ijk), 3) + 0.0
    return dict(zip(map(tuple, places), voxels.ravel().tolist(), strict=True))
