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


def write_summary(out: Path, names: list[str]) -> None:
    """``summary.csv``: a row per image and anatomy, from the ``result.json`` of every folder."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, extrasaction='ignore', lineterminator='\n')
    table.writeheader()
    for name in names:
        for anatomy, entry in _anatomies(out / name).items():
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


def write_shapeworks(out: Path, names: list[str]) -> None:
    """``project.swproj``: every image with particles, for ShapeWorks Studio."""
    subjects = []
    for name in names:
        domains = {
            anatomy: _domain(out, name, entry)
            for anatomy, entry in _anatomies(out / name).items()
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
