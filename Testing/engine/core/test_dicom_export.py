"""What an export to DICOM is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uncol.core.dicom_export import ExportedStructure, ExportJob, origin_in
from uncol.core.errors import ConfigError
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile


@pytest.fixture
def volume(tmp_path: Path) -> VolumeFile:
    return VolumeFile.write(tmp_path / "a.npy", Volume(np.zeros((1, 2, 3), np.uint8), np.eye(4)))


def test_there_must_be_images_labels_and_structures_of_different_values(volume: VolumeFile) -> None:
    liver = ExportedStructure(1, "liver")
    images = (Path("1.dcm"),)

    for files, labels, structures in (((), (volume,), (liver,)), (images, (), (liver,)), (images, (volume,), ())):
        with pytest.raises(ConfigError, match="nothing to export"):
            ExportJob(Path("a"), files, labels, volume, structures)
    with pytest.raises(ConfigError, match="same label value"):
        ExportJob(Path("a"), images, (volume,), volume, (liver, ExportedStructure(1, "spleen")))


def test_a_color_is_three_bytes() -> None:
    with pytest.raises(ConfigError, match=r"has the color \(0, 256, 0\); use 0 to 255"):
        ExportedStructure(1, "liver", (0, 256, 0))


def test_the_origin_in_a_report_is_what_dicom_repeats() -> None:
    model = {"uncol": "0.1", "model": "organs", "model_sha256": "0123", "versions": {"torch": "2"}}
    training = {"held_out_dice": {"liver": 0.9}, "curve": [1, 2], "notes": ["a"]}

    assert origin_in({**model, "training": training, "image": {}, "notes": []}) == {
        **model,
        "training": {"held_out_dice": {"liver": 0.9}},
    }
    assert origin_in({"foundation_model": None, "seconds": 3}) == {"foundation_model": None}
