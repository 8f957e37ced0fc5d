"""The template of an anatomy as a dataset stores it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from massm.errors import DatasetError, MassmError
from massm.io.meshes import read_mesh
from massm.io.particles import read_particles
from massm.io.records import fingerprint
from massm.shape.pdm import PointDistributionModel
from massm.structures import Mesh

MIRROR_FILE = 'mirror.particles'
# Radians an axis that patients usually differ by.
USUAL_TURN = 0.15


@dataclass(frozen=True, eq=False)
class ShapeTemplate:
    """``local`` ``[M, 3]`` patient mm and ``world`` ``[M, 3]`` world mm particles of the
    template, the registered mean shape; the template's surface (mm); the training shapes' model;
    how far patients' shapes are turned from it, ``rotation_std`` ``[3]`` radians about the
    patient's axes (what is usual, where the dataset does not say)."""

    anatomy: str
    local: np.ndarray
    world: np.ndarray
    mesh: Mesh
    pdm: PointDistributionModel
    rotation_std: np.ndarray = field(default_factory=lambda: np.full(3, USUAL_TURN))

    @property
    def mean_world(self) -> np.ndarray:
        """``[M, 3]``: mean of the training shapes' world particles, mm."""
        return self.pdm.mean


def read_template(root: Path, anatomy: str, particles: int) -> ShapeTemplate:
    """Reads ``root/shapes/ANATOMY``.

    Raises:
        DatasetError: correspondences were not built, or with another number of particles.
    """
    folder = Path(root) / 'shapes' / anatomy
    template = read_template_folder(folder, anatomy)
    count = len(template.local)
    if count != particles:
        raise DatasetError(
            f'{folder / "template.json"}: correspondences have {count} particles, the config asks '
            f'for {particles}; run tools/build_pdm.py {root} --particles {particles} or set '
            f'num_particles = {count}'
        )
    return template


def read_templates(root: Path, anatomies: Iterable[str], particles: int) -> list[ShapeTemplate]:
    """Reads those of several ``anatomies``; see :func:`read_template`."""
    return [read_template(root, name, particles) for name in anatomies]


def read_template_folder(folder: Path, anatomy: str) -> ShapeTemplate:
    """Reads the template of a folder of shapes.

    Raises:
        DatasetError: correspondences were not built.
    """
    path = folder / 'template.json'
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        files = {key: folder / content[key] for key in ('mesh', 'local', 'world')}
        count = int(content['num_particles'])
        turns = content.get('rotation_std', 3 * [USUAL_TURN])
        rotation_std = np.array(turns, dtype=np.float64).reshape(3)
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(
            f'{path}: no usable template ({type(error).__name__}); run tools/build_pdm.py'
        ) from error
    for file in files.values():
        if not file.resolve().is_relative_to(folder.resolve()):
            raise DatasetError(f'{path}: path {file} leaves the dataset; build_pdm again')
    return ShapeTemplate(
        anatomy,
        read_particles(files['local'], count),
        read_particles(files['world'], count),
        read_mesh(files['mesh']),
        PointDistributionModel.load(folder / 'pdm.npz'),
        rotation_std,
    )


def read_mirror_places(root: Path, anatomies: Iterable[str], count: int) -> dict[str, np.ndarray]:
    """``[count, 3]`` world mm by anatomy, of those that have them: where its particles lie on the
    mean surface of its partner, seen in a mirror (:mod:`massm.cohort.mirror_images`).

    Raises:
        DatasetError: a file is broken, or of another number of particles.
    """
    files = {name: Path(root) / 'shapes' / name / MIRROR_FILE for name in anatomies}
    try:
        return {name: read_particles(f, count) for name, f in files.items() if f.is_file()}
    except MassmError as error:
        raise DatasetError(f'{error}; run massm pdm {root} again') from error


def shape_model_digest(templates: Iterable[ShapeTemplate]) -> str:
    """What tells one building of correspondences from another: a digest of every template's
    particles, mean and surface, in order."""
    parts = [
        np.ascontiguousarray(array).tobytes()
        for t in templates
        for array in (t.local, t.world, t.mean_world, t.mesh.vertices, t.mesh.faces)
    ]
    return fingerprint(*parts)
