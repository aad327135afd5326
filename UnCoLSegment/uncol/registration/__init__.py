"""Correspondence between neighboring slices: contours follow the motion of what the image shows."""
