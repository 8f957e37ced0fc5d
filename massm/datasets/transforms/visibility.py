"""What a spatial step leaves of a sample."""

from typing import Any

import numpy as np


def drop_truncated(results: dict[str, Any]) -> None:
    """Clears the flags of anatomies with a particle outside the volume, which are truncated now."""
    local, shape = results['local_vox'], np.array(results['volume'].shape)
    whole = ~((local < -0.5) | (local > shape - 0.5)).any((1, 2)) | ~results['has_box']
    for key in ('has_box', 'has_shape', 'counted'):
        results[key] = results[key] & whole


def leave_files_behind(results: dict[str, Any]) -> None:
    """The subject's masks and meshes no longer lie where its volume shows the anatomies."""
    for key in ('mask', 'mesh'):
        results[key] = [None] * len(results['anatomies'])
