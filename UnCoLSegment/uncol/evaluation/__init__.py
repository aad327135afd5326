"""Scores of a segmentation against a reference. Every room above may enter."""
