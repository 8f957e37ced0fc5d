"""A rigid motion between two frames."""

from dataclasses import dataclass

import numpy as np

from massm.structures.frame import Frame


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """``matrix`` ``[4, 4]`` (rotation + translation, mm) from ``source`` to ``target``.

    Raises:
        ValueError: the matrix is not a proper rigid motion.
    """

    matrix: np.ndarray
    source: Frame = Frame.PATIENT
    target: Frame = Frame.WORLD

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        rotation = matrix[:3, :3]
        if matrix.shape != (4, 4) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5):
            raise ValueError('a rigid transform needs a 4x4 matrix with an orthonormal rotation')
        if np.linalg.det(rotation) < 0:
            raise ValueError('a rigid transform must not mirror')
        matrix.setflags(write=False)
        object.__setattr__(self, 'matrix', matrix)

    @classmethod
    def from_parts(
        cls,
        rotation: np.ndarray,
        translation: np.ndarray,
        source: Frame = Frame.PATIENT,
        target: Frame = Frame.WORLD,
    ) -> 'RigidTransform':
        """From a ``[3, 3]`` rotation and a ``[3]`` translation (mm): ``x -> rotation x + t``."""
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = translation
        return cls(matrix, source, target)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Moves ``[..., 3]`` points of ``source`` into ``target``."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def inverse(self) -> 'RigidTransform':
        """The motion back."""
        return RigidTransform(np.linalg.inv(self.matrix), self.target, self.source)

    def after(self, first: 'RigidTransform') -> 'RigidTransform':
        """``first`` and then this one.

        Raises:
            ValueError: ``first`` does not end in the frame this one starts from.
        """
        if first.target is not self.source:
            raise ValueError(f'cannot go on from {first.target.value} with {self.source.value}')
        return RigidTransform(self.matrix @ first.matrix, first.source, self.target)
