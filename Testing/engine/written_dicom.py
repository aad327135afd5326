"""Small DICOM files with every tag in hand: single slices, many frames in one file, segmentations, structure sets.

Values are real numbers; what is stored is (value - intercept) / slope. Positions come from a matrix in LPS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
_OWN_ROOT = "1.2.826.0.1.3680043.8.498.77"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Edit = Callable[[int, Dataset], Any]
"""Changes the header of slice n; False leaves the slice out."""


def grid_lps(
    *,
    spacing: tuple[float, float, float] = (0.8, 0.9, 2.5),
    origin: tuple[float, float, float] = (-12.5, 30.25, 41.75),
    turn: Sequence[float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """Matrix from (I, J, K) to LPS in mm: axial, then turned by degrees about L, P and S; right-handed."""
    rotation = np.eye(3)
    for axis, degrees in enumerate(turn):
        first, second = (each for each in range(3) if each != axis)
        step = np.eye(3)
        step[first, first] = step[second, second] = math.cos(math.radians(degrees))
        step[first, second], step[second, first] = -math.sin(math.radians(degrees)), math.sin(math.radians(degrees))
        rotation = step @ rotation
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * spacing
    matrix[:3, 3] = origin
    return matrix


GRID = grid_lps()


def to_ras(ijk_to_lps: np.ndarray) -> np.ndarray:
    return LPS_TO_RAS @ ijk_to_lps


def values(slices: int = 5, rows: int = 6, columns: int = 8) -> np.ndarray:
    """Hounsfield units (K, J, I), no two alike: -1000 and upwards in steps of 7."""
    return (np.arange(slices * rows * columns).reshape(slices, rows, columns) * 7 - 1000).astype(np.float64)


def text(numbers: Sequence[float] | np.ndarray) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [f"{float(number):.10g}"[:16] for number in numbers]


def header(sop_class: str, instance: str, *, series: str = "1", number: int | None = 4, syntax: str) -> FileDataset:
    """A header with what no image can lack, and a patient whose data must not turn up anywhere."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(f"{_OWN_ROOT}.{series}.{instance}")
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID = UID(f"{_OWN_ROOT}.9")
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    encoding = {"is_implicit_VR": implicit, "is_little_endian": little}
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, **encoding)
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class), meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(f"{_OWN_ROOT}.0"), UID(f"{_OWN_ROOT}.{series}")
    dataset.PatientName, dataset.PatientID = "CANARY^NAME", "CANARY-ID"
    dataset.SeriesDescription, dataset.StudyDescription = "CANARY series", "CANARY study"
    if number is not None:
        dataset.SeriesNumber = number
    dataset.Modality = {CT: "CT", ENHANCED_CT: "CT", MR: "MR", SEGMENTATION: "SEG"}.get(sop_class, "OT")
    return dataset


def clinical(header: Dataset) -> None:
    """What archives have beside what an image needs."""
    header.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.77.5"
    header.StudyDate, header.StudyTime, header.StudyID = "20260203", "101112", "S1"
    header.PatientBirthDate, header.PatientSex, header.AccessionNumber = "19500102", "F", "A1"


