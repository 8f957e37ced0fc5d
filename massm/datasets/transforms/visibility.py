"""What a spatial step leaves of a sample."""

from typing import Any

import numpy as np

from massm.structures.grid import in_field_of_view


def place_particles(results: dict[str, Any], moved_vox: np.ndarray) -> None:
    """Puts the particles ``[K, M, 3]`` where a spatial step moved them in the new volume; anatomies
    that left it are cut or gone, and files no longer fit."""
    known = (results['has_box'] | results['is_cut'])[:, None, None]
    results['local_vox'] = np.where(known, moved_vox, 0.0).astype(np.float32)
    mark_cut(results)
    leave_files_behind(results)


def mark_cut(results: dict[str, Any]) -> None:
    """Sets the flags of anatomies with particles outside the volume.

    Cut ones are whole no more, but where they were in correspondence it is known where all of
    them is (``is_cut``); the detector's channel counts while the volume shows their middle. Those
    of which nothing is left are known not to be there.
    """
    local, shape = results['local_vox'], results['volume'].shape
    inside = in_field_of_view(local, shape)
    leaves = results['has_box'] & ~inside.all(1)
    cut = results['is_cut'] | (leaves & results['has_shape'])
    gone = (leaves | cut) & ~inside.any(1)
    cut &= ~gone
    middle = (local.min(1) + local.max(1)) / 2
    shows_middle = in_field_of_view(middle[:, None], shape)[:, 0]
    results['is_cut'] = cut
    results['counted'] = np.where(cut, shows_middle, gone | (results['counted'] & ~leaves))
    for key in ('has_box', 'has_shape'):
        results[key] = results[key] & ~leaves


def leave_files_behind(results: dict[str, Any]) -> None:
    """The subject's masks and meshes no longer lie where its volume shows the anatomies.
    ``files_left`` tells such a sample from one that never had any."""
    results['files_left'] = True
    for key in ('mask', 'mesh'):
        results[key] = [None] * len(results['anatomies'])
