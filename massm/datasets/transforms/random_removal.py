"""An anatomy taken out, as after surgery: what is there, not where it should be, says it is."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from scipy.ndimage import binary_dilation, gaussian_filter

from massm.errors import ConfigError
from massm.io.nifti import read_mask
from massm.registry import TRANSFORMS
from massm.structures import AnatomyStatus


@TRANSFORMS.register_module()
class RandomRemoval(BaseTransform):
    """Fills one whole anatomy with a tissue that borders on it and makes it absent, so that a
    detector learns absence from more than the few subjects who lack something. Comes before
    spatial steps, while the masks still fit. Shapes that came without a mask stay.

    Args:
        prob: how often it acts.
        rim: thickness of the layer around it that a value is drawn from, voxels.
    """

    def __init__(self, prob: float = 0.5, rim: int = 2) -> None:
        self.prob, self.rim = prob, rim

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draws an anatomy and removes it.

        Raises:
            ConfigError: a spatial step came before, so that no mask fits any more.
        """
        rng = results['rng']
        if rng.random() >= self.prob or not results['has_box'].any():
            return results
        if results.get('files_left', False):
            raise ConfigError(
                f'RandomRemoval: no mask fits {results["id"]} after a spatial step; move '
                'RandomRemoval before flips, warps and crops in the pipeline'
            )
        has_mask = np.array([path is not None for path in results['mask']])
        removable = np.flatnonzero(results['has_box'] & has_mask)
        if len(removable) == 0:
            return results
        k = int(rng.choice(removable))
        mask, _ = read_mask(results['mask'][k])
        inside = binary_dilation(mask)
        rim = binary_dilation(inside, iterations=self.rim) & ~inside
        tissue = rng.choice(results['volume'][rim])
        texture = gaussian_filter(rng.normal(0, 60, mask.shape).astype(np.float32), 1.0)
        texture += rng.normal(0, 15, mask.shape).astype(np.float32)
        results['volume'][inside] = tissue + texture[inside]
        results['has_box'][k] = results['has_shape'][k] = False
        results['local_vox'][k] = 0.0
        if 'masks' in results:
            results['masks'][k] = 0
        results['status'] = [
            AnatomyStatus.ABSENT if i == k else s for i, s in enumerate(results['status'])
        ]
        return results
