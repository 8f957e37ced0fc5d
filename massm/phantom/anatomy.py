"""The canonical thorax: signed distances of organs and the tissue around them.

Coordinates are mm, RAS+ (x to the patient's right), the origin in the middle of the chest. A signed
distance is negative inside. Sizes follow an average adult; HU values are those of a contrast-
enhanced CT (air -1000, lung -850, fat -100, soft tissue 40 to 60, enhanced blood 150 to 350, bone
300 to 1000).
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

Field = np.ndarray
ANATOMIES = (
    'heart_ventricle_left',
    'heart_ventricle_right',
    'heart_atrium_left',
    'heart_atrium_right',
    'lung_upper_lobe_left',
    'lung_upper_lobe_right',
    'spleen',
)
LOW = np.array([-200.0, -160.0, -190.0])
HIGH = np.array([200.0, 150.0, 185.0])


def ellipsoid(p: np.ndarray, center: tuple, radii: tuple, euler: tuple = (0, 0, 0)) -> Field:
    """Approximate signed distance of ``p`` ``[..., 3]`` to an ellipsoid turned by ``euler``
    degrees about x, y, z."""
    local = (p - np.array(center)) @ Rotation.from_euler('xyz', euler, degrees=True).as_matrix()
    inverse = np.square(1 / np.array(radii, dtype=float))
    # Norms of local / radii and local / radii^2, both by one product.
    first, second = np.moveaxis(
        np.sqrt(np.square(local, out=local) @ np.stack([inverse, inverse**2], 1)), -1, 0
    )
    return first * (first - 1) / np.maximum(second, 1e-6)


def union(a: Field, b: Field, blend: float) -> Field:
    """Smooth union; ``blend`` mm is the width of the fillet."""
    h = np.clip(0.5 + 0.5 * (b - a) / blend, 0, 1)
    return b * (1 - h) + a * h - blend * h * (1 - h)


def intersection(a: Field, b: Field, blend: float) -> Field:
    """Smooth intersection."""
    return -union(-a, -b, blend)


def subtraction(a: Field, b: Field, blend: float) -> Field:
    """``a`` without ``b``, smoothed."""
    return intersection(a, -b, blend)


def body(p: np.ndarray) -> Field:
    """The skin: a rounded box in cross-section that widens to the shoulders."""
    widen = 1 + 0.10 / (1 + np.exp(-(p[..., 2] - 90) / 25))
    x, y = np.abs(p[..., 0]) / (162 * widen), np.abs(p[..., 1]) / 112
    return ((x**2.6 + y**2.6) ** (1 / 2.6) - 1) * 112


def lung(p: np.ndarray, side: int) -> Field:
    """One lung (``side`` +1 right, -1 left), hollowed by diaphragm and mediastinum."""
    shape = union(
        ellipsoid(p, (side * 76, -8, -20), (54, 82, 92), (0, side * 5, 0)),
        ellipsoid(p, (side * 62, -12, 65), (42, 60, 62)),
        30,
    )
    dome = ellipsoid(p, (side * 70, -2, -125), (92, 105, 68))
    mediastinum = ellipsoid(p, (-6, 5, -15), (34, 80, 190))
    return subtraction(subtraction(shape, dome, 14), union(mediastinum, heart(p) - 5, 10), 10)


def fissure(p: np.ndarray, side: int) -> Field:
    """Signed distance to the oblique fissure, positive below and behind it; gently curved."""
    x, y, z = p[..., 0] * side, p[..., 1], p[..., 2]
    bow = 6 * np.sin((x - 70) / 30)
    tilt = np.deg2rad(48 if side < 0 else 40)
    return -((z - 5 - bow) * np.cos(tilt) + (y + 12) * np.sin(tilt))


def upper_lobe(p: np.ndarray, side: int) -> Field:
    """The lobe above the oblique fissure."""
    return intersection(lung(p, side) + 1, fissure(p, side) + 1, 8)


def ventricle_left(p: np.ndarray) -> Field:
    """A cone with a rounded apex, pointing left and forward."""
    return union(
        ellipsoid(p, (-38, 12, -46), (23, 24, 27)),
        ellipsoid(p, (-55, 27, -58), (20, 15, 16), (20, 0, 35)),
        14,
    )


def ventricle_right(p: np.ndarray) -> Field:
    """A crescent around the left ventricle's wall with an outflow tract."""
    crescent = union(
        ellipsoid(p, (-14, 38, -52), (36, 24, 28), (10, 10, -25)),
        ellipsoid(p, (-14, 44, -18), (15, 14, 26), (25, 0, 0)),
        14,
    )
    return subtraction(crescent, ventricle_left(p) - 9, 6)


def atrium_left(p: np.ndarray) -> Field:
    """A flat body with two pulmonary veins on each side."""
    shape = ellipsoid(p, (-8, -22, -14), (32, 19, 24), (0, 10, 0))
    for side in (-1, 1):
        for height in (-8, 12):
            shape = union(shape, ellipsoid(p, (-8 + side * 32, -32, height - 8), (14, 8, 8)), 8)
    return subtraction(shape, ventricle_left(p) - 4, 5)


def atrium_right(p: np.ndarray) -> Field:
    """A pear with its appendage in front."""
    shape = union(
        ellipsoid(p, (36, 8, -28), (21, 24, 29)),
        ellipsoid(p, (30, 34, -12), (12, 17, 13), (0, 0, 30)),
        12,
    )
    return subtraction(shape, union(atrium_left(p), ventricle_right(p), 1) - 4, 5)


