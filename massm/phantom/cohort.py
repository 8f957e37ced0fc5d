"""Writes a phantom cohort in the TotalSegmentator layout, true correspondences beside the masks."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from massm.io.atomic import write_text
from massm.io.meshes import write_mesh
from massm.io.nifti import write_volume
from massm.io.particles import write_particles
from massm.io.records import fingerprint, read_record, write_record
from massm.ops import sample_volume
from massm.phantom import anatomy
from massm.phantom.deformation import (
    Deformation,
    Modes,
    draw_deformation,
    population_modes,
)
from massm.shape.reconstruction import touches_edge
from massm.structures import Grid, Mesh

CANONICAL_SPACING = 3.0
HALF_FIELD = np.array([176.0, 122.0, 158.0])
ABSENT_RATE = 0.05
FIELD_SPREAD = np.array([14.0, 4.0, 14.0])
CUT_RATES = {'top': 0.10, 'bottom': 0.14, 'left': 0.05}


@dataclass(frozen=True, eq=False)
class Canon:
    """The canonical thorax on a grid: ``fields`` ``[1 + K, X, Y, Z]`` are the background's HU and
    the organs' signed distances (mm); ``meshes`` the organs' true surfaces; ``modes`` how a
    population varies."""

    grid: Grid
    fields: torch.Tensor
    meshes: dict[str, Mesh]
    modes: Modes


def make_cohort(
    out: Path, subjects: int, seed: int = 0, spacing: float = 4.0, jobs: int = -1
) -> Iterator[str]:
    """Writes ``subjects`` phantoms under ``out``; yields each subject's id when it is on disk.

    The same seed gives the same cohort whatever ``jobs`` is. Of another cohort in ``out`` nothing
    stays; of an earlier, perhaps larger or interrupted run of the same one, no further subject.
    """
    _clear(out, subjects, seed, spacing)
    canon = build_canon(np.random.default_rng([seed, 0]))
    for name, mesh in canon.meshes.items():
        write_mesh(out / 'canonical' / f'{name}.ply', mesh)
    yield from Parallel(n_jobs=jobs, return_as='generator', mmap_mode='r')(
        delayed(_write_subject)(
            out / f's{i:04d}', canon, np.random.default_rng([seed, 1, i]), spacing
        )
        for i in range(subjects)
    )
    write_text(out / 'meta.csv', _meta(subjects))


def _clear(out: Path, subjects: int, seed: int, spacing: float) -> None:
    """Removes what the cohort now made would not replace: without ``meta.csv`` first, what is
    interrupted is no cohort with a split."""
    (out / 'meta.csv').unlink(missing_ok=True)
    record, digest = out / 'canonical' / 'cohort.json', fingerprint(seed, float(spacing))
    is_same = read_record(record, digest) is not None
    for folder in sorted(out.glob('s[0-9]*')):
        number = folder.name.removeprefix('s')
        # True correspondences are what no patient's folder has.
        is_phantom = number.isdigit() and (folder / 'correspondences').is_dir()
        if is_phantom and not (is_same and int(number) < subjects):
            shutil.rmtree(folder)
    write_record(record, digest, {'seed': seed, 'spacing': spacing})


def build_canon(generator: np.random.Generator) -> Canon:
    """Rasterises the canonical thorax and draws the population's modes."""
    shape = np.ceil((anatomy.HIGH - anatomy.LOW) / CANONICAL_SPACING).astype(int) + 1
    affine = np.diag([CANONICAL_SPACING] * 3 + [1.0])
    affine[:3, 3] = anatomy.LOW
    grid = Grid(tuple(shape), affine)
    points = grid.to_patient(np.stack(np.indices(grid.shape), -1).astype(float))
    fields = [anatomy.background(points)]
    meshes = {}
    for name, distance in anatomy.ORGANS.items():
        fields.append(distance(points))
        vertices, faces, _, _ = marching_cubes(fields[-1], 0.0, step_size=2)
        meshes[name] = _outward(Mesh(grid.to_patient(vertices.astype(float)), faces.copy()))
    modes = population_modes({k: m.vertices for k, m in meshes.items()}, generator)
    return Canon(grid, torch.as_tensor(np.stack(fields), dtype=torch.float32), meshes, modes)


def _outward(mesh: Mesh) -> Mesh:
    return mesh if mesh.volume() > 0 else Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())


def _write_subject(
    folder: Path, canon: Canon, generator: np.random.Generator, spacing: float
) -> str:
    deformation = draw_deformation(canon.modes, generator)
    grid = _field_of_view(generator, spacing)
    absent = {n for n in anatomy.ANATOMIES if generator.random() < ABSENT_RATE}
    ct, masks = _render(canon, deformation, grid, absent, generator)
    # Of an anatomy that was whole in an earlier version there may be some, and are none now.
    shutil.rmtree(folder / 'correspondences', ignore_errors=True)
    (folder / 'correspondences').mkdir(parents=True)
    write_volume(folder / 'ct.nii.gz', ct, grid)
    for name, mask in masks.items():
        write_volume(folder / 'segmentations' / f'{name}.nii.gz', mask.astype(np.uint8), grid)
        if mask.any() and not touches_edge(mask):
            truth = deformation.apply(canon.meshes[name].vertices)
            write_particles(folder / 'correspondences' / f'{name}.particles', truth)
    return folder.name


