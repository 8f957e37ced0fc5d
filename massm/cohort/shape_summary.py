"""What is made of an anatomy's particles: shape model, statistics, quality, ShapeWorks project."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from massm.cohort.shape_folder import MODEL_RECORD, RegisteredShape, read_world
from massm.io.atomic import replacing, write_text
from massm.io.shapeworks import ProjectDomain, ProjectSubject, write_project
from massm.io.templates import USUAL_TURN
from massm.shape.pdm import PointDistributionModel
from massm.shape.quality import judging_model, outliers
from massm.shape.statistics import compactness, reconstruction_errors, shape_statistics

WARNINGS = {
    'surface_distance_mm': 'lies off its surface',
    'spacing_cv': 'has uneven particles',
    'folded': 'is folded',
}
# A value this many times the median over the subjects is worth a look, if it matters at all.
NOTABLE, MATTERS = 3.0, {'surface_distance_mm': 0.3, 'spacing_cv': 0.25, 'folded': 0.01}

# Of fewer shapes than this a median says nothing of what is usual.
FEW = 5

# How many shapes the usual turn is worth.
AS_IF = 4


def write_summary(
    folder: Path,
    anatomy: str,
    results: list[RegisteredShape],
    fixed_pdm: Path | None = None,
    matrices: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> dict[str, Any]:
    """Writes ``pdm.npz``, ``stats.json``, ``template.json`` and ``project.swproj``.

    Args:
        fixed_pdm: the shape model of a fixed model; else that of the training shapes is made.
        matrices: alignment and procrustes ``[4, 4]`` by subject, of shapes that come from a
            project; else all of the motion is alignment.

    Returns:
        The content of ``stats.json``.
    """
    good = [r for r in results if r.failure is None]
    train = [r.source.id for r in good if r.source.train]
    if fixed_pdm is None:
        pdm, statistics, odd = _made(folder, train)
    else:
        pdm, odd = PointDistributionModel.load(fixed_pdm), set()
        statistics = _fixed_statistics(folder, [r.source.id for r in good], pdm)
    # A fixed model has one mode fewer than shapes that made it.
    judging = judging_model(pdm, len(train) if fixed_pdm is None else len(pdm) + 1)
    with replacing(folder / 'pdm.npz') as temporary:
        pdm.save(temporary)
    stats = {
        'particles': len(pdm.mean),
        'train_shapes': len(train),
        **statistics,
        'mahalanobis_modes': len(judging),
        'quality': quality_table(folder, good, judging, odd),
        'left_out': {r.source.id: r.failure for r in results if r.failure is not None},
    }
    write_text(folder / 'stats.json', json.dumps(stats, indent=1) + '\n')
    turns = _rotation_std([r for r in good if r.source.train or not train])
    _write_template(folder, anatomy, len(pdm.mean), turns)
    rows = [_project_subject(anatomy, r, (matrices or {}).get(r.source.id)) for r in good]
    write_project(folder / 'project.swproj', rows)
    return stats


def _made(
    folder: Path, train: list[str]
) -> tuple[PointDistributionModel, dict[str, Any], set[str]]:
    """The model that the shapes ``train`` make, its statistics, and the outliers among them."""
    world = read_world(folder, train)
    odd = {name for name, is_odd in zip(train, outliers(world)[1], strict=True) if is_odd}
    return PointDistributionModel.fit(world), shape_statistics(world), odd


def _fixed_statistics(
    folder: Path, subjects: list[str], pdm: PointDistributionModel
) -> dict[str, Any]:
    """Of a fixed model and shapes new to it, if any: generalization is how well its first k modes
    rebuild the new shapes; specificity belongs to the shapes it was made of, and is left empty."""
    shapes = read_world(folder, subjects) if subjects else ()
    errors = [reconstruction_errors(pdm, shape) for shape in shapes]
    return {
        'compactness': compactness(pdm).tolist(),
        'generalization': np.mean(errors, axis=0).tolist() if errors else [],
        'generalization_shapes': len(errors),
        'specificity': [],
    }


def quality_table(
    folder: Path, good: list[RegisteredShape], judging: PointDistributionModel, odd: set[str]
) -> dict[str, dict[str, Any]]:
    """Per subject: quality, Mahalanobis distance by the ``judging`` model's modes (``None`` where
    it has none), and ``warnings`` in words; ``odd`` are the outliers."""
    measured = {r.source.id: asdict(r.quality) for r in good if r.quality is not None}
    usual = measured.values() if len(measured) >= FEW else ()
    limits = {
        key: max(least, NOTABLE * float(np.median([m[key] for m in usual] or [0.0])))
        for key, least in MATTERS.items()
    }
    table = {}
    for result in good:
        subject = result.source.id
        quality = measured[subject]
        warnings = [
            f'{words} ({quality[key]:.3g})'
            for key, words in WARNINGS.items()
            if quality[key] > limits[key]
        ]
        if quality['swaps']:
            warnings.append(f'{quality["swaps"]} particles are torn from their neighbours')
        if subject in odd:
            warnings.append('is an outlier among the training shapes')
        distance = judging.mahalanobis(read_world(folder, [subject])[0])
        table[subject] = {
            **quality,
            'mahalanobis': float(distance) if len(judging) else None,
            'train': result.source.train,
            'warnings': warnings,
            'mended': list(result.remarks),
        }
    return table


def _rotation_std(results: list[RegisteredShape]) -> list[float]:
    """``[3]`` radians about the patient's axes: how far shapes are turned from the mean shape, root
    mean square; of few shapes, nearer to what is usual."""
    motions = [r.patient_to_world.matrix[:3, :3] for r in results if r.patient_to_world is not None]
    turns = Rotation.from_matrix(np.reshape(motions, (-1, 3, 3))).as_rotvec()
    squares = (turns**2).sum(0) + AS_IF * USUAL_TURN**2
    return np.sqrt(squares / (len(turns) + AS_IF)).round(4).tolist()


def _write_template(folder: Path, anatomy: str, particles: int, turns: list[float]) -> None:
    try:
        medoid = json.loads((folder / MODEL_RECORD).read_text(encoding='utf-8'))['medoid']
    except (OSError, KeyError, ValueError):
        medoid = None
    description = {
        'anatomy': anatomy,
        'subject': medoid,
        'num_particles': particles,
        'rotation_std': turns,
        'mesh': 'template.ply',
        'local': 'template.particles',
        'world': 'template.particles',
    }
    write_text(folder / 'template.json', json.dumps(description, indent=1) + '\n')


def _project_subject(
    anatomy: str, result: RegisteredShape, matrices: tuple[np.ndarray, np.ndarray] | None
) -> ProjectSubject:
    assert result.patient_to_world is not None
    alignment, procrustes = matrices or (result.patient_to_world.matrix, np.eye(4))
    subject = result.source.id
    mesh = f'meshes/{subject}.ply'
    domain = ProjectDomain(
        mesh,
        mesh,
        *(f'{frame}/{subject}.particles' for frame in ('local', 'world')),
        alignment=alignment,
        procrustes=procrustes,
    )
    return ProjectSubject(subject, {anatomy: domain}, result.source.groups)
