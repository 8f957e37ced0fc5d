"""A smaller field of view, as scans have."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from massm.datasets.transforms.visibility import place_particles
from massm.registry import TRANSFORMS

# Of the axes, the one that scans end on: from below to above.
UPWARDS = 2
# Shares of an anatomy's height that a scan's end hides of it.
HIDDEN = (0.1, 0.6)
# Voxels that are left of a volume at least.
LEAST_HEIGHT = 12


@TRANSFORMS.register_module()
class RandomFieldOfView(BaseTransform):
    """Cuts up to ``max_cut`` (share of the size) off both ends of each axis, or lets the scan end
    within an anatomy. What is cut is known to be cut (:func:`mark_cut`).

    Args:
        max_cut: largest share cut off one end.
        prob: how often it acts.
        through: how often, instead, the lower or upper end lies within an anatomy in
            correspondence, so that a tenth to six tenths of its height are hidden.
    """

    def __init__(self, max_cut: float = 0.15, prob: float = 0.3, through: float = 0.0) -> None:
        self.max_cut, self.prob, self.through = max_cut, prob, through

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """First and one-past-last voxel kept, each ``[3]``."""
        cut = rng.uniform(0, self.max_cut, (2, 3)) * np.array(shape)
        return cut[0].astype(int), np.array(shape) - cut[1].astype(int)

    def sample_through(self, results: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Through an anatomy; the whole volume where there is none or little were left."""
        rng, shape = results['rng'], results['volume'].shape
        first, last = np.zeros(3, dtype=int), np.array(shape)
        known = np.flatnonzero(results['has_shape'])
        if len(known) == 0:
            return first, last
        height = results['local_vox'][rng.choice(known), :, UPWARDS]
        low, high, hidden = height.min(), height.max(), rng.uniform(*HIDDEN)
        if rng.random() < 0.5:
            last[UPWARDS] = min(int(high - hidden * (high - low)) + 1, shape[UPWARDS])
        else:
            first[UPWARDS] = max(int(np.ceil(low + hidden * (high - low))), 0)
        if last[UPWARDS] - first[UPWARDS] < LEAST_HEIGHT:
            return np.zeros(3, dtype=int), np.array(shape)
        return first, last

    def apply(self, results: dict[str, Any], first: np.ndarray, last: np.ndarray) -> dict[str, Any]:
        """Keeps voxels ``first`` to ``last`` and moves the particles' origin along."""
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        for key in {'volume', 'masks'} & results.keys():
            results[key] = np.ascontiguousarray(results[key][(..., *box)])
        place_particles(results, results['local_vox'] - first.astype(np.float32))
        return results

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draws and applies."""
        drawn = results['rng'].random()
        if drawn < self.through:
            return self.apply(results, *self.sample_through(results))
        if drawn >= self.through + self.prob:
            return results
        return self.apply(results, *self.sample(results['rng'], results['volume'].shape))
