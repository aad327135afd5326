"""What the user chose in the panel, typed, saved with the scene and tied to the widgets of the same name."""

import enum
from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


class SegmentFrom(enum.Enum):
    """What a segmentation starts from."""

    BOX = "box"
    SLICES = "slices"
    MODEL = "model"


class Overlay(enum.Enum):
    """How the uncertainty lies over the volume; each is followed by the next one."""

    REGIONS = "regions"
    """Numbered outlines of the places to look at."""
    HEAT = "heat"
    """The map itself."""
    OFF = "off"


class Device(enum.Enum):
    """What the engine computes on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        """Return the text of the entry in the panel."""
        return {
            Device.AUTO: _("Automatic"),
            Device.CPU: _("Processor (CPU)"),
            Device.CUDA: _("NVIDIA graphics card"),
            Device.MPS: _("Apple graphics"),
        }[self]


class Plane(enum.Enum):
    """The plane in which the user annotates."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    def label(self) -> str:
        """Return the text of the entry in the panel."""
        return {Plane.AXIAL: _("Axial"), Plane.CORONAL: _("Coronal"), Plane.SAGITTAL: _("Sagittal")}[self]


@parameterNodeWrapper
class ParameterNode:
    """Everything the panel remembers; each attribute is one parameter of the module's node in the scene.

    Attributes:
        inputVolume: The image to segment.
        segmentation: The user's own segmentation; the engine never writes to it.
        proposal: What the engine proposes.
        uncertaintyVolume: The map that is shown over the volume.
        roi: The box around the structure.
        segmentFrom: What a segmentation starts from.
        modelName: Name of the chosen model in the store; "" for none.
        device: What the engine computes on.
        minutes: Time for a fine-tune, in minutes.
        plane: Plane in which slices are annotated and suggested.
        rounds: Those of a scene of version 0.1, as text, until they are moved to their volumes (see `RoundStore`).
        overlay: How the uncertainty lies over the volume.
        previewsShown: Whether a run shows what is found so far.
        legendShown: Whether the slice views explain the map's colors.
        uncertaintyOpacity: Opacity of the map, in [0, 1].
        uncertaintyThreshold: Smallest uncertainty that is shown, in [0, 1].
    """

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    proposal: vtkMRMLSegmentationNode
    uncertaintyVolume: vtkMRMLScalarVolumeNode
    roi: vtkMRMLMarkupsROINode
    segmentFrom: SegmentFrom = SegmentFrom.BOX
    modelName: str = ""
    device: Device = Device.AUTO
    minutes: Annotated[float, WithinRange(0.5, 60)] = 5.0
    plane: Plane = Plane.AXIAL
    rounds: str = ""
    overlay: Overlay = Overlay.REGIONS
    previewsShown: bool = True
    legendShown: bool = True
    uncertaintyOpacity: Annotated[float, WithinRange(0, 1)] = 0.5
    uncertaintyThreshold: Annotated[float, WithinRange(0, 1)] = 0.5
