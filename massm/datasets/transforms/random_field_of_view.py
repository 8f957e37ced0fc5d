"""A smaller field of view, as scans have."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from massm.datasets.transforms.visibility import place_particles
from massm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomFieldOfView(BaseTransform):
    """Cuts up to ``max_cut`` (share of the size) off both ends of each axis; anatomies that are
    cut become truncated and are not learnt from.

    Args:
        max_cut: largest share cut off one end.
        prob: how often it acts.
    """

    def __init__(self, max_cut: float = 0.15, prob: float = 0.3) -> None:
        self.max_cut, self.prob = max_cut, prob

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """First and one-past-last voxel kept, each ``[3]``."""
        cut = rng.uniform(0, self.max_cut, (2, 3)) * np.array(shape)
        return cut[0].astype(int), np.array(shape) - cut[1].astype(int)

    def apply(self, results: dict[str, Any], first: np.ndarray, last: np.ndarray) -> dict[str, Any]:
        """Keeps voxels ``first`` to ``last`` and moves the particles' origin along."""
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        for key in {'volume', 'masks'} & results.keys():
            results[key] = np.ascontiguousarray(results[key][(..., *box)])
        place_particles(results, results['local_vox'] - first.astype(np.float32))
        return results

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draws and applies."""
        if results['rng'].random() >= self.prob:
            return results
        return self.apply(results, *self.sample(results['rng'], results['volume'].shape))
