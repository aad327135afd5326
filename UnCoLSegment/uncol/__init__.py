"""UnCoL engine: semi-supervised segmentation with two teachers, without 3D Slicer."""

__version__ = "0.1.0"
