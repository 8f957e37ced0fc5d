"""From what a segmentation network draws to surfaces and corresponding particles."""

import numpy as np

from massm.errors import ShapeError
from massm.shape.correspondence_model import CorrespondenceModel
from massm.shape.reconstruction import mesh_from_mask
from massm.structures import Grid


def mask_box(mask: np.ndarray) -> np.ndarray:
    """``[6]``: centre and radius of the voxels of ``mask`` ``[X, Y, Z]`` of which more than half is
    inside, in voxels; zeros where there is none."""
    voxels = np.argwhere(mask > 0.5)
    if not len(voxels):
        return np.zeros(6)
    low, high = voxels.min(0) - 0.5, voxels.max(0) + 0.5
    return np.concatenate([(low + high) / 2, (high - low) / 2])


def mask_particles(mask: np.ndarray, grid: Grid, model: CorrespondenceModel) -> np.ndarray:
    """``[M, 3]`` local particles (patient mm) of the surface of a mask: the fixed ``model`` of its
    anatomy registered to it, as a new subject's reference surface is.

    Args:
        mask: ``[X, Y, Z]`` bool, or shares of voxels, on ``grid``, one component.

    Raises:
        ShapeError: nothing is set, or what is set has no surface that can be registered.
    """
    try:
        return model.register(mesh_from_mask(mask, grid)).local
    except (ValueError, IndexError, np.linalg.LinAlgError) as error:
        voxels = int((mask > 0.5).sum())
        raise ShapeError(f'a mask of {voxels} voxels has no shape ({error})') from error


def mean_shape_at(mask: np.ndarray, grid: Grid, model: CorrespondenceModel) -> np.ndarray:
    """``[M, 3]`` patient mm: the mean shape, unturned, where a mask that has no shape of its own
    lies; in the middle of the volume where nothing is set."""
    mean = model.particles
    voxels = mask_box(mask)[:3] if (mask > 0.5).any() else (np.array(grid.shape) - 1) / 2
    return mean - (mean.min(0) + mean.max(0)) / 2 + grid.to_patient(voxels)
