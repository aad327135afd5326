"""The errors that a user can do something about; each message says what, where and what to do."""

from __future__ import annotations


class UncolError(Exception):
    """Base of every error that the user can fix; its text is one clear sentence or two."""


class ConfigError(UncolError):
    """An option or a field of the configuration is out of its range or contradicts another."""


class DataError(UncolError):
    """An image, label map or annotation cannot be used as it is."""


class GeometryError(DataError):
    """Two images that must share one voxel grid do not, or a grid is not usable."""


class CheckpointError(UncolError):
    """A model folder, a checkpoint or foundation weights are missing, damaged or do not fit."""


class OutputError(UncolError):
    """A result could not be written; nothing half-written was left behind."""


class CancelledError(UncolError):
    """The work was stopped on request; what can be resumed has been saved."""
