"""Shapes that an earlier run left in a folder and that are no part of it any more."""

import json
from collections.abc import Collection
from pathlib import Path

from massm.cohort.shape_folder import RegisteredShape
from massm.cohort.shape_records import mesh_file, particle_file, record_of


def shapes_of(folder: Path) -> dict[str, bool]:
    """The shapes that ``stats.json`` of a shape folder knows, and whether each is a training one;
    empty where there is no such file."""
    try:
        quality = json.loads((folder / 'stats.json').read_text(encoding='utf-8'))['quality']
        return {str(name): bool(row.get('train', True)) for name, row in quality.items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def remove_gone(
    folder: Path,
    earlier: dict[str, bool],
    results: list[RegisteredShape],
    kept: Collection[Path] = (),
) -> list[str]:
    """Removes the particles of ``earlier`` shapes that are none of the good ``results``, and their
    meshes unless they are somebody's source.

    Args:
        kept: meshes that stay, since they came from elsewhere.

    Returns:
        The names of those removed.
    """
    good = {r.source.id for r in results if r.failure is None}
    sources = {mesh.resolve() for mesh in (*kept, *(r.source.mesh for r in results))}
    removed = []
    for name in sorted(set(earlier) - good):
        files = [particle_file(folder, frame, name) for frame in ('local', 'world')]
        mesh = mesh_file(folder, name)
        files += [] if mesh.resolve() in sources else [mesh]
        # The record last: what it says of the mesh holds as long as that is there.
        files += [folder / '.mended' / f'{name}.npz', record_of(folder, name)]
        found = [file for file in files if file.is_file() and file.parent.parent == folder]
        for file in found:
            file.unlink()
        if found:
            removed.append(name)
    return removed