def _field_of_view(generator: np.random.Generator, spacing: float) -> Grid:
    low = -HALF_FIELD - generator.uniform(0, 1, 3) * FIELD_SPREAD
    high = HALF_FIELD + generator.uniform(0, 1, 3) * FIELD_SPREAD
    if generator.random() < CUT_RATES['top']:
        high[2] = generator.uniform(75, 105)
    if generator.random() < CUT_RATES['bottom']:
        low[2] = generator.uniform(-115, -95)
    if generator.random() < CUT_RATES['left']:
        low[0] = generator.uniform(-110, -95)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = low
    shape = np.round((high - low) / spacing).astype(int)
    return Grid(tuple(shape), affine)


def _render(
    canon: Canon,
    deformation: Deformation,
    grid: Grid,
    absent: set[str],
    generator: np.random.Generator,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """CT (int16 HU) and masks on ``grid``; twice supersampled, so that a voxel at a boundary
    holds the mean of its tissues."""
    fields = _warped_fields(canon, deformation, grid)
    hu = fields[0] + _table(grid)
    blood = generator.normal(0, 30) + generator.normal(0, 12, len(anatomy.ANATOMIES))
    masks = {}
    for k, name in enumerate(anatomy.ANATOMIES):
        if name in absent:
            masks[name] = np.zeros(grid.shape, dtype=bool)
            continue
        inside = np.clip(0.5 - fields[1 + k] / 1.5, 0, 1)
        spread = blood[k] if name.startswith('heart') else 0.3 * blood[k]
        hu += inside * (anatomy.ORGAN_HU[name] + spread - hu)
        masks[name] = _pool((fields[1 + k] < 0).astype(np.float32)) >= 0.5
    ct = _pool(hu) + _noise(grid.shape, generator)
    return np.clip(np.round(ct), -1024, 3071).astype(np.int16), masks


def _warped_fields(canon: Canon, deformation: Deformation, grid: Grid) -> np.ndarray:
    """``[1 + K, 2X, 2Y, 2Z]`` the canonical fields seen from the subject's grid."""
    fine = tuple(2 * n for n in grid.shape)
    coarse = [np.linspace(-0.25, n - 0.75, max(2, n // 2)) for n in grid.shape]
    points = grid.to_patient(np.stack(np.meshgrid(*coarse, indexing='ij'), -1))
    canonical = deformation.invert(points.reshape(-1, 3)).reshape(points.shape)
    positions = torch.as_tensor(canon.grid.to_voxel(canonical), dtype=torch.float32)
    dense = torch.nn.functional.interpolate(
        positions.permute(3, 0, 1, 2)[None], size=fine, mode='trilinear', align_corners=True
    ).permute(0, 2, 3, 4, 1)
    return sample_volume(canon.fields[None], dense)[0].numpy()


def _table(grid: Grid) -> np.ndarray:
    """What the scanner's table adds to the background, ``[2X, 2Y, 2Z]`` HU."""
    fine = [np.linspace(-0.25, n - 0.75, 2 * n) for n in grid.shape]
    x = grid.affine[0, 0] * fine[0] + grid.affine[0, 3]
    y = grid.affine[1, 1] * fine[1] + grid.affine[1, 3]
    slab = (np.abs(x)[:, None] < 165) & (np.abs(y + 127 - 0.0006 * x[:, None] ** 2) < 4)
    return np.broadcast_to(slab[:, :, None] * 700.0, tuple(2 * n for n in grid.shape))


def _pool(volume: np.ndarray) -> np.ndarray:
    return torch.nn.functional.avg_pool3d(torch.as_tensor(volume)[None, None].float(), 2)[
        0, 0
    ].numpy()


def _noise(shape: tuple[int, int, int], generator: np.random.Generator) -> np.ndarray:
    white = generator.standard_normal(shape)
    grain = gaussian_filter(white, 0.6)
    return 16 * grain / grain.std() + 6 * generator.standard_normal(shape)


def _meta(subjects: int) -> str:
    """A fixed split: the last sixth tests, the sixth before that validates (at least one each)."""
    part = max(1, subjects // 6)
    rows = ['image_id;split']
    for i in range(subjects):
        split = 'test' if i >= subjects - part else 'val' if i >= subjects - 2 * part else 'train'
        rows.append(f's{i:04d};{split}')
    return '\n'.join(rows) + '\n'