def put_pixels(dataset: Dataset, stored: np.ndarray, *, bits_stored: int | None = None) -> None:
    """Add stored values (..., J, I) in their own type."""
    big = dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    bits = stored.dtype.itemsize * 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored = bits, bits_stored or bits
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(stored.dtype.kind == "i")
    data = stored.astype(stored.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"


def save(dataset: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dataset.save_as(str(path), enforce_file_format=True, implicit_vr=implicit, little_endian=little)
    return path


def recompressed(path: Path, syntax: int) -> None:
    """Compress a file in a way that pydicom cannot write."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def _compress(dataset: FileDataset, syntax: str) -> None:
    plugin = "pydicom" if syntax == RLELossless else ""  # GDCM 3.2.6 aborts the process when it encodes some of them
    dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)


def _stored(real: np.ndarray, slope: float, intercept: float, dtype: Any) -> np.ndarray:
    stored: np.ndarray = np.rint((real - intercept) / slope).astype(dtype)
    return stored


def save_slices(
    folder: Path,
    real: np.ndarray | None = None,
    grid: np.ndarray = GRID,
    *,
    sop_class: str = CT,
    series: str = "1",
    number: int | None = 4,
    syntax: str = ExplicitVRLittleEndian,
    slope: float = 1,
    intercept: float = -1024,
    dtype: Any = np.uint16,
    bits_stored: int | None = None,
    names: Sequence[str] | None = None,
    edit: Edit | None = None,
    compress: str | None = None,
) -> Path:
    """A file for each slice along K; their names run against their places."""
    real = values() if real is None else real
    spacing = np.linalg.norm(grid[:3, :3], axis=0)
    axes = grid[:3, :3] / spacing
    for n, image in enumerate(real):
        dataset = header(sop_class, str(n + 1), series=series, number=number, syntax=syntax)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImagePositionPatient = text((grid @ [0, 0, n, 1])[:3])
        dataset.ImageOrientationPatient = text([*axes[:, 0], *axes[:, 1]])
        dataset.PixelSpacing = text(spacing[[1, 0]])
        dataset.SliceThickness = text(spacing[[2]])[0]
        dataset.RescaleSlope, dataset.RescaleIntercept = text([slope, intercept])
        put_pixels(dataset, _stored(image, slope, intercept, dtype), bits_stored=bits_stored)
        if edit is not None and edit(n, dataset) is False:
            continue
        if compress is not None:
            _compress(dataset, compress)
        save(dataset, folder / (names[n] if names else f"{series}-{len(real) - n:03}.dcm"))
    return folder


def group(**tags: Any) -> list[Dataset]:
    """A functional group: a sequence of one item."""
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return [item]


def save_frames(
    path: Path,
    real: np.ndarray | None = None,
    grid: np.ndarray = GRID,
    *,
    order: Sequence[int] | None = None,
    sop_class: str = ENHANCED_CT,
    syntax: str = ExplicitVRLittleEndian,
    rescale: Callable[[int], tuple[float, float]] | None = None,
    dtype: Any = np.uint16,
    bits_stored: int | None = None,
    edit: Edit | None = None,
    edit_shared: Callable[[Dataset], Any] | None = None,
    edit_header: Callable[[FileDataset], Any] | None = None,
    compress: str | None = None,
) -> Path:
    """One file with a frame for each slice along K, stored in an order of its own; rescale is shared or each frame's.

    `edit` gets the number of the slice and its groups.
    """
    real = values() if real is None else real
    spacing = np.linalg.norm(grid[:3, :3], axis=0)
    axes = grid[:3, :3] / spacing
    dataset = header(sop_class, "1", syntax=syntax)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared = Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=text(spacing[[1, 0]]), SliceThickness=text(spacing[[2]])[0])
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=text([*axes[:, 0], *axes[:, 1]]))
    if rescale is None:
        shared.PixelValueTransformationSequence = group(RescaleSlope="1", RescaleIntercept="-1024")
    items, stored = [], []
    for n in range(len(real)) if order is None else order:
        item = Dataset()
        item.FrameContentSequence = group(InStackPositionNumber=n + 1, TemporalPositionIndex=1)
        item.PlanePositionSequence = group(ImagePositionPatient=text((grid @ [0, 0, n, 1])[:3]))
        slope, intercept = (1, -1024) if rescale is None else rescale(n)
        if rescale is not None:
            slope_text, intercept_text = text([slope, intercept])
            item.PixelValueTransformationSequence = group(RescaleSlope=slope_text, RescaleIntercept=intercept_text)
        if edit is not None:
            edit(n, item)
        items.append(item)
        stored.append(_stored(real[n], slope, intercept, dtype))
    if edit_shared is not None:
        edit_shared(shared)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], items
    dataset.NumberOfFrames = len(items)
    put_pixels(dataset, np.stack(stored), bits_stored=bits_stored)
    if edit_header is not None:
        edit_header(dataset)
    if compress is not None:
        _compress(dataset, compress)
    return save(dataset, path)


def save_segmentation(path: Path, *, sop_class: str = SEGMENTATION, series: str = "8") -> Path:
    """A segmentation of one structure, as binary frames."""
    dataset = header(sop_class, "1", series=series, syntax=ExplicitVRLittleEndian)
    dataset.SegmentSequence = group(SegmentNumber=1, SegmentLabel="CANARY organ")
    dataset.NumberOfFrames = 2
    put_pixels(dataset, np.ones((2, 6, 8), np.uint8))
    return save(dataset, path)


def save_structures(path: Path, *, series: str = "1") -> Path:
    """A structure set: contours, no pixels."""
    dataset = header(STRUCTURES, "90", series=series, syntax=ExplicitVRLittleEndian)
    dataset.StructureSetROISequence = group(ROINumber=1, ROIName="CANARY organ")
    return save(dataset, path)


def save_scout(folder: Path, *, image_type: str = "LOCALIZER", series: str = "1") -> Path:
    """A sagittal image of the same series, far away, with pixels and matrix of its own."""
    dataset = header(CT, "77", series=series, syntax=ExplicitVRLittleEndian)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", image_type]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = (
        ["0", "-150", "300"],
        ["0", "1", "0", "0", "0", "-1"],
    )
    dataset.PixelSpacing, dataset.SliceThickness = ["0.6", "0.6"], "1"
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    put_pixels(dataset, np.full((7, 9), 1100, np.uint16))
    return save(dataset, folder / "scout.dcm")
