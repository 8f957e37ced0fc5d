"""The folder that a dataset is prepared in: what must not be written over."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from massm.cohort.earlier_dataset import record_file
from massm.cohort.manifest import Manifest
from massm.cohort.shape_records import record_of
from massm.errors import DatasetError


def check_links(out: Path, anatomies: Sequence[str]) -> None:
    """Refuses folders in ``out`` that lead out of it, where no command would read their files.

    Raises:
        DatasetError: see above.
    """
    names = ['images', 'masks', 'shapes']
    for anatomy in anatomies:
        names += [f'masks/{anatomy}', f'shapes/{anatomy}', f'shapes/{anatomy}/meshes']
    for folder in (out / name for name in names):
        if not folder.resolve().is_relative_to(out.resolve()):
            raise DatasetError(
                f'{folder}: leads out of the dataset, to {folder.resolve()}, where no file of it '
                'may lie; move that folder here, or have the link be to the whole dataset'
            )


def check_not_theirs(
    out: Path, ids: Sequence[str], anatomies: Sequence[str], earlier: Manifest | None
) -> None:
    """Refuses to write over files of subjects that no command began to write in ``out`` and that
    the ``earlier`` dataset does not name.

    Raises:
        DatasetError: see above.
    """
    named = set() if earlier is None else set(_named(earlier))
    new = [subject for subject in ids if not record_file(out, subject).is_file()]
    for subject in new:
        files = [f'images/{subject}.nii', *(f'masks/{a}/{subject}.nii.gz' for a in anatomies)]
        files += [
            f'shapes/{a}/meshes/{subject}.ply'
            for a in anatomies
            if not record_of(out / 'shapes' / a, subject).is_file()
        ]
        for file in files:
            if file not in named and (out / file).exists():
                raise DatasetError(
                    f'{out / file}: is there and would be written over; choose another folder, so '
                    'that nothing of yours is replaced'
                )


def _named(manifest: Manifest) -> Iterator[str | None]:
    for subject in manifest.subjects:
        yield subject.image
        for entry in subject.anatomies.values():
            yield from (entry.mask, entry.mesh)
