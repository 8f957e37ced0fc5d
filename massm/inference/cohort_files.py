"""What an inference run writes of all its images together: a table and a ShapeWorks project."""

import csv
import io
from pathlib import Path

from massm.inference.earlier_results import COHORT_FILES, read_result, result_folders
from massm.io.atomic import write_text
from massm.io.names import some_of
from massm.io.particles import read_particles
from massm.io.shapeworks import ProjectDomain, ProjectSubject, write_project
from massm.shape.alignment import rigid_fit
from massm.structures import AnatomyStatus

COLUMNS = (
    'subject', 'anatomy', 'status', 'reason', 'score', 'seen_share', 'volume_ml', 'surface_cm2',
    'axis1_mm', 'axis2_mm', 'axis3_mm', 'mahalanobis', 'mahalanobis_usual',
    'uncertainty_mm', 'volume_percentile', 'z1', 'z2', 'z3', 'model',
)  # fmt: skip


# The contents of ``result.json`` by the name of its folder.
Found = dict[str, dict]


def write_cohort_files(out: Path, correspondences: str | None = None) -> list[str]:
    """Writes ``summary.csv`` of every result in ``out``, whichever run wrote it, and
    ``project.swproj`` of those whose particles mean the same points and were all seen.

    Args:
        correspondences: of the model whose results make the project
            (:class:`massm.inference.model_identity.ModelIdentity`); ``None`` for results that do
            not tell.

    Returns:
        What the project leaves out, and why.
    """
    found = {name: read_result(out / name) or {} for name in result_folders(out)}
    if not found and not (out / COHORT_FILES[0]).exists():
        return []
    _write_summary(out, found)
    own = {n: result for n, result in found.items() if _correspondences(result) == correspondences}
    extrapolated = _write_shapeworks(out, own)
    left_out = {
        'of another model, or not told of which': [name for name in found if name not in own],
        'extrapolated in part (truncated)': extrapolated,
    }
    return [
        f'{out / COHORT_FILES[1]}: left out, {why}: {some_of(names)}'
        for why, names in left_out.items()
        if names
    ]


def _write_summary(out: Path, found: Found) -> None:
    """A row per image and anatomy."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, extrasaction='ignore', lineterminator='\n')
    table.writeheader()
    for name, result in found.items():
        for anatomy, entry in result['anatomies'].items():
            scores = entry.get('z_scores', [])
            table.writerow(
                {
                    **entry,
                    'subject': name,
                    'anatomy': anatomy,
                    'volume_percentile': (entry.get('percentiles') or {}).get('volume_ml'),
                    **{f'z{i}': z for i, z in enumerate(scores[:3], 1)},
                    'model': _model(result).get('name'),
                }
            )
    write_text(out / 'summary.csv', text.getvalue())


def _write_shapeworks(out: Path, found: Found) -> list[str]:
    """Every image with particles, for ShapeWorks Studio; what is extrapolated would shape the
    statistics as if it had been seen.

    Returns:
        The extrapolated shapes, which are left out.
    """
    subjects, extrapolated = [], []
    for name, result in found.items():
        domains = {}
        for anatomy, entry in result['anatomies'].items():
            if not _is_whole(out / name, entry):
                continue
            if entry['status'] == AnatomyStatus.TRUNCATED.value:
                extrapolated.append(f'{name} {anatomy}')
            else:
                domains[anatomy] = _domain(out, name, entry)
        if domains:
            subjects.append(ProjectSubject(name, domains))
    if subjects:
        write_project(out / 'project.swproj', subjects)
    else:
        (out / 'project.swproj').unlink(missing_ok=True)
    return extrapolated


def _is_whole(folder: Path, entry: dict) -> bool:
    files = [entry.get(key) for key in ('local', 'world', 'mesh')]
    return all(file and (folder / file).is_file() for file in files)


def _domain(out: Path, name: str, entry: dict) -> ProjectDomain:
    local, world = (read_particles(out / name / entry[key]) for key in ('local', 'world'))
    alignment = rigid_fit(local, world).matrix
    mesh, local_file, world_file = (f'{name}/{entry[key]}' for key in ('mesh', 'local', 'world'))
    return ProjectDomain(mesh, mesh, local_file, world_file, alignment)


def _model(result: dict) -> dict:
    """What a result tells of its model; those of earlier versions tell nothing."""
    return result.get('model') or {}


def _correspondences(result: dict) -> str | None:
    return _model(result).get('correspondences')
