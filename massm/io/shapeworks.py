"""ShapeWorks project files (``.swproj``, JSON).

Frame: the shipped left-atrium project's ``alignment_1`` takes local to world particles as written,
with no change of sign, so matrices and particles of one project share one frame. ShapeWorks keeps
the frame of the meshes it was given; ours are RAS+ mm, and a project written here stays in RAS+.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from massm.io.atomic import write_text


@dataclass(frozen=True)
class ProjectSubject:
    """One row of a project: paths relative to the project file, and local-to-world ``[4, 4]``."""

    name: str
    mesh: str
    local: str
    world: str
    alignment: np.ndarray


def write_project(path: Path, subjects: list[ProjectSubject]) -> None:
    """Writes a one-domain project that ShapeWorks Studio 6 opens."""
    rows = [_row(subject) for subject in subjects]
    project = {'data': rows, 'project': {'version': '2'}, 'groomed': {}, 'optimize': {}}
    write_text(path, json.dumps(project, indent=4))


def _row(subject: ProjectSubject) -> dict[str, str]:
    return {
        'name': subject.name,
        'shape_1': subject.mesh,
        'groomed_1': subject.mesh,
        'local_particles_1': subject.local,
        'world_particles_1': subject.world,
        'alignment_1': ' '.join(f'{value:.9g}' for value in subject.alignment.ravel()),
        'procrustes_1': ' '.join(f'{value:.6f}' for value in np.eye(4).ravel()),
    }
