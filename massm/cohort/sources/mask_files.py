"""A file for each anatomy, named after it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from massm.cohort.source_masks import check_grid
from massm.cohort.sources.subject import SourceMask
from massm.io.nifti import read_mask
from massm.structures import Grid

SUFFIX = '.nii.gz'


@dataclass(frozen=True)
class MaskFiles:
    """``folder/ANATOMY.nii.gz``; an anatomy without a file was not looked at."""

    folder: Path = field(repr=False)

    def names(self) -> frozenset[str]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        found = self.folder.glob(f'*{SUFFIX}')
        return frozenset(p.name.removesuffix(SUFFIX) for p in found if p.name[0] != '.')

    def files(self, anatomies: Sequence[str]) -> list[Path]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        return [self.folder / f'{name}{SUFFIX}' for name in anatomies]

    def read(self, anatomies: Sequence[str], grid: Grid) -> Iterator[SourceMask]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        for name, path in zip(anatomies, self.files(anatomies), strict=True):
            if not path.exists():
                yield SourceMask(name, None, str(path))
                continue
            mask, own = read_mask(path)
            check_grid(own, grid, str(path))
            yield SourceMask(name, mask, str(path))
