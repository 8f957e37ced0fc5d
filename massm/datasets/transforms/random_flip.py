"""Mirroring the patient, where the anatomies allow it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from massm.datasets.transforms.visibility import leave_files_behind
from massm.errors import ConfigError
from massm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomFlip(BaseTransform):
    """Mirrors left and right. A pair swaps names; a midline anatomy keeps its own.

    A mirrored left kidney looks like a right one, but its particles are numbered for the left: the
    flipped sample teaches detection (boxes) and masks, not shape.

    Args:
        pairs: names that swap, e.g. ``[('kidney_left', 'kidney_right')]``.
        midline: names that map onto themselves, e.g. ``['sacrum']``.
        prob: how often it acts.
        unpaired: with an anatomy that is in neither list, ``refuse`` (it may be a liver, which has
            no mirror image) or ``skip`` this step.
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
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draws and applies.

        Raises:
            ConfigError: an anatomy is in neither list, or its partner is not in the model; a
                liver, say, has no mirror image.
        """
        names = results['anatomies']
        for name in names:
            if self.partner.get(name) not in names:
                if self.unpaired == 'skip':
                    return results
                raise ConfigError(
                    f'RandomFlip: {name} has no mirror image among the anatomies; name it in '
                    '`pairs` or `midline`, or take RandomFlip out of the pipeline'
                )
        if results['rng'].random() >= self.prob:
            return results
        order = [names.index(self.partner[name]) for name in names]
        local = results['local_vox'][order].copy()
        local[..., 0] = results['volume'].shape[0] - 1 - local[..., 0]
        results['volume'] = np.ascontiguousarray(results['volume'][::-1])
        if 'masks' in results:
            results['masks'] = np.ascontiguousarray(results['masks'][order, ::-1])
        # What is cut has no box, and its particles are nobody's now.
        results['counted'] = results['counted'] & ~results['is_cut']
        for key in {'has_box', 'counted', 'labelled'} & results.keys():
            results[key] = results[key][order]
        results['has_shape'] = np.zeros(len(order), dtype=bool)
        results['is_cut'] = np.zeros(len(order), dtype=bool)
        results['local_vox'] = np.where(results['has_box'][:, None, None], local, 0.0)
        results['status'] = [results['status'][i] for i in order]
        leave_files_behind(results)
        return results
