"""Shapes that an earlier run left in a folder and that are no part of it any more."""

import json
from pathlib import Path

from massm.cohort.shape_folder import RegisteredShape, particle_file


def shapes_of(folder: Path) -> dict[str, bool]:
    """The shapes that ``stats.json`` of a shape folder knows, and whether each is a training one;
    empty where there is no such file."""
    try:
        quality = json.loads((folder / 'stats.json').read_text(encoding='utf-8'))['quality']
        return {str(name): bool(row.get('train', True)) for name, row in quality.items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def remove_gone(
    folder: Path, earlier: dict[str, bool], results: list[RegisteredShape]
) -> list[str]:
    """Removes the particles of ``earlier`` shapes that are none of the good ``results``, and their
    meshes unless they are somebody's source.

    Returns:
        The names of those removed.
    """
    good = {r.source.id for r in results if r.failure is None}
    sources = {r.source.mesh.resolve() for r in results}
    removed = []
    for name in sorted(set(earlier) - good):
        files = [particle_file(folder, frame, name) for frame in ('local', 'world')]
        files += [folder / 'local' / f'.{name}.json', folder / '.mended' / f'{name}.npz']
        mesh = folder / 'meshes' / f'{name}.ply'
        files += [] if mesh.resolve() in sources else [mesh]
        found = [file for file in files if file.is_file() and file.parent.parent == folder]
        for file in found:
            file.unlink()
        if found:
            removed.append(name)
    return removed
