"""Which of an image's own values are black and white in a picture of it."""

import numpy as np

from massm.cohort.intensities import mr_scale
from massm.structures.modality import MODALITIES


def grey_range(volume: np.ndarray, modality: str) -> tuple[float, float]:
    """Black and white of a scan as its file has it: soft tissue in HU, or an MR's tissue."""
    if modality == 'mr':
        scale = mr_scale(volume)
        return scale.low, scale.high
    return MODALITIES[modality].shown
