"""Contours of a radiotherapy plan, in a DICOM file beside the slices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from massm.cohort.sources.subject import SourceMask
from massm.errors import ImageError
from massm.io.rtstruct import read_structures, structure_mask
from massm.structures import Grid


@dataclass(frozen=True)
class StructureSet:
    """The RTSTRUCT files ``paths`` of a subject, of which there may be one; without any nobody
    looked, and as a rule neither where it does not name an anatomy or draws none of it."""

    paths: tuple[Path, ...] = field(repr=False)

    def names(self) -> frozenset[str]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        found: set[str] = set()
        for path in self.paths:
            try:
                found |= read_structures(path).contours.keys()
            except ImageError:  # told when the subject is read
                continue
        return frozenset(found)

    def was_looked_at(self) -> bool:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        return bool(self.paths)

    def files(self, anatomies: Sequence[str]) -> list[Path]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        return list(self.paths)

    def read(self, anatomies: Sequence[str], grid: Grid) -> Iterator[SourceMask]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        if len(self.paths) > 1:
            listed = ', '.join(path.name for path in self.paths[:3])
            raise ImageError(
                f'{self.paths[0].parent}: holds {len(self.paths)} RTSTRUCT files ({listed}); keep '
                'the one that counts'
            )
        contours = read_structures(self.paths[0]).contours if self.paths else {}
        for name in anatomies:
            where = f'{self.paths[0] if self.paths else "no RTSTRUCT"} ({name})'
            drawn = contours.get(name)
            mask = structure_mask(drawn, grid, where) if drawn else None
            if mask is not None and not mask.any():
                # Drawn and not there is neither absent nor present.
                remark = f'{where}: no voxel lies inside its contours, taken as not contoured'
                yield SourceMask(name, None, where, (remark,), partly=True)
                continue
            yield SourceMask(name, mask, where, partly=not self.was_looked_at())
