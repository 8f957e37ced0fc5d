"""An anatomy taken out, as after surgery: what is there, not where it should be, says it is."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from scipy.ndimage import binary_dilation, gaussian_filter

from massm.io.nifti import read_mask
from massm.registry import TRANSFORMS
from massm.structures import AnatomyStatus


@TRANSFORMS.register_module()
class RandomRemoval(BaseTransform):
    """Fills one whole anatomy with the tissue around it and makes it absent, so that a detector
    learns absence from more than the few subjects who lack something. Comes before spatial steps,
    while the mask still fits.

    Args:
        prob: how often it acts.
        rim: thickness of the layer around it whose values fill it, voxels.
    """

    def __init__(self, prob: float = 0.3, rim: int = 2) -> None:
        self.prob, self.rim = prob, rim

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draws an anatomy and removes it."""
        rng = results['rng']
        whole = np.flatnonzero(results['has_shape'])
        if rng.random() >= self.prob or len(whole) == 0:
            return results
        k = int(rng.choice(whole))
        mask, _ = read_mask(results['mask'][k])
        inside = binary_dilation(mask)
        rim = binary_dilation(inside, iterations=self.rim) & ~inside
        low, high = np.sort(rng.choice(results['volume'][rim], 2))
        mixed = rng.uniform(low, high, int(inside.sum())).astype(np.float32)
        filled = np.full(mask.shape, (low + high) / 2, dtype=np.float32)
        filled[inside] = mixed
        smooth = gaussian_filter(filled, 1.0)
        results['volume'][inside] = smooth[inside] + 15 * rng.standard_normal(len(mixed))
        results['has_shape'][k] = False
        results['local_vox'][k] = 0.0
        results['status'] = [
            AnatomyStatus.ABSENT if i == k else s for i, s in enumerate(results['status'])
        ]
        return results
