"""Student networks, composed of MONAI's blocks."""
