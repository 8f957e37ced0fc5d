"""What inference says of one image, and how it is written."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from massm.io.atomic import write_text
from massm.io.meshes import write_mesh
from massm.io.nifti import write_volume
from massm.io.particles import write_particles
from massm.shape.surface import voxelise
from massm.structures import AnatomyStatus, Grid, Mesh

RESULT_FORMAT, RESULT_VERSION = 'massm-result', 1


@dataclass(frozen=True, eq=False)
class ShapeResult:
    """One anatomy: ``local_mm`` ``[M, 3]`` and ``mesh`` in patient mm, ``world_mm`` ``[M, 3]``;
    ``box_mm`` ``[8, 3]`` the corners of its box."""

    anatomy: str
    status: AnatomyStatus
    score: float
    local_mm: np.ndarray
    world_mm: np.ndarray
    mesh: Mesh
    box_mm: np.ndarray

    @property
    def is_present(self) -> bool:
        """Whether anything was found."""
        return not self.status.is_missing


@dataclass(frozen=True, eq=False)
class InferenceResult:
    """All anatomies of one image, in the geometry of the input file (``grid``)."""

    source: str
    grid: Grid
    shapes: list[ShapeResult]


def write_result(folder: Path, result: InferenceResult) -> None:
    """Writes ``local/`` and ``world/ANATOMY.particles``, ``meshes/ANATOMY.ply``,
    ``labels.nii.gz`` in the input's geometry and, last, ``result.json``."""
    labels = np.zeros(result.grid.shape, dtype=np.uint8)
    for number, shape in enumerate(result.shapes, 1):
        if not shape.is_present:
            continue
        write_particles(folder / 'local' / f'{shape.anatomy}.particles', shape.local_mm)
        write_particles(folder / 'world' / f'{shape.anatomy}.particles', shape.world_mm)
        write_mesh(folder / 'meshes' / f'{shape.anatomy}.ply', shape.mesh)
        labels[voxelise(shape.mesh, result.grid)] = number
    write_volume(folder / 'labels.nii.gz', labels, result.grid)
    write_text(folder / 'result.json', json.dumps(_to_json(result), indent=1) + '\n')


def _to_json(result: InferenceResult) -> dict:
    anatomies = {}
    for number, shape in enumerate(result.shapes, 1):
        entry: dict = {'status': shape.status.value, 'score': round(shape.score, 4)}
        if shape.is_present:
            entry.update(
                label=number,
                volume_ml=round(shape.mesh.volume() / 1000, 3),
                surface_cm2=round(shape.mesh.area() / 100, 3),
                box_corners_mm=shape.box_mm.round(3).tolist(),
                local=f'local/{shape.anatomy}.particles',
                world=f'world/{shape.anatomy}.particles',
                mesh=f'meshes/{shape.anatomy}.ply',
            )
        anatomies[shape.anatomy] = entry
    return {
        'format': RESULT_FORMAT,
        'version': RESULT_VERSION,
        'image': result.source,
        'frame': 'patient mm, RAS+',
        'labels': 'labels.nii.gz',
        'anatomies': anatomies,
    }
