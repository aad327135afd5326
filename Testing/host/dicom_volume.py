"""Volumes from DICOM files as the application loads them, and a stand-in for its database of DICOM files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import recorded
import slicer
import vtk
from pydicom import dcmread

from uncol.core.volume import Volume

if str(Path(__file__).resolve().parents[1] / "engine") not in sys.path:
    sys.path.append(str(Path(__file__).resolve().parents[1] / "engine"))

from written_dicom import clinical, save_slices, to_ras  # only now it can be found


class DicomDatabase:
    """Stand-in for `slicer.dicomDatabase`, a ctkDICOMDatabase: it says where an image is, and has nothing else.

    Args:
        files: Where each image is, by its SOP instance UID.
    """

    def __init__(self, files: dict[str, Path]) -> None:
        members = recorded.membersOf("ctkDICOMDatabase")
        assert "isOpen" in members.readOnly
        assert "fileForInstance" in members.methods
        self.files, self._isOpen = files, True

    @property
    def isOpen(self) -> bool:
        return self._isOpen

    def closeDatabase(self) -> None:
        self._isOpen = False

    def fileForInstance(self, sopInstanceUID: str) -> str:
        """Return the absolute path of an image, "" if it is unknown or nothing is open, as a failed query gives."""
        if not isinstance(sopInstanceUID, str):
            message = "fileForInstance takes a QString."
            raise TypeError(message)
        return str(self.files.get(sopInstanceUID, "")) if self._isOpen else ""


def saveDicom(folder: Path, volume: Volume) -> Path:
    """Save whole numbers as a clinical series, a file for each slice; names run against places."""
    return save_slices(folder, volume.voxels, to_ras(volume.ijk_to_ras), edit=lambda _number, header: clinical(header))


def loadDicom(folder: Path, name: str = "CT") -> Any:
    """Load a series by Slicer's own reader and note its images on the node, as Slicer's DICOMScalarVolumePlugin does.

    Files are sorted by their places; a left-handed volume is turned upside down.
    """
    headers = {path: dcmread(path, stop_before_pixels=True) for path in folder.iterdir()}
    directions = np.reshape(next(iter(headers.values())).ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(*directions)
    paths = sorted(headers, key=lambda each: np.array(headers[each].ImagePositionPatient, float) @ normal)
    files = vtk.vtkStringArray()
    for path in paths:
        files.InsertNextValue(str(path))
    node = slicer.modules.volumes.logic().AddArchetypeScalarVolume(str(paths[0]), name, 0, files)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    if not slicer.vtkMRMLVolumeNode.IsIJKCoordinateSystemRightHanded(matrix):
        slicer.vtkMRMLVolumeNode.ReverseSliceOrder(node.GetImageData(), matrix)
        node.SetIJKToRASMatrix(matrix)
        paths.reverse()
    node.SetAttribute("DICOM.instanceUIDs", " ".join(headers[path].SOPInstanceUID for path in paths))
    slicer.dicomDatabase = DicomDatabase({headers[path].SOPInstanceUID: path for path in paths})
    return node
