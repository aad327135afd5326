"""Volumes from files to what networks see, and back. Every room above may enter."""