def heart(p: np.ndarray) -> Field:
    """Muscle and fat around the chambers."""
    return union(
        ellipsoid(p, (-30, 18, -46), (54, 42, 42), (0, 15, 25)),
        ellipsoid(p, (12, 2, -18), (54, 46, 42)),
        25,
    )


def spleen(p: np.ndarray) -> Field:
    """A curved wedge under the left dome, hollowed towards the stomach."""
    shape = union(
        ellipsoid(p, (-98, -42, -108), (23, 40, 30), (25, 10, -20)),
        ellipsoid(p, (-90, -62, -92), (22, 24, 20)),
        18,
    )
    return subtraction(shape, ellipsoid(p, (-62, -12, -104), (32, 42, 44)), 12)


ORGANS: dict[str, Callable[[np.ndarray], Field]] = {
    'heart_ventricle_left': ventricle_left,
    'heart_ventricle_right': ventricle_right,
    'heart_atrium_left': atrium_left,
    'heart_atrium_right': atrium_right,
    'lung_upper_lobe_left': lambda p: upper_lobe(p, -1),
    'lung_upper_lobe_right': lambda p: upper_lobe(p, 1),
    'spleen': spleen,
}
ORGAN_HU = {
    'heart_ventricle_left': 310,
    'heart_ventricle_right': 200,
    'heart_atrium_left': 320,
    'heart_atrium_right': 190,
    'lung_upper_lobe_left': -860,
    'lung_upper_lobe_right': -860,
    'spleen': 125,
}


def background(p: np.ndarray) -> Field:
    """HU of everything but the seven anatomies; where one is missing, this shows instead
    (muscle in the heart, effusion in the chest, fat under the dome)."""
    skin = body(p)
    hu = np.full(skin.shape, -1000.0)
    layers = [(skin, -105), (skin + 14, 55), (skin + 34, -90), *_abdomen(p), *_chest(p), *_bones(p)]
    for distance, value in layers:
        inside = np.clip(0.5 - distance / 2.5, 0, 1)
        hu += inside * (value - hu)
    return hu


def _abdomen(p: np.ndarray) -> list[tuple[Field, float]]:
    liver = union(
        ellipsoid(p, (70, 0, -128), (82, 92, 62)), ellipsoid(p, (-5, 35, -118), (60, 45, 30)), 25
    )
    stomach = ellipsoid(p, (-58, 15, -115), (38, 45, 36))
    gas = intersection(stomach + 6, 38 - p[..., 1], 4)
    cavity = intersection(body(p) + 34, p[..., 2] + 70, 20)
    return [(cavity, -95), (liver, 110), (stomach, 35), (gas, -950)]


def _chest(p: np.ndarray) -> list[tuple[Field, float]]:
    layers: list[tuple[Field, float]] = []
    for side in (-1, 1):
        whole = lung(p, side)
        lower = intersection(whole + 1, 1.5 - fissure(p, side), 6)
        layers += [(whole, 15), (lower, -810), *_vessels(p, side, lower)]
    trachea = np.hypot(p[..., 0] - 4, p[..., 1] + 18) - 9
    airway = np.maximum(trachea, 20 - p[..., 2])
    layers += [(heart(p), -70), (heart(p) + 7, 95), (airway, -990)]
    for name in ('heart_ventricle_left', 'heart_ventricle_right'):
        layers.append((ORGANS[name](p) - 8, 105))
    aorta = np.hypot(p[..., 0] + 22, p[..., 1] + 58) - 12
    layers.append((aorta, 290))
    return layers


def _vessels(p: np.ndarray, side: int, within: Field) -> list[tuple[Field, float]]:
    """Branches from the hilum: thin enhanced tubes inside the lower lobe."""
    hilum = np.array([side * 38, -20, -10])
    ends = [(side * 95, -60, -50), (side * 100, -20, -60), (side * 70, -75, -20)]
    layers: list[tuple[Field, float]] = []
    for end in ends:
        axis = np.array(end) - hilum
        along = np.clip((p - hilum) @ axis / (axis @ axis), 0, 1)
        tube = np.linalg.norm(p - hilum - along[..., None] * axis, axis=-1) - (6 - 4 * along)
        layers.append((np.maximum(tube, within), 150))
    return layers


def _bones(p: np.ndarray) -> list[tuple[Field, float]]:
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    wall = np.abs(body(p) + 26) - 4.5
    height = z + 0.45 * y + 0.0008 * x**2
    rib = np.maximum(wall, np.abs((height + 12) % 26 - 13) - 5)
    rib = np.maximum(rib, np.maximum(22 - np.abs(x), np.abs(z + 10) - 135))
    column = np.hypot(x / 19, (y + 74) / 16) * 16 - 16
    vertebra = np.maximum(column, np.abs(z % 28 - 14) - 11.5)
    process = np.maximum(np.hypot(x, (y + 96) / 2.2) - 8, np.abs(z % 28 - 14) - 8)
    sternum = np.maximum(np.abs(x) - 15, np.maximum(wall, np.maximum(-y, np.abs(z - 20) - 70)))
    return [
        (rib, 420),
        (column, 60),
        (vertebra, 500),
        (vertebra + 4, 190),
        (process, 450),
        (sternum, 330),
    ]
