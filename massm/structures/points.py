"""Points with the frame they live in."""

from dataclasses import dataclass

import numpy as np

from massm.structures.frame import Frame


@dataclass(frozen=True, eq=False)
class PointSet:
    """``xyz`` ``[M, 3]`` float64 in ``frame``.

    Raises:
        ValueError: the array is not ``[M, 3]`` or holds a value that is not finite.
    """

    xyz: np.ndarray
    frame: Frame

    def __post_init__(self) -> None:
        xyz = np.array(self.xyz, dtype=np.float64)
        if xyz.ndim != 2 or xyz.shape[1] != 3:
            raise ValueError(f'points must be [M, 3], got {xyz.shape}')
        if not np.isfinite(xyz).all():
            raise ValueError('points must be finite; a coordinate is NaN or infinite')
        xyz.setflags(write=False)
        object.__setattr__(self, 'xyz', xyz)

    def __len__(self) -> int:
        return len(self.xyz)
