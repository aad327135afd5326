"""The panel's parameters as plain attributes: the logic reads and writes them and knows nothing of their wrapper."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class SegmentFrom(Enum):
    BOX = "box"
    SLICES = "slices"
    MODEL = "model"


class Device(Enum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Plane(Enum):
    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


@dataclass
class Parameters:
    """What `UnCoLSegmentLib.ParameterNode` keeps in the scene; a test there holds both to each other."""

    inputVolume: Any = None
    segmentation: Any = None
    proposal: Any = None
    uncertaintyVolume: Any = None
    roi: Any = None
    segmentFrom: SegmentFrom = SegmentFrom.BOX
    modelName: str = ""
    device: Device = Device.CPU
    minutes: float = 5.0
    plane: Plane = Plane.AXIAL
    rounds: str = ""
    previewsShown: bool = True
    uncertaintyOpacity: float = 0.5
    uncertaintyThreshold: float = 0.5
