"""Reading a subject's volume and particles."""

from typing import Any

import nibabel
import numpy as np
from mmcv.transforms import BaseTransform

from massm.errors import ShapeError
from massm.io.nifti import map_volume
from massm.io.particles import read_particles
from massm.registry import TRANSFORMS
from massm.structures import Grid


@TRANSFORMS.register_module()
class LoadVolume(BaseTransform):
    """Adds ``volume`` ``[X, Y, Z]`` float32 HU and ``grid`` of the prepared image."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        volume = map_volume(results['image'])
        results['volume'] = np.array(volume, dtype=np.float32)
        results['grid'] = Grid(volume.shape, nibabel.load(results['image']).affine)
        return results


@TRANSFORMS.register_module()
class LoadParticles(BaseTransform):
    """Adds ``local_vox`` ``[K, M, 3]`` and three flags ``[K]``: ``has_box`` (``local_vox`` holds
    points on the whole anatomy, whose extent is its box), ``has_shape`` (and they are in
    correspondence) and ``counted`` (not truncated, so that the detector's channel counts)."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class.

        Raises:
            ShapeError: particles lie outside the volume, so they belong to another one.
        """
        grid, count = results['grid'], results['num_particles']
        local = np.zeros((len(results['local']), count, 3), dtype=np.float32)
        has_shape = np.zeros(len(local), dtype=bool)
        for k, path in enumerate(results['local']):
            if path is None:
                continue
            local[k] = grid.to_voxel(read_particles(path, count))
            has_shape[k] = True
            if (local[k].min(0) < -2).any() or (local[k].max(0) > np.array(grid.shape) + 1).any():
                raise ShapeError(
                    f'{path}: particles lie outside {results["image"]}; they belong to another '
                    'volume, run build_pdm again'
                )
        missing = np.array([status.is_missing for status in results['status']])
        results.update(
            local_vox=local,
            has_box=has_shape.copy(),
            has_shape=has_shape,
            counted=has_shape | missing,
        )
        return results
