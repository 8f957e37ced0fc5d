"""How far particles move when the same patient is stored, or lies, differently.

Example: python benchmarks/equivariance.py --model models/abdomen ct.nii.gz

Each row is one change of the scan: the mean distance between particles found in it and in the scan
as it is, both in the patient, and the largest of the anatomies' means.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from massm.cohort.resample import AIR_HU, resample
from massm.inference.inferencer import MASSMInferencer
from massm.io.images import read_scan
from massm.structures import Grid

Change = tuple[str, np.ndarray, Grid, np.ndarray]
TURNS = ((8, -6, 11), (20, 5, -10), (0, 0, 30), (-12, 15, 3))
MOVES = ((6, 3, 9), (3, 9, 6))
AIR_VOXELS = 6


def main() -> None:
    """Prints a row for each change, 48 axis orders in one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', type=Path, required=True, help='model directory')
    parser.add_argument('image', type=Path, help='a CT file')
    parser.add_argument('--passes', type=int, default=1, help='as in massm infer')
    args = parser.parse_args()
    inferencer = MASSMInferencer(args.model, passes=args.passes)
    scan = read_scan(args.image)
    expected, found = _particles(inferencer, scan.volume, scan.grid)
    table = Table('change', 'mean mm', 'worst anatomy mm', title=f'{found} anatomies')
    rows: dict[str, list[np.ndarray]] = {}
    for name, volume, grid, moved in _changes(scan.volume, scan.grid):
        particles, _ = _particles(inferencer, volume, grid)
        distance = np.linalg.norm(particles - moved - expected, axis=-1).mean(1)
        rows.setdefault(name, []).append(distance)
    for name, distances in rows.items():
        worst = max(distances, key=lambda d: d.mean())
        table.add_row(name, f'{worst.mean():.2f}', f'{worst.max():.2f}')
    Console().print(table)


def _particles(
    inferencer: MASSMInferencer, volume: np.ndarray, grid: Grid
) -> tuple[np.ndarray, int]:
    """``[K, M, 3]`` patient mm, and how many anatomies were found."""
    shapes = inferencer((volume, grid))[0].shapes
    return np.stack([s.local_mm for s in shapes]), sum(s.is_present for s in shapes)


def _changes(volume: np.ndarray, grid: Grid) -> Iterator[Change]:
    """Name, volume, grid, and how far (mm) the patient was moved."""
    still = np.zeros(3)
    for codes in _axis_orders():
        image = nibabel.Nifti1Image(volume, grid.affine)
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(grid.affine), nibabel.orientations.axcodes2ornt(codes)
        )
        turned = image.as_reoriented(turn)
        data = np.array(turned.dataobj)
        yield 'axis order (worst of 48)', data, Grid(data.shape, turned.affine), still
    for angles in TURNS:
        oblique = _turned(grid, angles)
        yield f'stored turned by {angles}°', resample(volume, grid, oblique), oblique, still
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.to_patient(np.full(3, -float(AIR_VOXELS)))
    padded = np.pad(volume, AIR_VOXELS, constant_values=AIR_HU)
    yield f'{AIR_VOXELS} voxels of air around', padded, Grid(padded.shape, affine), still
    for move in MOVES:
        affine = np.array(grid.affine)
        affine[:3, 3] += move
        yield f'patient moved by {move} mm', volume, Grid(grid.shape, affine), np.array(move)


def _axis_orders() -> Iterator[str]:
    for axes in itertools.permutations(('RL', 'AP', 'SI')):
        for sides in itertools.product((0, 1), repeat=3):
            yield ''.join(axis[side] for axis, side in zip(axes, sides, strict=True))


def _turned(grid: Grid, angles: tuple[int, int, int]) -> Grid:
    """A turned grid of five sixths of the voxel size that holds all of ``grid``."""
    spacing = float(grid.spacing.min()) * 5 / 6
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler('xyz', angles, degrees=True).as_matrix() * spacing
    corners = grid.corners_mm()
    size = np.ceil(np.ptp(corners @ affine[:3, :3] / spacing**2, axis=0)).astype(int) + 2
    affine[:3, 3] = corners.mean(0) - affine[:3, :3] @ ((size - 1) / 2)
    return Grid((int(size[0]), int(size[1]), int(size[2])), affine)


if __name__ == '__main__':
    main()
