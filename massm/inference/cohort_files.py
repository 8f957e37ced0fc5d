"""What an inference run writes of all its images together: a table and a ShapeWorks project."""

import csv
import io
import json
from pathlib import Path

from massm.io.atomic import write_text
from massm.io.particles import read_particles
from massm.io.shapeworks import ProjectDomain, ProjectSubject, write_project
from massm.shape.alignment import rigid_fit

COLUMNS = (
    'subject', 'anatomy', 'status', 'reason', 'score', 'seen_share', 'volume_ml', 'surface_cm2',
    'axis1_mm', 'axis2_mm', 'axis3_mm', 'mahalanobis', 'volume_percentile', 'z1', 'z2', 'z3',
)  # fmt: skip


Found = dict[str, dict[str, dict]]


def write_cohort_files(out: Path, names: list[str]) -> None:
    """Writes ``summary.csv`` and ``project.swproj`` from the ``result.json`` of every folder."""
    found = {name: _anatomies(out / name) for name in names}
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
            if 'local' in entry and 'mesh' in entry
        }
        if domains:
            subjects.append(ProjectSubject(name, domains))
    if subjects:
        write_project(out / 'project.swproj', subjects)


def _domain(out: Path, name: str, entry: dict) -> ProjectDomain:
    local, world = (read_particles(out / name / entry[key]) for key in ('local', 'world'))
    alignment = rigid_fit(local, world).matrix
    mesh, local_file, world_file = (f'{name}/{entry[key]}' for key in ('mesh', 'local', 'world'))
    return ProjectDomain(mesh, mesh, local_file, world_file, alignment)


def _anatomies(folder: Path) -> dict[str, dict]:
    return json.loads((folder / 'result.json').read_text(encoding='utf-8'))['anatomies']
