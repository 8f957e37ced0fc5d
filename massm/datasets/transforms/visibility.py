"""What a spatial step leaves of a sample."""

from typing import Any

import numpy as np

from massm.structures.grid import in_field_of_view


def place_particles(results: dict[str, Any], moved_vox: np.ndarray) -> None:
    """Puts the particles ``[K, M, 3]`` where a spatial step moved them in the new volume; anatomies
    that left it are truncated, and files no longer fit."""
    has_box = results['has_box'][:, None, None]
    results['local_vox'] = np.where(has_box, moved_vox, 0.0).astype(np.float32)
    drop_truncated(results)
    leave_files_behind(results)


def drop_truncated(results: dict[str, Any]) -> None:
    """Clears the flags of anatomies with a particle outside the volume, which are truncated now."""
    inside = in_field_of_view(results['local_vox'], results['volume'].shape).all(1)
    whole = inside | ~results['has_box']
    for key in ('has_box', 'has_shape', 'counted'):
        results[key] = results[key] & whole


def leave_files_behind(results: dict[str, Any]) -> None:
    """The subject's masks and meshes no longer lie where its volume shows the anatomies."""
    for key in ('mask', 'mesh'):
        results[key] = [None] * len(results['anatomies'])
