"""What is kept of one shape for the next run, ``local/.ID.json``: what it was made from, what came
of it, and the digests of its files, so that no other's are taken for its own."""

import json
from pathlib import Path
from typing import Any

from massm.io.digest import file_digest
from massm.io.records import read_record, write_record

# The fingerprints of shapes that were not made here, and of those that are being made.
IMPORTED, BEGUN = 'imported', 'begun'


def particle_file(folder: Path, frame: str, subject: str) -> Path:
    """The particles of ``subject`` in ``frame`` (``local`` or ``world``)."""
    return folder / frame / f'{subject}.particles'


def mesh_file(folder: Path, subject: str) -> Path:
    """The surface of ``subject``."""
    return folder / 'meshes' / f'{subject}.ply'


def record_of(folder: Path, subject: str) -> Path:
    """The record of ``subject``."""
    return folder / 'local' / f'.{subject}.json'


def begin_shape_record(folder: Path, subject: str) -> None:
    """Has a shape's record say, if nothing does yet, that a build writes its files."""
    if not record_of(folder, subject).is_file():
        write_record(record_of(folder, subject), BEGUN, {'in_place': False})


def write_shape_record(folder: Path, subject: str, digest: str, content: dict[str, Any]) -> None:
    """Writes what came of a shape whose files were written before, with their digests."""
    files = {name: file_digest(file) for name, file in _files(folder, subject).items()}
    write_record(record_of(folder, subject), digest, {**content, 'files': files})


def read_shape_record(folder: Path, subject: str, digest: str) -> dict[str, Any] | None:
    """What came of a shape in an earlier run; ``None`` where there is none, something it was made
    from has changed, or its particles are not those that were written. A record of before digests
    were kept gets those of the files it finds."""
    content = read_record(record_of(folder, subject), digest)
    files = _files(folder, subject)
    particles = [name for name in files if name != 'mesh']
    if content is None or not all(files[name].is_file() for name in particles):
        return None
    if 'files' not in content:
        if files['mesh'].is_file():
            write_shape_record(folder, subject, digest, content)
        return content
    same = all(content['files'].get(name) == file_digest(files[name]) for name in particles)
    return content if same else None


def is_surface_of(folder: Path, subject: str, mesh: Path) -> bool:
    """Whether ``mesh`` holds the surface that the shape's particles were laid on, so far as its
    record tells."""
    try:
        return _stored(folder, subject)['files']['mesh'] == file_digest(mesh)
    except (OSError, KeyError, TypeError, ValueError):
        return False


def is_in_place(folder: Path, subject: str) -> bool | None:
    """Whether the surface of a shape in the folder is the file that it was read from, which no
    build wrote; ``None`` where its record does not say, or there is none."""
    try:
        return _stored(folder, subject).get('in_place')
    except (OSError, AttributeError, ValueError):
        return None


def mark_in_place(folder: Path, subject: str) -> None:
    """Has a record of before records said so say that the shape's surface is in place."""
    content = _stored(folder, subject)
    write_record(record_of(folder, subject), content['fingerprint'], {**content, 'in_place': True})


def surfaces_in_place(folder: Path) -> list[Path]:
    """The surfaces in a folder that no build wrote, so far as the records tell: those that shapes
    were read from, and those of no shape."""
    return [
        mesh
        for mesh in sorted((folder / 'meshes').glob('[!.]*.ply'))
        if is_in_place(folder, mesh.stem) or not record_of(folder, mesh.stem).is_file()
    ]


def _stored(folder: Path, subject: str) -> dict[str, Any]:
    return json.loads(record_of(folder, subject).read_text(encoding='utf-8'))


def forget_shapes(folder: Path) -> None:
    """Removes the records of all shapes of a folder, whose particles are others from now on."""
    for record in (folder / 'local').glob('.*.json'):
        record.unlink()


def _files(folder: Path, subject: str) -> dict[str, Path]:
    particles = {frame: particle_file(folder, frame, subject) for frame in ('local', 'world')}
    return {'mesh': mesh_file(folder, subject), **particles}
