"""Images whose every field, file and folder names somebody who must not be named, and where such names are found."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813  # its own documentation's name
from given import a_larger_ball
from pydicom import Dataset
from written_dicom import clinical, save_slices

from uncol.core.volume import Volume

WORD = "cAnArY"
TAGS = {
    "0010|0010": "NAME", "0010|0020": "PATIENTID", "0010|0030": "19010203", "0008|0050": "ACCESSION",
    "0008|0080": "INSTITUTION", "0008|0090": "PHYSICIAN", "0008|1030": "STUDY", "0010|4000": "COMMENTS",
    "0018|1030": "PROTOCOL", "0008|103e": "SERIES", "0008|1010": "STATION", "0010|1040": "ADDRESS",
}  # fmt: skip
"""DICOM tags with texts about a patient; what stands there is the word below and this."""
UID = "1.2.826.0.1.3680043.8.498.77777"
BIRTH_DATE = "19010203"
FORBIDDEN = (WORD, UID, BIRTH_DATE)


def write_inputs(root: Path) -> Path:
    """Write one image as NIfTI, NRRD, MetaImage and DICOM with a label map, all of them about somebody."""
    folder = root / f"{WORD}-folder"
    folder.mkdir(parents=True)
    case = a_larger_ball((8, 24, 28))
    _write_nifti(folder / f"{WORD}-ct.nii.gz", case.image)
    _write_nifti(folder / f"{WORD}-labels.nii.gz", case.labels)
    image = _itk_image(case.image)
    for field in ("PatientName", "Comment", "content"):
        image.SetMetaData(field, f"{WORD}-{field}")
    for ending in ("nrrd", "mha"):
        sitk.WriteImage(image, str(folder / f"{WORD}-ct.{ending}"))
    _write_dicom(folder / f"{WORD}-dicom", image)
    return folder


def write_cohort(folder: Path) -> Path:
    """Write a cohort whose results may be called as its files: these name nobody, but all that is in them does."""
    folder.mkdir(parents=True)
    case = a_larger_ball((8, 24, 28))
    _write_nifti(folder / "first.nii.gz", case.image)
    _write_dicom(folder / "second", _itk_image(case.image))
    (folder / "second" / f"{WORD}-report.txt").write_text(f"{WORD}, born {BIRTH_DATE}")
    return folder


def write_clinical(folder: Path) -> Path:
    """Write a DICOM series with the headers of a scanner, of which a DICOM result can be made."""

    def about_somebody(_number: int, header: Dataset) -> None:
        clinical(header)
        header.PatientName, header.PatientID = f"{WORD}^NAME", f"{WORD}-ID"

    save_slices(folder, a_larger_ball((8, 24, 28)).image.voxels.astype(float), edit=about_somebody)
    return folder


def write_benchmark(data: Path) -> Path:
    """Write the two volumes of the benchmark `sparse-slices`, small and generated, whose headers name somebody."""
    labels = np.zeros((10, 12, 18), dtype=np.uint8)
    for place, value in enumerate((1, 2, 3, 5, 6, 52)):
        labels[1:9, 3:9, 3 * place : 3 * place + 2] = value
    grid = np.diag([-1.0, -1.0, 2.0, 1.0])
    image = labels * np.float32(10) + np.arange(labels.size, dtype=np.float32).reshape(labels.shape) % 3
    for folder, name, right in (
        ("totalseg_ct", "ts_body3mm", labels),
        ("chaos_ct", "chaos_ct_liver", (labels > 3).astype(np.uint8)),
    ):
        for kind, voxels in (("images", image), ("labels", right)):
            (data / folder / kind).mkdir(parents=True)
            _write_nifti(data / folder / kind / f"{name}.nii.gz", Volume(voxels, grid))
    return data


def places_of(found_in: Path, texts: tuple[bytes, ...] = ()) -> list[str]:
    """Return where a forbidden word stands: in names or contents of files, packed ones too, and in texts."""
    needles = [each.lower().encode(coding) for each in FORBIDDEN for coding in ("utf-8", "utf-16-le", "utf-16-be")]
    pieces = [(f"text {number}", text) for number, text in enumerate(texts)]
    for path in found_in.rglob("*"):
        name = str(path.relative_to(found_in))
        pieces += [(f"name {name}", name.encode())]
        if path.is_file():
            pieces += _contents(name, path)
    return [place for place, content in pieces if any(needle in content.lower() for needle in needles)]


def _contents(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    yield name, path.read_bytes()
    if name.endswith(".gz"):
        yield f"{name} unpacked", gzip.decompress(path.read_bytes())
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            yield from ((f"{name}/{each}", archive.read(each)) for each in archive.namelist())


def _write_nifti(path: Path, volume: Volume) -> None:
    image = nib.Nifti1Image(volume.voxels.transpose(2, 1, 0), volume.ijk_to_ras)
    image.header["descrip"] = f"{WORD}-descrip"
    image.header["db_name"] = f"{WORD}-db"
    image.header["aux_file"] = f"{WORD}-aux"
    image.header["intent_name"] = f"{WORD}-name"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{WORD}-comment".encode()))
    nib.save(image, path)


def _itk_image(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.voxels)
    ijk_to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((ijk_to_lps[:3, :3] / volume.spacing_mm).ravel().tolist())
    image.SetOrigin(ijk_to_lps[:3, 3].tolist())
    return image


def _write_dicom(folder: Path, image: sitk.Image) -> None:
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    cosines = image.GetDirection()
    orientation = [*cosines[0::3], *cosines[1::3]]
    for number in range(image.GetDepth()):
        piece = image[:, :, number]
        told = {tag: f"{WORD}-{word}" for tag, word in TAGS.items()} | {"0010|0030": BIRTH_DATE}
        told |= {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0008|0060": "CT", "0008|0018": f"{UID}.{number + 1}",
            "0020|000d": f"{UID}.8", "0020|000e": f"{UID}.9", "0020|0013": str(number),
            "0020|0032": "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, number)))),
            "0020|0037": "\\".join(f"{each:g}" for each in orientation),
        }  # fmt: skip
        for tag, value in told.items():
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{WORD}-{number}.dcm"))
        writer.Execute(piece)
