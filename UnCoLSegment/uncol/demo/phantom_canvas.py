"""The canvas on which the phantom is drawn: smoothly bent coordinates, shapes as distances, soft edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Field = NDArray[np.float32]
"""A value per voxel (K, J, I); for a shape the distance to its surface in mm, below 0 inside."""

Point = Sequence[float]
"""A place (x, y, z) in the reference patient, mm: x to the left, y to posterior, z to superior."""

REFERENCE_SIZE_MM = (320.0, 320.0, 256.0)
"""Field of view of the reference patient along x, y and z; x and y count from its middle, z from its lowest slice."""

_EDGE_MM = 1.5
_GAP_MM = 0.7
_FAR_MM = 99.0
_DEFORMATION_REACH_MM = 24.0


class Canvas:
    """Grey values and labels of a patient; what is drawn later covers what was drawn before.

    Attributes:
        random: Source of everything that is random.
        hu: Grey values so far, HU (K, J, I).
        labels: Labels so far, uint8 (K, J, I).
        room: Where a soft organ may still grow: below 0, smaller the farther from what stands there already.
        z: Height of each slice, (K, 1, 1).
        level_y: Undeformed y of each row, (1, J, 1); fluids stand level in it.
        trunk_x, trunk_y: Coordinates (K, J, I) bent as stiff parts bend: skin, muscle, bone.
        x, y: Coordinates (K, J, I) bent as soft organs bend.
        mottle: Fine texture of mean 0 and standard deviation 1, (K, J, I).
    """

    def __init__(self, shape_kji: tuple[int, int, int], random: np.random.Generator) -> None:
        self.random = random
        self.hu: Field = np.full(shape_kji, -1000.0, np.float32)
        self.labels: NDArray[np.uint8] = np.zeros(shape_kji, np.uint8)
        self.room: Field = np.full(shape_kji, -_FAR_MM, np.float32)
        self._step_mm = [size / side for size, side in zip(REFERENCE_SIZE_MM[::-1], shape_kji, strict=True)]
        slices, rows, columns = (
            ((np.arange(side) + 0.5) * step).astype(np.float32)
            for side, step in zip(shape_kji, self._step_mm, strict=True)
        )
        self.z: Field = slices[:, None, None]
        self.level_y: Field = rows[None, :, None] - np.float32(REFERENCE_SIZE_MM[1] / 2)
        self.trunk_x: Field = columns - np.float32(REFERENCE_SIZE_MM[0] / 2) + self.wobble(3.0, 90.0)
        self.trunk_y: Field = self.level_y + self.wobble(3.0, 90.0)
        self.x: Field = self.trunk_x + self.wobble(3.0, 45.0) + self.wobble(2.0, 22.0)
        self.y: Field = self.trunk_y + self.wobble(3.0, 45.0) + self.wobble(2.0, 22.0)
        self.mottle = self.wobble(1.0, 6.0)

    def wobble(self, amplitude: float, length_mm: float) -> Field:
        """Return smooth noise of standard deviation `amplitude` that forgets itself over `length_mm`."""
        return np.float32(amplitude) * smooth_noise(self.hu.shape, length_mm / 2 / np.array(self._step_mm), self.random)

    def column(self, center: tuple[float, float], radii: tuple[float, float]) -> Field:
        """Return a stiff column through all slices, elliptic in each."""
        scaled = np.hypot((self.trunk_x - center[0]) / radii[0], (self.trunk_y - center[1]) / radii[1])
        shape: Field = (scaled - 1) * min(radii)
        return shape

    def ellipsoid(self, center: Point, radii: Point, tilt: float = 0.0) -> Field:
        """Return a soft ellipsoid; `tilt` moves its middle in x per mm of z."""
        dz = self.z - center[2]
        dx, dy = self.x - center[0] - tilt * dz, self.y - center[1]
        scaled = np.sqrt((dx / radii[0]) ** 2 + (dy / radii[1]) ** 2 + (dz / radii[2]) ** 2)
        shape: Field = (scaled - 1) * min(radii)
        return shape

    def tube(self, path: Sequence[Point], radii: Sequence[float]) -> Field:
        """Return a soft tube along a path, its radius in mm given at each point of the path."""
        window = self._window_around(path, max(radii) + _DEFORMATION_REACH_MM)
        x, y, z = self.x[window], self.y[window], self.z[window[:1]]
        inside_window = np.full(x.shape, _FAR_MM, np.float32)
        for start, end, r0, r1 in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
            dx, dy, dz = (after - before for before, after in zip(start, end, strict=True))
            from_x, from_y, from_z = x - start[0], y - start[1], z - start[2]
            along = np.clip((from_x * dx + from_y * dy + from_z * dz) / (dx * dx + dy * dy + dz * dz), 0, 1)
            to_axis = np.sqrt((from_x - along * dx) ** 2 + (from_y - along * dy) ** 2 + (from_z - along * dz) ** 2)
            inside_window = join(inside_window, to_axis - r0 - along * (r1 - r0), 6.0)
        shape: Field = np.full(self.hu.shape, _FAR_MM, np.float32)
        shape[window] = inside_window
        return shape

    def winding_path(self, start: Point, reach_mm: float) -> list[list[float]]:
        """Return a random path of three points."""
        bends = self.random.uniform(-reach_mm, reach_mm, size=(3, 3)) * (1.0, 0.7, 0.6)
        path: list[list[float]] = (start + np.cumsum(bends, axis=0)).tolist()
        return path

    def between(self, lowest: float | Point, highest: float | Point) -> list[float]:
        """Return random numbers between two bounds."""
        numbers: list[float] = np.atleast_1d(self.random.uniform(lowest, highest)).tolist()
        return numbers

    def tissue(self, hu: float, texture: float = 5.0) -> Field:
        """Return a grey value with the mottling of an organ."""
        return np.float32(hu) + np.float32(texture) * self.mottle

    def draw(self, shape: NDArray[np.floating[Any]], hu: float | Field) -> None:
        """Fill a shape with a grey value, soft at its edge."""
        touched = shape < _EDGE_MM
        share = np.minimum(0.5 - shape[touched] / (2 * _EDGE_MM), 1)
        before = self.hu[touched]
        self.hu[touched] = before + share * ((hu if isinstance(hu, float) else hu[touched]) - before)

    def draw_organ(self, shape: Field, hu: float | Field, label: int) -> Field:
        """Draw and label an organ where there is room for it, and return the shape that it took."""
        fitted: Field = np.maximum(shape, self.room)
        self.draw(fitted, hu)
        self.claim(fitted, label)
        return fitted

    def claim(self, shape: Field, label: int) -> None:
        """Label a shape and let no later organ grow into it."""
        self.labels[shape < 0] = label
        self.forbid(shape)

    def forbid(self, shape: Field) -> None:
        """Let no later organ grow into a shape."""
        self.room = np.maximum(self.room, _GAP_MM - shape)

    def _window_around(self, path: Sequence[Point], margin_mm: float) -> tuple[slice, slice, slice]:
        from_first_voxel = (0.0, REFERENCE_SIZE_MM[1] / 2, REFERENCE_SIZE_MM[0] / 2)
        bounds = []
        for axis, step_mm in enumerate(self._step_mm):
            side = self.hu.shape[axis]
            places = [point[2 - axis] + from_first_voxel[axis] for point in path]
            first, last = int((min(places) - margin_mm) / step_mm), int((max(places) + margin_mm) / step_mm) + 1
            bounds.append(slice(min(max(first, 0), side - 1), min(max(last, 1), side)))
        return bounds[0], bounds[1], bounds[2]


def join(first: Field, second: Field, seam_mm: float) -> Field:
    """Return the union of two shapes with a rounded seam."""
    closeness = np.clip(1 - np.abs(first - second) / seam_mm, 0, 1)
    union: Field = np.minimum(first, second) - closeness**2 * np.float32(seam_mm / 4)
    return union


def smooth_noise(shape: tuple[int, ...], sigma_vox: NDArray[np.float64], random: np.random.Generator) -> Field:
    """Return noise of mean 0 and standard deviation 1, made on a coarse grid because it is smooth anyway."""
    steps = [max(1, int(sigma / 1.5)) for sigma in sigma_vox]
    coarse_shape = [side // step + 2 for side, step in zip(shape, steps, strict=True)]
    noise = random.standard_normal(coarse_shape, dtype=np.float32)
    for axis, (sigma, step) in enumerate(zip(sigma_vox, steps, strict=True)):
        noise = gaussian_filter1d(noise, sigma / step, axis=axis, mode="wrap", truncate=3.0)
    for axis, (side, step) in enumerate(zip(shape, steps, strict=True)):
        noise = _stretched(noise, axis, side, step)
    normalized: Field = (noise - noise.mean()) / noise.std()
    return normalized


def _stretched(values: Field, axis: int, side: int, step: int) -> Field:
    position = np.arange(side) / step
    index = position.astype(np.intp)
    share = (position - index).astype(np.float32).reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    lower, upper = values.take(index, axis), values.take(index + 1, axis)
    stretched: Field = lower + share * (upper - lower)
    return stretched
