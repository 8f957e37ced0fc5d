"""What an inference run writes of all its images together: a table and a ShapeWorks project."""

import csv
import io
from collections.abc import Collection
from pathlib import Path

from massm.inference.earlier_results import read_result, result_folders
from massm.io.atomic import write_text
from massm.io.particles import read_particles
from massm.io.shapeworks import ProjectDomain, ProjectSubject, write_project
from massm.shape.alignment import rigid_fit

COLUMNS = (
    'subject', 'anatomy', 'status', 'reason', 'score', 'seen_share', 'volume_ml', 'surface_cm2',
    'axis1_mm', 'axis2_mm', 'axis3_mm', 'mahalanobis', 'uncertainty_mm',
    'volume_percentile', 'z1', 'z2', 'z3',
)  # fmt: skip


Found = dict[str, dict[str, dict]]


def write_cohort_files(out: Path, failed: Collection[str] = ()) -> None:
    """Writes ``summary.csv`` and ``project.swproj`` from the ``result.json`` of every folder of
    ``out``, those of earlier runs too; not of the ``failed``, whose earlier result is of an image
    that is there no more."""
    found = {n: _anatomies(out / n) for n in result_folders(out) if n not in failed}
    _write_summary(out, found)
    _write_shapeworks(out, found)


def _write_summary(out: Path, found: Found) -> None:
    """A row per image and anatomy."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, extrasaction='ignore', lineterminator='\n')
    table.writeheader()
    for name, anatomies in found.items():
        for anatomy, entry in anatomies.items():
            scores = entry.get('z_scores', [])
            table.writerow(
                {
                    **entry,
                    'subject': name,
                    'anatomy': anatomy,
                    'volume_percentile': (entry.get('percentiles') or {}).get('volume_ml'),
                    **{f'z{i}': z for i, z in enumerate(scores[:3], 1)},
                }
            )
    write_text(out / 'summary.csv', text.getvalue())


def _write_shapeworks(out: Path, found: Found) -> None:
    """Every image with particles, for ShapeWorks Studio."""
    subjects = []
    for name, anatomies in found.items():
        domains = {
            anatomy: _domain(out, name, entry)
            for anatomy, entry in anatomies.items()
            if _is_whole(out / name, entry)
        }
        if domains:
            subjects.append(ProjectSubject(name, domains))
    if subjects:
        write_project(out / 'project.swproj', subjects)
    else:
        (out / 'project.swproj').unlink(missing_ok=True)


def _is_whole(folder: Path, entry: dict) -> bool:
    files = [entry.get(key) for key in ('local', 'world', 'mesh')]
    return all(file and (folder / file).is_file() for file in files)


def _domain(out: Path, name: str, entry: dict) -> ProjectDomain:
    local, world = (read_particles(out / name / entry[key]) for key in ('local', 'world'))
    alignment = rigid_fit(local, world).matrix
    mesh, local_file, world_file = (f'{name}/{entry[key]}' for key in ('mesh', 'local', 'world'))
    return ProjectDomain(mesh, mesh, local_file, world_file, alignment)


def _anatomies(folder: Path) -> dict[str, dict]:
    return (read_result(folder) or {}).get('anatomies', {})
