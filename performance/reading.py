"""How long a volume of 512 x 512 x 300 takes to read, and how much memory: two checkouts side by side, in turn.

    python performance/reading.py OLD_CHECKOUT [NEW_CHECKOUT] [--out FILE.json]

Both run with this Python, each reading in a process of its own, whose memory before the reading does not count.
NEW_CHECKOUT is this one if left out. The volume is noise round shapes as a CT has them: DICOM slices, NIfTI plain,
compressed and scaled, NRRD and MetaImage compressed. It lies on the disk's cache, as after a copy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SHAPE_KJI, SPACING_MM = (300, 512, 512), (0.7, 0.7, 1.5)
RUNS = 3
_READ = """
import json, re, sys, time
from pathlib import Path
from uncol.data.io import read_image
read_image(Path(sys.argv[2]))  # imports, in a small volume
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before, began = peak(), time.perf_counter()
voxels = read_image(Path(sys.argv[1])).voxels
seconds = time.perf_counter() - began
print(json.dumps({"s": seconds, "peak": (peak() - before) / voxels.nbytes, "type": str(voxels.dtype)}))
"""


def ct(shape_kji: tuple[int, int, int]) -> np.ndarray:
    """Make a CT: a body with an organ in air, with noise, int16."""
    k, j, i = np.ogrid[tuple(slice(-1, 1, size * 1j) for size in shape_kji)]
    body = np.broadcast_to((j / 0.7) ** 2 + (i / 0.9) ** 2 < 1, shape_kji)
    voxels = np.where((k / 0.3) ** 2 + (j / 0.4) ** 2 + (i / 0.4) ** 2 < 1, 120, np.where(body, 20, -1000))
    noise = np.random.default_rng(0).integers(-20, 20, shape_kji, dtype=np.int16)
    return voxels.astype(np.int16) + noise


def save_series(folder: Path, voxels: np.ndarray) -> Path:
    """Write one DICOM file for each slice."""
    folder.mkdir()
    for number, values in enumerate(voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        ds = Dataset()
        ds.file_meta, ds.SOPClassUID, ds.SOPInstanceUID = meta, CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.4"
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 1, number + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, number * SPACING_MM[2]], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [SPACING_MM[1], SPACING_MM[0]], SPACING_MM[2]
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *values.shape, 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = (values + 1024).clip(0).astype("<u2").tobytes()
        pydicom.dcmwrite(folder / f"{number:04}.dcm", ds, enforce_file_format=True)
    return folder


def save_all(folder: Path, shape_kji: tuple[int, int, int]) -> dict[str, Path]:
    """Write the same volume in every format."""
    voxels, affine = ct(shape_kji), np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    paths = {"DICOM series": save_series(folder / "series", voxels)}
    image = nibabel.Nifti1Image(voxels.T, affine)
    for name in ("image.nii", "image.nii.gz"):
        image.to_filename(folder / name)
        paths["NIfTI" + " compressed" * name.endswith(".gz")] = folder / name
    scaled = nibabel.Nifti1Image(voxels.T.astype(np.float32) * 0.3, affine)
    scaled.header.set_data_dtype(np.int16)
    scaled.to_filename(folder / "scaled.nii.gz")
    paths["NIfTI compressed, scaled"] = folder / "scaled.nii.gz"
    written = sitk.GetImageFromArray(voxels)
    written.SetSpacing(SPACING_MM)
    for kind, name in (("NRRD compressed", "image.nrrd"), ("MetaImage compressed", "image.mha")):
        sitk.WriteImage(written, str(folder / name), useCompression=True)
        paths[kind] = folder / name
    return paths


def read(checkout: Path, path: Path, small: Path) -> dict[str, Any]:
    """Read a file in a fresh process of a checkout; return seconds and memory in parts of what it returns."""
    command = [sys.executable, "-c", _READ, str(path), str(small)]
    environment = {"PYTHONPATH": str(checkout / "UnCoLSegment"), "PATH": "", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?", default=Path(__file__).resolve().parents[1])
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    chosen = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large", Path(folder) / "small"
        large.mkdir()
        small.mkdir()
        little = save_all(small, (4, 16, 16))
        for name, path in save_all(large, SHAPE_KJI).items():
            runs: dict[str, list[dict[str, Any]]] = {"old": [], "new": []}
            for _run in range(RUNS):
                for which, each in runs.items():
                    each.append(read(getattr(chosen, which), path, little[name]))
            seconds = {which: median(run["s"] for run in each) for which, each in runs.items()}
            results[name] = {
                "old_s": round(seconds["old"], 2),
                "new_s": round(seconds["new"], 2),
                "ratio": round(seconds["new"] / seconds["old"], 2),
                "old_memory": round(runs["old"][0]["peak"], 2),
                "new_memory": round(runs["new"][0]["peak"], 2),
                "type": runs["new"][0]["type"],
            }
            print(name, results[name], flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
