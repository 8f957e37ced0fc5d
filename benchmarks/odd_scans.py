"""What a model says of one scan in several guises: its status, score and reason of each anatomy.

Example:
  python benchmarks/odd_scans.py examples/headneck_ct.nii.gz --also totalseg/s0001/ct.nii.gz

Guises: the scan as it comes, at other voxel sizes, its upper and its lower half, with streaks as of
metal beside an anatomy, with a ball of soft tissue in the place of one, and with MR-like values.
`--also` names other scans. The scan's slices are axial, its last axis runs along the body.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from massm.cohort.resample import resample
from massm.inference.inferencer import MASSMInferencer
from massm.inference.model_search import find_model
from massm.inference.results import InferenceResult, ShapeResult
from massm.io.nifti import read_volume
from massm.structures import Grid

AIR, SOFT_TISSUE = -1000, 40
# Streaks: how many, HU beside the metal, the way that halves them, and half of their height, mm.
RAYS, STRENGTH, FADE, HEIGHT = 16, 1500.0, 25.0, 12.0
METAL_HU, METAL_MM, BALL_MM = 3000, 5.0, 30.0
# HU, and as an MR might show it: fat bright, bone dark.
LIKE_MR = (-1000, -300, -100, 40, 300, 1500), (0, 20, 700, 350, 60, 20)
Scan = tuple[np.ndarray, Grid]


def main() -> None:
    """Prints a row for each guise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('image', type=Path)
    parser.add_argument('--model', type=Path, default=Path('headneck_ct'))
    parser.add_argument('--metal', default='mandible', help='anatomy whose front it lies above')
    parser.add_argument('--ball', default='parotid_gland_left', help='anatomy in whose place it is')
    parser.add_argument('--also', type=Path, nargs='*', default=[])
    args = parser.parse_args()
    inferencer = MASSMInferencer(find_model(args.model))
    scan = read_volume(args.image)
    plain = next(iter(inferencer.stream([scan])))
    table = Table('scan', 'anatomy', 'status', 'score', 'why')
    _add(table, 'as it comes', plain)
    for name, changed in _guises(scan, _of(plain, args.metal), _of(plain, args.ball)):
        _add(table, name, next(iter(inferencer.stream([changed]))))
    for path in args.also:
        _add(table, str(path), next(iter(inferencer.stream([path]))))
    Console(width=160).print(table)


def _guises(scan: Scan, metal: ShapeResult, ball: ShapeResult) -> Iterator[tuple[str, Scan]]:
    yield 'at 1 mm', _resampled(scan, 1.0)
    yield 'at 5 mm', _resampled(scan, 5.0)
    middle = scan[0].shape[2] // 2
    names = ('lower half', 'upper half')[:: 1 if scan[1].affine[2, 2] > 0 else -1]
    yield names[0], _slices(scan, 0, middle)
    yield names[1], _slices(scan, middle, scan[1].shape[2])
    yield 'streaks', (with_streaks(*scan, _above_the_front(metal.local_mm)), scan[1])
    yield 'a ball', (with_ball(*scan, ball.local_mm.mean(0)), scan[1])
    yield 'like an MR', (np.interp(scan[0], *LIKE_MR).astype(np.int16), scan[1])


def with_streaks(volume: np.ndarray, grid: Grid, center: np.ndarray) -> np.ndarray:
    """A piece of metal at ``center`` (patient mm) and bright and dark rays around it in the
    slices that it lies in."""
    away = _away(grid, center)
    distance = np.linalg.norm(away[..., :2], axis=-1)
    rays = np.cos(RAYS * np.arctan2(away[..., 1], away[..., 0]))
    near = STRENGTH * rays * np.exp2(-distance / FADE) * (np.abs(away[..., 2]) < HEIGHT)
    streaked = np.where(volume > AIR / 2, volume + near, volume)
    streaked[np.linalg.norm(away, axis=-1) < METAL_MM] = METAL_HU
    return np.clip(streaked, AIR, METAL_HU).astype(np.int16)


def with_ball(volume: np.ndarray, grid: Grid, center: np.ndarray) -> np.ndarray:
    """A ball of soft tissue around ``center`` (patient mm)."""
    inside = np.linalg.norm(_away(grid, center), axis=-1) < BALL_MM
    return np.where(inside, SOFT_TISSUE, volume).astype(np.int16)


def _away(grid: Grid, center: np.ndarray) -> np.ndarray:
    """``[X, Y, Z, 3]`` mm from ``center`` to every voxel."""
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing='ij'), -1)
    return grid.to_patient(voxels.reshape(-1, 3)).reshape(voxels.shape) - center


def _above_the_front(points: np.ndarray) -> np.ndarray:
    """A centimetre above the foremost of ``points`` ``[M, 3]`` (patient mm): of a mandible, its
    teeth."""
    front = points[points[:, 1] > np.quantile(points[:, 1], 0.95)]
    return np.array([*front.mean(0)[:2], front[:, 2].max() + 10.0])


def _resampled(scan: Scan, spacing: float) -> Scan:
    target = scan[1].working(spacing)
    return resample(*scan, target), target


def _slices(scan: Scan, first: int, last: int) -> Scan:
    volume, grid = scan
    return volume[:, :, first:last], grid.cropped([0, 0, first], [*grid.shape[:2], last])


def _of(result: InferenceResult, anatomy: str) -> ShapeResult:
    return next(shape for shape in result.shapes if shape.anatomy == anatomy)


def _add(table: Table, name: str, result: InferenceResult) -> None:
    for shape in result.shapes:
        table.add_row(
            name, shape.anatomy, shape.status.value, f'{shape.score:.2f}', shape.reason or ''
        )
    for warning in result.warnings:
        table.add_row(name, '', '', '', warning)
    table.add_section()


if __name__ == '__main__':
    main()
