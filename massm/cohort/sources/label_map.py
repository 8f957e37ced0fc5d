"""All anatomies in one file, each by a value of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation

from massm.cohort.source_masks import on_grid
from massm.cohort.sources.images import is_there
from massm.cohort.sources.label_table import IGNORE, Table
from massm.cohort.sources.subject import SourceMask
from massm.errors import ImageError
from massm.io.images import read_labels
from massm.structures import Grid

# Values may be off whole numbers by this: float files.
ROUNDING = 1e-3
SHOWN = 6


@dataclass(frozen=True)
class LabelMap:
    """The label map ``path`` and what its values mean: ``table`` gives each anatomy's. A value that
    is nowhere in the map says no more than a missing mask file does. Voxels of the label ``ignore``
    were not looked at; without the map, none was."""

    path: Path = field(repr=False)
    table: Table

    def names(self) -> frozenset[str]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        return frozenset(name for name, _ in self.table) - {IGNORE}

    def was_looked_at(self) -> bool:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        return self.path.exists()

    def files(self, anatomies: Sequence[str]) -> list[Path]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        return [self.path]

    def read(self, anatomies: Sequence[str], grid: Grid) -> Iterator[SourceMask]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        if not is_there(self.path):
            where = str(self.path)
            yield from (SourceMask(name, None, where, partly=True) for name in anatomies)
            return
        labels, present = self._labels(grid)
        values = dict(self.table)
        known = {value for several in values.values() for value in several}
        strange = sorted(present - known - {0})
        remarks = [f'{self.path.name}: values {_listed(strange)} are in no table'] * bool(strange)
        ignored = np.isin(labels, values.get(IGNORE, ()))
        for name in anatomies:
            own = set(values.get(name, ())) & present
            where = f'{self.path} (value {", ".join(map(str, values.get(name, ())))})'
            mask = np.isin(labels, list(own)) if own else None
            partly = _meet(mask, ignored)
            yield SourceMask(name, mask, where, tuple(remarks), partly, of_map=True)
            remarks = []

    def _labels(self, grid: Grid) -> tuple[np.ndarray, set[int]]:
        volume, own, oriented = read_labels(self.path)
        volume = on_grid(volume, own, grid, str(self.path), oriented)
        is_whole = volume.dtype.kind in 'iu'
        labels = volume if is_whole else np.round(volume).astype(np.int64)
        if volume.min() < 0 or np.abs(volume - labels).max() > ROUNDING:
            shown = ', '.join(f'{v:.4g}' for v in np.unique(volume)[:SHOWN])
            raise ImageError(
                f'{self.path}: values are {shown}, ...; a label map holds whole numbers from 0 up: '
                'export it again without interpolation or scaling'
            )
        present = set(np.unique(labels).tolist())
        if 0 not in present:
            raise ImageError(
                f'{self.path}: no voxel is 0, the background; is this the image, or a label map '
                'of another convention?'
            )
        return labels, present


def _meet(mask: np.ndarray | None, ignored: np.ndarray) -> bool:
    """Whether an anatomy may go on in what nobody looked at; one that is nowhere may be there."""
    if mask is None or not ignored.any():
        return bool(ignored.any())
    return bool((binary_dilation(mask) & ignored).any())


def _listed(values: list[int]) -> str:
    more = ', ...' if len(values) > SHOWN else ''
    return ', '.join(map(str, values[:SHOWN])) + more
