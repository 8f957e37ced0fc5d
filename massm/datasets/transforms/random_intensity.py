"""Scanner variation: contrast, offset, blur, noise (MONAI's array transforms)."""

from typing import TYPE_CHECKING, Any

import numpy as np
from mmcv.transforms import BaseTransform

from massm.registry import TRANSFORMS

if TYPE_CHECKING:
    from monai.transforms import Compose


class SeededIntensity(BaseTransform):
    """MONAI's random ``steps`` on ``volume``, drawn by the sample's own generator."""

    steps: 'Compose'

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Seeds MONAI's transforms from the sample's generator and applies them."""
        self.steps.set_random_state(seed=int(results['rng'].integers(2**31)))
        results['volume'] = np.asarray(self.steps(results['volume'][None])[0], dtype=np.float32)
        return results


@TRANSFORMS.register_module()
class RandomIntensity(SeededIntensity):
    """Acts on ``volume`` in HU.

    Args:
        noise: largest standard deviation of added noise, HU.
        shift: largest offset, HU.
        scale: largest relative change of the values.
        blur: largest standard deviation of a Gaussian blur, voxels.
        prob: how often each of the four acts.
    """

    def __init__(
        self,
        noise: float = 30.0,
        shift: float = 30.0,
        scale: float = 0.1,
        blur: float = 0.6,
        prob: float = 0.3,
    ) -> None:
        from monai.transforms import (
            Compose,
            RandGaussianNoise,
            RandGaussianSmooth,
            RandScaleIntensity,
            RandShiftIntensity,
        )

        self.steps = Compose(
            [
                RandGaussianSmooth(*[(0.1, blur)] * 3, prob=prob),
                RandScaleIntensity(scale, prob=prob),
                RandShiftIntensity(shift, prob=prob),
                RandGaussianNoise(prob=prob, std=noise),
            ]
        )
