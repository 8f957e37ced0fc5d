"""The template of an anatomy as a dataset stores it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from massm.errors import DatasetError
from massm.io.meshes import read_mesh
from massm.io.particles import read_particles
from massm.shape.pdm import PointDistributionModel
from massm.structures import Mesh


@dataclass(frozen=True, eq=False)
class ShapeTemplate:
    """``local`` ``[M, 3]`` patient mm and ``world`` ``[M, 3]`` world mm particles of the medoid,
    ``mean_world`` ``[M, 3]`` of the training shapes, and the medoid's surface (patient mm)."""

    anatomy: str
    local: np.ndarray
    world: np.ndarray
    mean_world: np.ndarray
    mesh: Mesh


def read_template(root: Path, anatomy: str, particles: int) -> ShapeTemplate:
    """Reads ``root/shapes/ANATOMY``.

    Raises:
        DatasetError: correspondences were not built, or with another number of particles.
    """
    folder = Path(root) / 'shapes' / anatomy
    path = folder / 'template.json'
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        files = {key: folder / content[key] for key in ('mesh', 'local', 'world')}
        count = int(content['num_particles'])
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(
            f'{path}: no usable template ({type(error).__name__}); run tools/build_pdm.py {root}'
        ) from error
    if count != particles:
        raise DatasetError(
            f'{path}: correspondences have {count} particles, the config asks for {particles}; '
            f'run tools/build_pdm.py {root} --particles {particles} or set num_particles = {count}'
        )
    for file in files.values():
        if not file.resolve().is_relative_to(folder.resolve()):
            raise DatasetError(f'{path}: path {file} leaves the dataset; build_pdm again')
    return ShapeTemplate(
        anatomy,
        read_particles(files['local'], particles),
        read_particles(files['world'], particles),
        PointDistributionModel.load(folder / 'pdm.npz').mean,
        read_mesh(files['mesh']),
    )
