"""A generated abdominal CT with known organs, for the demo and for tests where no patient data may be used.

The anatomy is written in mm of a reference patient (`demo.phantom_canvas.Point`) and bent by smooth random
deformations, so that each slice differs from the next and no grey value alone tells the organs apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from uncol.demo.phantom_canvas import Canvas, Field, join, smooth_noise

STRUCTURES = (
    Structure(1, "liver"),
    Structure(2, "spleen"),
    Structure(3, "right kidney"),
    Structure(4, "left kidney"),
    Structure(5, "stomach"),
    Structure(6, "aorta"),
)
LIVER, SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY, STOMACH, AORTA = (structure.value for structure in STRUCTURES)

_SMALLEST_SIDE_VOX = 16
_MIDDLE_RAS_MM = (4.5, -31.0, -417.5)
_NOISE_HU = 13.0
_VERTEBRA_MM = 34.0
_RIB_MM = 30.0


@dataclass(frozen=True)
class Phantom:
    """A generated CT and its exact labels.

    Attributes:
        image: HU, int16; columns run to the patient's left, rows to posterior, slices to superior.
        labels: Value of each voxel's structure, uint8, 0 elsewhere; on the image's grid.
        structures: The structures in the labels.
    """

    image: Volume
    labels: Volume
    structures: tuple[Structure, ...]


def make_phantom(
    shape_kji: tuple[int, int, int] = (64, 160, 160),
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 4.0),
    seed: int = 0,
) -> Phantom:
    """Generate an abdominal CT with liver, spleen, kidneys, stomach and aorta.

    Args:
        shape_kji: Number of voxels along K, J and I; the anatomy is scaled to fill the grid.
        spacing_mm: Distance between voxel centers along I, J and K.
        seed: The same seed gives the same voxels.

    Raises:
        ConfigError: If the grid is too small to show the organs.
    """
    if min(shape_kji) < _SMALLEST_SIDE_VOX or min(spacing_mm) <= 0:
        message = (
            f"A phantom needs at least {_SMALLEST_SIDE_VOX} voxels along each axis and a spacing above 0 mm, "
            f"got {shape_kji} voxels and {spacing_mm} mm."
        )
        raise ConfigError(message)
    random = np.random.default_rng(seed)
    canvas = Canvas(shape_kji, random)
    cavity = _draw_trunk(canvas)
    _draw_spine_and_ribs(canvas)
    _draw_bowel(canvas, cavity)
    _draw_chest(canvas, cavity)
    _draw_vessels(canvas)
    _draw_stomach(canvas)
    _draw_spleen(canvas)
    _draw_kidneys(canvas)
    _draw_liver(canvas)
    ijk_to_ras = _scanner_matrix(shape_kji, spacing_mm)
    return Phantom(Volume(_scanned(canvas.hu, random), ijk_to_ras), Volume(canvas.labels, ijk_to_ras), STRUCTURES)


def _scanner_matrix(shape_kji: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    steps_ras = np.array([-spacing_mm[0], -spacing_mm[1], spacing_mm[2]])
    ijk_to_ras = np.diag([*steps_ras, 1.0])
    ijk_to_ras[:3, 3] = _MIDDLE_RAS_MM - steps_ras * shape_kji[::-1] / 2
    return ijk_to_ras


def _scanned(hu: Field, random: np.random.Generator) -> NDArray[np.int16]:
    """Blur as a scanner does, and add its grain and a slight shading."""
    blurred = gaussian_filter(hu, (0.35, 0.55, 0.55))
    grain = gaussian_filter(random.standard_normal(hu.shape, dtype=np.float32), (0.0, 0.65, 0.65))
    shading = smooth_noise(hu.shape, np.array([8.0, 40.0, 40.0]), random)
    noisy = blurred + _NOISE_HU * grain / grain.std() + 3.0 * shading
    return np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)


def _draw_trunk(canvas: Canvas) -> Field:
    """Draw couch, skin, fat and muscle, and return the abdominal cavity."""
    canvas.draw(np.abs(canvas.level_y - 118.0 + (canvas.trunk_x / 42.0) ** 2) - 0.8, -40.0)
    skin = canvas.column((0.0, 0.0), (147.0, 104.0)) + 3.0 * np.cos(canvas.z / 60.0)
    canvas.draw(skin, 15.0)
    canvas.draw(skin + 3.0, -104.0 + 5.0 * canvas.mottle)
    wall = canvas.column((0.0, -1.0), (130.0, 88.0))
    canvas.draw(wall, canvas.tissue(55.0, 8.0))
    canvas.draw(np.abs(wall + 4.5) - 0.3, -50.0)
    cavity = canvas.column((0.0, -1.0), (119.0, 78.0)) + canvas.wobble(1.0, 30.0)
    canvas.draw(cavity, -98.0 + 6.0 * canvas.mottle + canvas.wobble(8.0, 14.0))
    canvas.forbid(-(cavity + 2.5))
    for side in (-1.0, 1.0):
        psoas = canvas.ellipsoid((side * 37.0, 50.0, 10.0), (17.0, 16.0, 135.0), -side * 0.12)
        canvas.draw(canvas.column((side * 33.0, 78.0), (29.0, 17.0)), canvas.tissue(56.0, 9.0))
        canvas.draw(psoas, canvas.tissue(58.0))
        canvas.forbid(psoas)
    canvas.forbid(canvas.column((0.0, 66.0), (27.0, 38.0)))
    canvas.forbid(canvas.column((0.0, 82.0), (68.0, 24.0)))
    return cavity


def _draw_spine_and_ribs(canvas: Canvas) -> None:
    canal = canvas.column((0.0, 76.0), (9.5, 8.0))
    vertebra = np.maximum(canvas.column((0.0, 50.0), (25.0, 19.0)), -canal)
    arch = np.minimum(canvas.column((0.0, 76.0), (16.0, 14.0)), canvas.column((0.0, 93.0), (4.0, 13.0)))
    from_disc = _VERTEBRA_MM / 2 - np.abs(np.mod(canvas.z, _VERTEBRA_MM) - _VERTEBRA_MM / 2)
    process = np.maximum(canvas.column((0.0, 75.0), (44.0, 5.0)), from_disc - 8.0)
    bone = np.minimum(np.minimum(vertebra, arch), process)
    canvas.draw(bone, 600.0)
    canvas.draw(bone + 3.0, 220.0 + 40.0 * canvas.mottle)
    canvas.draw(np.maximum(vertebra, from_disc - 4.0), 95.0)
    canvas.draw(canal, 15.0)
    canvas.draw(canvas.column((0.0, 76.0), (5.5, 4.5)), 42.0)
    across_wall = (np.hypot(canvas.trunk_x / 124.5, canvas.trunk_y / 82.5) - 1.0) * 95.0
    forward = (1.0 - canvas.trunk_y / 82.5) / 2.0
    along_body = np.mod(canvas.z + 75.0 * forward, _RIB_MM) - _RIB_MM / 2
    rib = np.hypot(across_wall, along_body * 0.8) - 4.6
    last_rib = 95.0 + 55.0 * np.abs(forward - 0.35) - 40.0 * forward
    for limit in (last_rib - canvas.z, -62.0 - canvas.trunk_y, 26.0 - np.abs(canvas.trunk_x)):
        rib = np.maximum(rib, limit)
    canvas.draw(rib, 560.0)
    canvas.draw(rib + 2.2, 260.0)


def _draw_bowel(canvas: Canvas, cavity: Field) -> None:
    """Draw loops of bowel with content and gas, and the small bright vessels of their mesentery."""
    loops = [(canvas.winding_path(canvas.between((-90, -62, -10), (90, 5, 125)), 26.0), 14.0) for _ in range(30)]
    for side in (-1.0, 1.0):
        colon = [[side * 93.0, 2.0, -10.0], [side * 97.0, -8.0, 50.0], [side * 88.0, -14.0, 105.0]]
        loops.append((colon, 21.0))
    room = np.maximum(cavity + 3.0, canvas.y - 4.0)
    for path, largest_mm in loops:
        radius, wall_hu, content_hu, gas = canvas.between((0.6 * largest_mm, 50, 5, 0), (largest_mm, 90, 45, 1))
        loop = np.maximum(canvas.tube(path, [radius] * 3), room)
        canvas.draw(loop, canvas.tissue(wall_hu))
        canvas.draw(loop + 2.5, canvas.tissue(content_hu, 9.0))
        if gas < 0.4:
            canvas.draw(np.maximum(loop + 3.5, canvas.level_y - path[0][1]), -850.0)
    for _ in range(26):
        path = canvas.winding_path(canvas.between((-70, -45, 0), (70, 12, 150)), 18.0)
        canvas.draw(np.maximum(canvas.tube(path, [1.8, 1.4, 1.0]), room), 110.0)


def _draw_vessels(canvas: Canvas) -> None:
    heights = np.linspace(-20.0, 280.0, 9).tolist()
    sway = np.cumsum(canvas.random.normal(0, 3.0, size=(9, 2)), axis=0) * (1.0, 0.5)
    sways = (sway - sway.mean(axis=0)).tolist()
    cava = canvas.tube([(-19.0 - dx, 20.0 + dy, z) for z, (dx, dy) in zip(heights, sways, strict=True)], [10.0] * 9)
    canvas.draw(cava, canvas.tissue(135.0))
    canvas.forbid(cava)
    for side, height in ((-1.0, 138.0), (1.0, 146.0)):
        canvas.draw(canvas.tube([(0.0, 16.0, height), (side * 50.0, 38.0, height - 8.0)], [4.5, 3.5]), 165.0)
    canvas.draw(canvas.tube([(8.0, 6.0, 172.0), (-22.0, -12.0, 165.0), (-42.0, -8.0, 172.0)], [6.0, 7.0, 7.0]), 160.0)
    pancreas = canvas.tube([(-34.0, -12.0, 144.0), (8.0, -16.0, 158.0), (74.0, 20.0, 180.0)], [14.0, 10.0, 9.0])
    canvas.draw(pancreas + canvas.wobble(2.0, 9.0), canvas.tissue(92.0, 9.0))
    path = [(11.0 + dx, 18.0 + dy, z) for z, (dx, dy) in zip(heights, sways, strict=True)]
    wall = canvas.tube(path, [9.5, 9.5, 9.0, 10.0, 10.5, 11.0, 11.5, 12.0, 12.0]) + canvas.wobble(0.5, 12.0)
    canvas.draw(wall, canvas.tissue(265.0, 4.0))
    canvas.claim(wall, AORTA)
    canvas.draw(np.maximum(np.abs(wall + 1.0) - 0.8, 2.4 - 2.0 * canvas.mottle), 650.0)


def _draw_chest(canvas: Canvas, cavity: Field) -> None:
    """Draw what reaches into the field of view from above the diaphragm: lungs and heart."""
    beside = np.abs(canvas.x) - 58.0
    domes = 250.0 - np.where(beside > 0, beside**2 / 81.0, beside**2 / 160.0)
    diaphragm = domes - (canvas.y + 8.0) ** 2 / 95.0 + canvas.wobble(2.0, 30.0)
    chest = np.maximum(diaphragm - canvas.z, cavity + 2.0)
    heart = np.maximum(canvas.ellipsoid((14.0, -34.0, 262.0), (52.0, 38.0, 36.0)), chest)
    lung = np.maximum(np.maximum(chest, 24.0 - np.abs(canvas.x - 4.0)), -heart - 2.0)
    canvas.draw(lung - 1.5, canvas.tissue(50.0))
    canvas.draw(lung, -840.0 + 30.0 * canvas.mottle)
    canvas.draw(heart, canvas.tissue(95.0))
    canvas.draw(heart + 12.0, canvas.tissue(190.0))
    inner_lung = lung + 2.0
    for _ in range(24):
        path = canvas.winding_path(canvas.between((-105, -60, 205), (105, 70, 262)), 14.0)
        canvas.draw(np.maximum(canvas.tube(path, [2.2, 1.5, 1.0]), inner_lung), 0.0)
    canvas.forbid(chest - 1.5)


def _draw_stomach(canvas: Canvas) -> None:
    path = [(54.0, 10.0, 232.0), (68.0, -8.0, 206.0), (60.0, -34.0, 172.0), (34.0, -50.0, 142.0), (-8.0, -42.0, 138.0)]
    wall = canvas.tube(path, [22.0, 33.0, 27.0, 18.0, 11.0]) + canvas.wobble(3.0, 24.0)
    stomach = canvas.draw_organ(wall, canvas.tissue(64.0), STOMACH)
    food = np.clip(canvas.wobble(25.0, 14.0), 0, 45)
    canvas.draw(stomach + 4.0, canvas.tissue(32.0, 8.0) + food)
    canvas.draw(np.maximum(stomach + 4.5, canvas.level_y + 40.0), -920.0)


def _draw_spleen(canvas: Canvas) -> None:
    whole = canvas.ellipsoid((86.0, 28.0, 190.0), (36.0, 48.0, 56.0), -0.12) + canvas.wobble(2.5, 24.0)
    hilum = canvas.ellipsoid((54.0, 10.0, 184.0), (30.0, 36.0, 60.0), 0.1) + canvas.wobble(2.5, 24.0)
    canvas.draw_organ(np.maximum(whole, -hilum), canvas.tissue(120.0), SPLEEN)


def _draw_kidneys(canvas: Canvas) -> None:
    for side, height, label in ((-1.0, 112.0, RIGHT_KIDNEY), (1.0, 126.0, LEFT_KIDNEY)):
        whole = canvas.ellipsoid((side * 66.0, 38.0, height), (28.0, 25.0, 58.0), -side * 0.14)
        sinus = canvas.ellipsoid((side * 50.0, 34.0, height), (19.0, 10.0, 30.0), -side * 0.14)
        parenchyma = np.maximum(whole + canvas.wobble(1.8, 20.0), -(sinus + canvas.wobble(2.0, 18.0)))
        kidney = canvas.draw_organ(parenchyma, canvas.tissue(192.0), label)
        canvas.draw(kidney + 7.0, canvas.tissue(150.0) + np.clip(canvas.wobble(22.0, 11.0), -28.0, 10.0))
        canvas.draw(canvas.ellipsoid((side * 49.0, 35.0, height - 4.0), (9.0, 5.0, 15.0)), 15.0)


def _draw_liver(canvas: Canvas) -> None:
    right = canvas.ellipsoid((-56.0, 2.0, 190.0), (72.0, 76.0, 76.0), 0.10)
    tip = canvas.ellipsoid((-86.0, 4.0, 134.0), (26.0, 46.0, 58.0), 0.05)
    left = canvas.ellipsoid((6.0, -44.0, 206.0), (70.0, 30.0, 40.0), -0.10)
    liver = join(join(right, tip, 14.0), left, 12.0) + canvas.wobble(4.0, 28.0) + canvas.wobble(1.5, 14.0)
    fissure = canvas.ellipsoid((-8.0, -62.0, 178.0), (5.0, 30.0, 44.0), 0.12) + canvas.wobble(2.0, 20.0)
    porta = canvas.ellipsoid((-24.0, 16.0, 158.0), (25.0, 25.0, 34.0)) + canvas.wobble(3.0, 20.0)
    gallbladder = canvas.ellipsoid((-46.0, -42.0, 142.0), (15.0, 18.0, 26.0), 0.15) + canvas.wobble(1.5, 15.0)
    for hole in (fissure, porta, gallbladder - 1.5):
        liver = np.maximum(liver, -hole)
    canvas.draw(np.maximum(gallbladder, canvas.room), 12.0)
    liver = canvas.draw_organ(liver, canvas.tissue(110.0, 6.0), LIVER)
    _draw_inside_liver(canvas, liver)


def _draw_inside_liver(canvas: Canvas, liver: Field) -> None:
    """Draw bright vessels and dark lesions; both belong to the liver."""
    root = (-24.0, 12.0, 214.0)
    for end in ((-105.0, 20.0, 190.0), (-78.0, -40.0, 196.0), (-20.0, -56.0, 210.0), (-80.0, 42.0, 170.0)):
        shifts = canvas.between((-14,) * 3, (14,) * 3)
        bend = [(start + stop) / 2 + shift for start, stop, shift in zip(root, end, shifts, strict=True)]
        canvas.draw(np.maximum(canvas.tube([root, bend, end], [5.5, 4.0, 1.5]), liver + 2.0), 150.0)
    for _ in range(5):
        *center, radius, hu = canvas.between((-105, -35, 140, 4, 25), (-35, 40, 225, 11, 75))
        lesion = canvas.ellipsoid(center, (radius, radius * 0.8, radius)) + canvas.wobble(1.0, 8.0)
        canvas.draw(np.maximum(lesion, liver + 2.0), hu)
