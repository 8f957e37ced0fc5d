"""After a spatial step, an anatomy that left the field of view is truncated."""

from typing import Any

import numpy as np


def drop_truncated(results: dict[str, Any]) -> None:
    """Clears ``has_shape`` and ``counted`` of anatomies with a particle outside the volume."""
    local, shape = results['local_vox'], np.array(results['volume'].shape)
    outside = ((local < -0.5) | (local > shape - 0.5)).any((1, 2)) & results['has_shape']
    results['has_shape'] = results['has_shape'] & ~outside
    results['counted'] = results['counted'] & ~outside
