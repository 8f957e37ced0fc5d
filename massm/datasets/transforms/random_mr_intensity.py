"""Scanner variation of MR: bias field, contrast, brightness, blur, noise (MONAI's transforms)."""

from massm.datasets.transforms.random_intensity import SeededIntensity
from massm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomMRIntensity(SeededIntensity):
    """Acts on ``volume`` of an MR, 0 without signal and 1000 in bright tissue.

    Args:
        bias: largest coefficient of the bias field's polynomials, in the logarithm.
        gamma: range of the exponent that changes the contrast; mean and spread stay.
        scale: largest relative change of the brightness.
        blur: largest standard deviation of a Gaussian blur, voxels.
        noise: largest standard deviation of added noise.
        prob: how often each of the five acts.
    """

    def __init__(
        self,
        bias: float = 0.2,
        gamma: tuple[float, float] = (0.7, 1.5),
        scale: float = 0.15,
        blur: float = 0.6,
        noise: float = 30.0,
        prob: float = 0.3,
    ) -> None:
        from monai.transforms import (
            Compose,
            RandAdjustContrast,
            RandBiasField,
            RandGaussianNoise,
            RandGaussianSmooth,
            RandScaleIntensity,
        )

        self.steps = Compose(
            [
                RandGaussianSmooth(*[(0.1, blur)] * 3, prob=prob),
                RandBiasField(coeff_range=(-bias, bias), prob=prob),
                RandAdjustContrast(prob=prob, gamma=tuple(gamma), retain_stats=True),
                RandScaleIntensity(scale, prob=prob),
                RandGaussianNoise(prob=prob, std=noise),
            ]
        )
