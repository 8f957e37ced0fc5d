"""A file for each anatomy, named after it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from massm.cohort.source_masks import on_grid
from massm.cohort.sources.images import by_name, is_there, only
from massm.cohort.sources.subject import SourceMask
from massm.io.images import read_labels
from massm.io.nifti import as_mask
from massm.structures import Grid


@dataclass(frozen=True)
class MaskFiles:
    """The volumes of ``folder``, called as their anatomies; one without a file was not looked
    at, unless the source says otherwise; without the folder, none was."""

    folder: Path = field(repr=False)

    def names(self) -> frozenset[str]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        return frozenset(by_name(self.folder))

    def was_looked_at(self) -> bool:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        return self.folder.exists()

    def files(self, anatomies: Sequence[str]) -> list[Path]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        found = by_name(self.folder)
        return [p for name in anatomies for p in found.get(name, [self._usual(name)])]

    def read(self, anatomies: Sequence[str], grid: Grid) -> Iterator[SourceMask]:
        """See :class:`massm.cohort.sources.subject.MaskSource`."""
        found = by_name(self.folder) if is_there(self.folder) else {}
        for name in anatomies:
            path = only(found.get(name, [self._usual(name)]), name)
            if not is_there(path):
                yield SourceMask(name, None, str(path), partly=not self.was_looked_at())
                continue
            values, own, oriented = read_labels(path)
            mask = on_grid(as_mask(values, str(path)), own, grid, str(path), oriented)
            yield SourceMask(name, mask, str(path))

    def _usual(self, name: str) -> Path:
        return self.folder / f'{name}.nii.gz'
