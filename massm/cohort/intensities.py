"""What the values of a scan mean: HU as they are, an MR by the tissue that it shows.

An MR's numbers depend on coil, sequence and vendor. The one scale here is found on the working
volume, so that preparing a dataset and inference find the same, however much background a file
holds and in whatever numbers it is stored.
"""

from dataclasses import dataclass

import numpy as np

from massm.structures.modality import BRIGHT

# Of all voxels: what is brighter is a vessel or a spike; this share of it is signal and no noise
# (as FSL's robust threshold has it).
BRIGHTEST, SIGNAL = 99.5, 0.1
# Of the voxels with signal, per cent: what becomes BRIGHT.
BRIGHT_TISSUE = 98.0
# Below zero only where somebody shifted the values (z-scores): per cent of all voxels.
DARKEST = 0.5


@dataclass(frozen=True)
class MRScale:
    """The values ``low`` (no signal) and ``high`` (bright tissue) of an MR, and from which value a
    voxel has ``signal``."""

    low: float
    high: float
    signal: float

    def apply(self, volume: np.ndarray) -> np.ndarray:
        """``volume`` with ``low`` at 0 and ``high`` at :data:`BRIGHT`, float32."""
        factor = np.float32(BRIGHT / (self.high - self.low))
        return (np.asarray(volume, dtype=np.float32) - np.float32(self.low)) * factor


def no_signal(volume: np.ndarray) -> float:
    """The value of an MR where nothing is: 0, unless the values were shifted."""
    return min(0.0, float(np.percentile(volume, DARKEST)))


def mr_scale(volume: np.ndarray, low: float | None = None) -> MRScale:
    """The scale of an MR.

    Args:
        volume: ``[X, Y, Z]``, any unit.
        low: see :func:`no_signal`, by default of this volume.
    """
    low = no_signal(volume) if low is None else low
    signal = low + SIGNAL * (float(np.percentile(volume, BRIGHTEST)) - low)
    tissue = volume[volume > signal]
    # Nothing but a few spikes: they are all there is.
    high = float(np.percentile(tissue, BRIGHT_TISSUE)) if len(tissue) else low
    if not high > low:
        high = max(float(volume.max()), low + 1e-6 * max(1.0, abs(low)))
    return MRScale(low, high, signal)
