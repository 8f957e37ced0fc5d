"""The three coordinate frames of the package."""

from enum import Enum


class Frame(str, Enum):
    """Where a coordinate lives.

    ``PATIENT``: mm, RAS+, the target space of the input file's affine.
    ``VOXEL``: fractional index into the network's input volume; voxel centres are integers.
    ``WORLD``: mm, shape space after rigid alignment to the template (the paper's word).
    """

    PATIENT = 'patient'
    VOXEL = 'voxel'
    WORLD = 'world'
