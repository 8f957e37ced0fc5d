"""Mirroring the patient, where the anatomies allow it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from massm.datasets.transforms.visibility import leave_files_behind
from massm.errors import ConfigError, DatasetError
from massm.io.names import partner_name
from massm.registry import TRANSFORMS
from massm.shape.surface_warp import SurfaceWarp


@TRANSFORMS.register_module()
class RandomFlip(BaseTransform):
    """Mirrors left and right. A pair swaps names; a midline anatomy keeps its own.

    A mirrored left kidney is a right one; where a right one's particles lie on it, ``massm pdm``
    has found (:mod:`massm.cohort.mirror_images`).

    Args:
        pairs: names that swap, e.g. ``[('kidney_left', 'kidney_right')]``.
        midline: names that map onto themselves, e.g. ``['sacrum']``.
        prob: how often it acts.
        unpaired: with an anatomy that is in neither list, ``refuse`` (it may be a liver, which has
            no mirror image) or ``skip`` this step.

    Raises:
        ConfigError: ``unpaired`` is neither, or names of a pair do not differ by left and right.
    """

    def __init__(
        self,
        pairs: Sequence[Sequence[str]] = (),
        midline: Sequence[str] = (),
        prob: float = 0.5,
        unpaired: str = 'refuse',
    ) -> None:
        if unpaired not in ('refuse', 'skip'):
            raise ConfigError(f'RandomFlip: unpaired is refuse or skip, got {unpaired!r}')
        self.unpaired = unpaired
        self.partner = {name: name for name in midline}
        for left, right in pairs:
            self.partner.update({left: right, right: left})
        for name, partner in self.partner.items():
            if partner != partner_name(name):
                raise ConfigError(
                    f'RandomFlip: {name} is no mirror image of {partner}; names of a pair differ '
                    'by left and right, names in the midline have neither'
                )
        self.prob = prob
        self._carriers: dict[str, SurfaceWarp] = {}

    def check(self, names: Sequence[str], mirror_places: Mapping[str, np.ndarray]) -> bool:
        """Whether a sample with anatomies ``names`` can be mirrored.

        Raises:
            ConfigError: an anatomy is in neither list, or its partner is not in the model; a
                liver, say, has no mirror image.
            DatasetError: it is not known where an anatomy's particles lie on a mirror image.
        """
        for name in names:
            if self.partner.get(name) not in names:
                if self.unpaired == 'skip':
                    return False
                raise ConfigError(
                    f'RandomFlip: {name} has no mirror image among the anatomies; name it in '
                    '`pairs` or `midline`, or take RandomFlip out of the pipeline'
                )
            if name not in mirror_places:
                raise DatasetError(
                    f'RandomFlip: the dataset does not say where the particles of {name} lie on a '
                    'mirror image; run massm pdm on it again (where it has generated patients, on '
                    'the dataset it came from, and augment that again), or take RandomFlip out of '
                    'the pipeline'
                )
        return True

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draws and applies.

        Raises:
            ConfigError, DatasetError: see :meth:`check`.
        """
        names = results['anatomies']
        if not self.check(names, results['mirror_places']):
            return results
        if results['rng'].random() >= self.prob:
            return results
        order = [names.index(self.partner[name]) for name in names]
        local = np.stack([self._mirrored(results, k, i) for k, i in enumerate(order)])
        for key in {'has_box', 'has_shape', 'is_cut', 'counted', 'labelled'} & results.keys():
            results[key] = results[key][order]
        results['local_vox'] = local
        results['volume'] = np.ascontiguousarray(results['volume'][::-1])
        if 'masks' in results:
            results['masks'] = np.ascontiguousarray(results['masks'][order, ::-1])
        results['status'] = [results['status'][i] for i in order]
        leave_files_behind(results)
        return results

    def _mirrored(self, results: dict[str, Any], k: int, i: int) -> np.ndarray:
        """``[M, 3]`` voxels: the particles of the ``k``-th anatomy on the mirror image of the
        ``i``-th, zeros where they are not known."""
        local = results['local_vox'][i]
        if not (results['has_box'] | results['is_cut'])[i]:
            return np.zeros_like(local)
        mirrored = self._carrier(results, k, i).apply(local).astype(local.dtype)
        mirrored[:, 0] = results['volume'].shape[0] - 1 - mirrored[:, 0]
        return mirrored

    def _carrier(self, results: dict[str, Any], k: int, i: int) -> SurfaceWarp:
        name = results['anatomies'][k]
        if name not in self._carriers:
            places = results['mirror_places'][name]
            self._carriers[name] = SurfaceWarp(places, results['template_world'][i])
        return self._carriers[name]
