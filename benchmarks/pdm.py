"""Correspondences of a folder of surfaces: time, memory and every quality number.

Examples:
  python benchmarks/pdm.py $MASSM_TEST_DATA/spleen_meshes --particles 128 1024 --same-axes
  python benchmarks/pdm.py $MASSM_TEST_DATA/left_atrium_shapeworks/groomed --particles 128 --turn
  python benchmarks/pdm.py $MASSM_TEST_DATA/spleen_meshes --weights 0 0.1 0.3 1 3 10 --same-axes
  python benchmarks/pdm.py DATASET/shapes/spleen/meshes --truth SOURCE --same-axes

The first row pays for starting the worker processes. Surface distance is the mean of both ways
between a subject and the mean surface warped by its particles; generalization leaves one shape
out; the truth column is how far the places that one particle marks lie from each other, mm, when
they are carried to the first subject by the true correspondences, which a phantom's SOURCE holds.
"""

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from massm.commands.tasks import task_runner
from massm.io.meshes import SUFFIXES, read_mesh
from massm.io.particles import read_particles
from massm.shape.correspondence_model import CorrespondenceModel, CorrespondingShape
from massm.shape.population import PopulationSettings, build_population
from massm.shape.quality import Quality, measure
from massm.shape.repair import repair_surface
from massm.shape.statistics import generalization
from massm.structures import Mesh


def main() -> None:
    """Builds once per number of particles and weight, and prints a row for each."""
    args = _arguments()
    files = sorted(f for f in args.meshes.iterdir() if f.suffix.lower() in SUFFIXES)
    meshes = [repair_surface(read_mesh(file))[0] for file in files]
    if args.turn:
        meshes = [_turned(mesh, i) for i, mesh in enumerate(meshes)]
    name = f'{args.meshes.resolve().parent.name}.particles'
    truth = (
        [read_particles(args.truth / f.stem / 'correspondences' / name) for f in files]
        if args.truth
        else []
    )
    table = Table(
        *('particles', 'weight', 'seconds', 'new s', 'GiB', 'surface', 'worst', 'hd95'),
        *('particle', 'CV', 'folded %', 'worst', 'gen 1/5/10', 'swaps', 'truth'),
        title=f'{args.meshes.name}: {len(meshes)} shapes{", turned" if args.turn else ""}, mm',
    )
    with task_runner(args.jobs) as run:
        for particles in args.particles:
            for weight in args.weights:
                settings = PopulationSettings(particles, weight, any_pose=not args.same_axes)
                start = time.perf_counter()
                model, shapes, _ = build_population(meshes, settings, run)
                seconds = time.perf_counter() - start
                table.add_row(*_row(model, shapes, meshes, seconds), _truth(shapes, truth))
    Console(width=150).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('meshes', type=Path)
    parser.add_argument('--particles', type=int, nargs='+', default=[128, 1024])
    parser.add_argument('--weights', type=float, nargs='+', default=[PopulationSettings.weight])
    parser.add_argument('--same-axes', action='store_true')
    parser.add_argument('--turn', action='store_true', help='each by a random rotation first')
    parser.add_argument('--truth', type=Path, help='folder of a phantom, whose meshes these are')
    parser.add_argument('--jobs', type=int, default=-1)
    return parser.parse_args()


def _turned(mesh: Mesh, seed: int) -> Mesh:
    return mesh.with_vertices(mesh.vertices @ Rotation.random(random_state=seed).as_matrix().T)


def _row(
    model: CorrespondenceModel,
    shapes: list[CorrespondingShape],
    meshes: list[Mesh],
    seconds: float,
) -> list[str]:
    found = [_quality(model, shape, mesh) for shape, mesh in zip(shapes, meshes, strict=True)]
    errors = generalization(np.stack([shape.world for shape in shapes]))
    fixed = replace(model)
    fixed.register(meshes[0])
    start = time.perf_counter()
    fixed.register(meshes[-1])
    new = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def values(name: str) -> np.ndarray:
        return np.array([getattr(q, name) for q in found])

    surface, folded = values('surface_distance_mm'), 100 * values('folded')
    return [
        str(len(model.particles)),
        f'{model.weight:g}',
        f'{seconds:.1f}',
        f'{new:.2f}',
        f'{peak / 2**20:.2f}',
        f'{surface.mean():.3f}',
        f'{surface.max():.3f}',
        f'{values("hausdorff95_mm").max():.2f}',
        f'{values("particle_distance_mm").max():.4f}',
        f'{values("spacing_cv").mean():.3f}',
        f'{folded.mean():.2f}',
        f'{folded.max():.2f}',
        ' / '.join(f'{errors[k]:.2f}' for k in (0, 4, 9) if k < len(errors)),
        str(int(values('swaps').sum())),
    ]


def _quality(model: CorrespondenceModel, shape: CorrespondingShape, mesh: Mesh) -> Quality:
    posed = mesh.with_vertices(shape.patient_to_world.apply(mesh.vertices))
    return measure(shape.world, posed, model.surface, model.warp, model.particles)


def _truth(shapes: list[CorrespondingShape], truth: list[np.ndarray]) -> str:
    """Each particle's place among the true points of its subject, looked up in the first subject's,
    against the mean of those places."""
    if not truth:
        return '-'
    carried = []
    for shape, points in zip(shapes, truth, strict=True):
        distance, near = cKDTree(points).query(shape.local, k=4)
        weights = 1 / (distance + 1e-3)
        weights /= weights.sum(1, keepdims=True)
        carried.append(np.einsum('mk,mkx->mx', weights, truth[0][near]))
    places = np.stack(carried)
    return f'{np.linalg.norm(places - places.mean(0), axis=-1).mean():.2f}'


if __name__ == '__main__':
    main()
