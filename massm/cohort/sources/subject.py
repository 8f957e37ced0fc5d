"""One subject as a source has it: its image, and its masks in whichever form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from massm.io.detached import data_files
from massm.structures import Grid


@dataclass(frozen=True, eq=False)
class SourceMask:
    """One anatomy's ``mask`` (bool, the image's grid) or ``None`` where the source has none of it;
    ``where`` it was found, for errors; ``remarks`` for people. ``partly``: a part of the volume,
    or none of it, was looked at, so that the anatomy may go on, or be, elsewhere. ``of_map``: it is
    a region of a label map, and may be the same as another region of it."""

    anatomy: str
    mask: np.ndarray | None
    where: str
    remarks: tuple[str, ...] = ()
    partly: bool = False
    of_map: bool = False


class MaskSource(Protocol):
    """Where a subject's masks are. A value, whose ``repr`` is what it makes of its files."""

    def names(self) -> frozenset[str]:
        """The anatomies it may have masks of."""

    def was_looked_at(self) -> bool:
        """Whether anybody looked for anatomies: without a label map, a folder of masks or an
        RTSTRUCT nobody did, and a missing mask says nothing."""

    def files(self, anatomies: Sequence[str]) -> list[Path]:
        """What is read for ``anatomies``; a file may be missing."""

    def read(self, anatomies: Sequence[str], grid: Grid) -> Iterator[SourceMask]:
        """The masks of ``anatomies`` in turn, on the image's ``grid``.

        Raises:
            ImageError: what is there cannot be read, or is no such thing.
        """


@dataclass(frozen=True)
class SourceSubject:
    """A subject's ``id``, ``image`` (a file, or a folder of DICOM slices; the ``series`` in it, or
    the number of its frame, where it holds several) and ``masks``; where the source tells them, its
    ``modality`` and its ``split``."""

    id: str
    image: Path
    masks: MaskSource
    modality: str | None = None
    split: str | None = None
    series: str | int | None = None


def subject_files(subject: SourceSubject, anatomies: Sequence[str]) -> list[Path]:
    """Every file that is read for ``anatomies`` of ``subject``; those in a folder one by one, and
    with a header the files of its voxels."""
    image = sorted(subject.image.rglob('*')) if subject.image.is_dir() else [subject.image]
    files = [*image, *subject.masks.files(anatomies)]
    return files + [file for path in files for file in data_files(path)]
