"""Mirror images of a dataset's anatomies on disk: ``shapes/ANATOMY/mirror.particles``, where the
particles of an anatomy lie on the mean surface of its partner (left for right) or, in the midline,
on its own (:mod:`massm.shape.mirror`)."""

from pathlib import Path

import numpy as np

from massm.cohort.manifest import Manifest
from massm.cohort.shape_folder import MODEL_FILE, load_model
from massm.errors import MassmError
from massm.io.names import partner_name
from massm.io.particles import write_particles
from massm.io.records import fingerprint, read_record, write_record
from massm.io.templates import MIRROR_FILE
from massm.shape.mirror import mirror_places
from massm.shape.population import TaskRunner

CODE_VERSION = 1
RECORD = '.mirror.json'


def write_mirror_images(manifest: Manifest, run: TaskRunner) -> None:
    """Finds those of all anatomies whose partner has correspondences too; what holds is kept."""
    shapes = manifest.root / 'shapes'
    pairs = [(name, partner_name(name)) for name in manifest.templates]
    pairs = [(name, partner) for name, partner in pairs if partner in manifest.templates]
    run('mirror images', _write_one, [(shapes / name, shapes / partner) for name, partner in pairs])


def forget_mirror_images(root: Path, anatomy: str) -> None:
    """Removes those that no longer hold when ``anatomy`` gets other particles: its own and its
    partner's."""
    for name in (anatomy, partner_name(anatomy)):
        (root / 'shapes' / name / MIRROR_FILE).unlink(missing_ok=True)


def _write_one(folder: Path, partner: Path) -> None:
    models = folder / MODEL_FILE, partner / MODEL_FILE
    if not all(path.is_file() for path in models):  # of particles that came from elsewhere
        return
    digest = fingerprint(CODE_VERSION, partner.name, *[path.read_bytes() for path in models])
    if read_record(folder / RECORD, digest) is not None and (folder / MIRROR_FILE).is_file():
        return
    try:
        places = mirror_places(load_model(folder), load_model(partner))
    except (MassmError, np.linalg.LinAlgError):
        # A liver's mirror image may be no liver at all; nothing needs it.
        (folder / MIRROR_FILE).unlink(missing_ok=True)
        return
    write_particles(folder / MIRROR_FILE, places)
    write_record(folder / RECORD, digest, {'partner': partner.name})
