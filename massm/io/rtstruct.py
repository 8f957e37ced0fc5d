"""DICOM RTSTRUCT: what was contoured slice by slice, as masks on the image's grid.

Read here and not by rt-utils: its filling rounds every point to a whole pixel and sets the border
too, half a voxel too much all around.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from skimage.draw import polygon
from skimage.measure import points_in_poly

from massm.errors import ImageError
from massm.io.itk import LPS_TO_RAS
from massm.structures import Grid

STRUCTURE_SET = '1.2.840.10008.5.1.4.1.1.481.3'
CLOSED, XOR = 'CLOSED_PLANAR', 'CLOSEDPLANAR_XOR'
# Voxels that a contour may lie off its slice.
OFF_SLICE = 0.3
# A contour drawn this much nearer to its middle must lie in the one that it is a hole of: holes
# may touch the outline.
TOUCHING = 0.01


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was drawn of one structure: closed ``contours``, ``[N, 3]`` each (patient mm); whether
    the file says that they are joined by exclusive or (``xor``), and whether they are those of
    several structures of one name (``several``)."""

    contours: list[np.ndarray]
    xor: bool = False
    several: bool = False


@dataclass(frozen=True)
class Structures:
    """What one file holds by the name of the structure, ``None`` where nothing is drawn, and the
    UID of the ``series`` it was drawn on, where it is told."""

    contours: dict[str, Drawn | None]
    series: str | None


@dataclass(frozen=True, eq=False)
class Region:
    """The pixels ``inside`` one contour of a slice ``[X, Y]`` bool; its ``points`` ``[N, 2]``
    (voxels)."""

    points: np.ndarray
    inside: np.ndarray

    @property
    def area(self) -> float:
        """Voxels."""
        x, y = self.points.T
        return 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))

    def holds(self, other: 'Region') -> bool:
        """Whether ``other`` lies wholly in it."""
        nearer = other.points + TOUCHING * (other.points.mean(0) - other.points)
        within = points_in_poly(nearer, self.points).all()
        return bool(within and not (other.inside & ~self.inside).any())


def pydicom() -> Any:
    """The module.

    Raises:
        ImageError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ImageError('RTSTRUCT needs pydicom: pip install "massm[rtstruct]"') from error
    return pydicom


def is_structure_set(path: Path) -> bool:
    """Whether a DICOM file is an RTSTRUCT, by its first bytes."""
    with path.open('rb') as stream:
        head = stream.read(1024)
    return head[128:132] == b'DICM' and STRUCTURE_SET.encode() + b'\0' in head


def read_structures(path: Path) -> Structures:
    """Reads the closed contours of an RTSTRUCT; structures without any are there with none.

    Raises:
        ImageError: unreadable.
    """
    module = pydicom()
    try:
        data = module.dcmread(path)
        names = {int(r.ROINumber): str(r.ROIName).strip() for r in data.StructureSetROISequence}
        found: dict[str, list[Drawn]] = {name: [] for name in names.values()}
        for structure in data.get('ROIContourSequence', []):
            number, drawn = int(structure.ReferencedROINumber), _closed(structure)
            if number in names and drawn.contours:
                found[names[number]].append(drawn)
    except (module.errors.InvalidDicomError, OSError, AttributeError, ValueError) as error:
        raise ImageError(
            f'{path}: cannot be read as RTSTRUCT ({error}); export it again'
        ) from error
    return Structures({name: _one(drawn) for name, drawn in found.items()}, _series(data))


def structure_mask(drawn: Drawn, grid: Grid, where: str) -> np.ndarray:
    """``grid.shape`` bool: voxels whose centres lie in what was ``drawn`` on slices along the
    grid's last axis; a contour wholly inside another is a hole, an island in the hole is none.

    Args:
        where: what to call the structure in errors.

    Raises:
        ImageError: a contour lies between slices or across them, or several structures of this
            name are drawn.
    """
    if drawn.several:
        raise ImageError(f'{where}: is there twice; rename or remove one of them')
    mask = np.zeros(grid.shape, dtype=bool)
    slices: dict[int, list[np.ndarray]] = {}
    for contour in drawn.contours:
        points = grid.to_voxel(contour)
        k = round(float(points[:, 2].mean()))
        if np.abs(points[:, 2] - k).max() > OFF_SLICE:
            raise ImageError(
                f'{where}: a contour lies between the slices of the image or across them; export '
                'the structures together with the series they were drawn on'
            )
        if 0 <= k < grid.shape[2]:
            slices.setdefault(k, []).append(points[:, :2])
    join = _exclusive if drawn.xor else _nested
    for k, outlines in slices.items():
        mask[..., k] = join([_region(points, grid.shape[:2]) for points in outlines])
    return mask


def _region(points: np.ndarray, shape: tuple[int, ...]) -> Region:
    inside = np.zeros(shape, dtype=bool)
    inside[polygon(points[:, 0], points[:, 1], shape)] = True
    return Region(points, inside)


def _exclusive(regions: list[Region]) -> np.ndarray:
    return np.logical_xor.reduce([region.inside for region in regions])


def _nested(regions: list[Region]) -> np.ndarray:
    """``[X, Y]`` bool: the regions together, without those at odd depths inside others; contours
    of the same pixels are one."""
    once = {region.inside.tobytes(): region for region in regions}
    mask = np.zeros_like(regions[0].inside)
    seen: list[tuple[Region, int]] = []
    for region in sorted(once.values(), key=lambda r: r.area, reverse=True):
        depth = 1 + max((d for other, d in seen if other.holds(region)), default=-1)
        mask[region.inside] = depth % 2 == 0
        seen.append((region, depth))
    return mask


def _closed(structure: Any) -> Drawn:
    contours, kinds = [], set()
    for contour in structure.get('ContourSequence', []):
        points = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        kind = contour.get('ContourGeometricType', CLOSED)
        if kind in (CLOSED, XOR) and len(points) > 2:
            contours.append(points * np.diag(LPS_TO_RAS)[:3])
            kinds.add(kind)
    return Drawn(contours, xor=XOR in kinds)


def _one(found: list[Drawn]) -> Drawn | None:
    """Of the structures of one name, the one that has contours."""
    return replace(found[0], several=len(found) > 1) if found else None


def _series(data: Any) -> str | None:
    try:
        study = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        return str(study.RTReferencedSeriesSequence[0].SeriesInstanceUID)
    except (AttributeError, IndexError):
        return None
