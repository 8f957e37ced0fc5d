"""Reading a subject's volume and particles."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from mmcv.transforms import BaseTransform

from massm.errors import ShapeError
from massm.io.nifti import map_volume, read_mask
from massm.io.particles import read_particles
from massm.registry import TRANSFORMS
from massm.structures import Grid
from massm.structures.grid import in_field_of_view

# Voxels that particles may lie outside of their volume: surfaces are smooth, voxels are not.
JUT_VOXELS = 1.5


def particles_in_volume(path: Path, count: int, grid: Grid) -> np.ndarray:
    """``[count, 3]`` local particles in voxels of ``grid``.

    Raises:
        ShapeError: not such a file, or particles lie outside the volume: they belong to another.
    """
    points = grid.to_voxel(read_particles(path, count))
    if not in_field_of_view(points, grid.shape, JUT_VOXELS).all():
        raise ShapeError(
            f'{path}: particles lie outside of the volume; they belong to another: run massm pdm '
            'again, or, if they were imported, import a project in the frame of the scans (RAS mm)'
        )
    return points


@TRANSFORMS.register_module()
class LoadVolume(BaseTransform):
    """Adds ``volume`` ``[X, Y, Z]`` float32, in the modality's unit, and ``grid`` of the
    prepared image."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        volume = map_volume(results['image'])
        results['volume'] = np.array(volume, dtype=np.float32)
        results['grid'] = Grid(volume.shape, nibabel.load(results['image']).affine)
        return results


@TRANSFORMS.register_module()
class LoadParticles(BaseTransform):
    """Adds ``local_vox`` ``[K, M, 3]`` and four flags ``[K]``: ``has_box`` (``local_vox`` holds
    points on the whole anatomy, whose extent is its box), ``has_shape`` (and they are in
    correspondence), ``is_cut`` (the volume shows a part of it, and where all of it is is known from
    before it was cut) and ``counted`` (it is known whether the volume shows it, so that the
    detector's channel counts)."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        grid, count = results['grid'], results['num_particles']
        local = np.zeros((len(results['local']), count, 3), dtype=np.float32)
        has_shape = np.zeros(len(local), dtype=bool)
        for k, path in enumerate(results['local']):
            if path is None:
                continue
            local[k] = particles_in_volume(path, count, grid)
            has_shape[k] = True
        missing = np.array([status.is_missing for status in results['status']])
        results.update(
            local_vox=local,
            has_box=has_shape.copy(),
            has_shape=has_shape,
            is_cut=np.zeros_like(has_shape),
            counted=has_shape | missing,
        )
        return results


@TRANSFORMS.register_module()
class LoadMasks(BaseTransform):
    """Adds ``masks`` ``[K, X, Y, Z]`` uint8 in {0, 1} (the share of a voxel that is inside, where a
    later step interpolates) and ``labelled`` ``[K]``: whether the mask says where the anatomy is.
    Truncated anatomies are labelled, absent ones too (with zeros), those that nobody contoured are
    not."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        masks = np.zeros((len(results['mask']), *results['volume'].shape), dtype=np.uint8)
        for k, path in enumerate(results['mask']):
            if path is not None:
                masks[k] = read_mask(path)[0]
        results['masks'] = masks
        # Shapes may come without a mask: then nothing is known of it.
        results['labelled'] = np.array(
            [
                path is not None or status.is_missing
                for path, status in zip(results['mask'], results['status'], strict=True)
            ]
        )
        return results
