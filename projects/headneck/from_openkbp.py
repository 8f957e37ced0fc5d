"""Turn the OpenKBP cohort's CSV files into the folders of masks that `massm prepare` reads.

Example:
  git clone --depth 1 https://github.com/ababier/open-kbp
  python projects/headneck/from_openkbp.py open-kbp/provided-data data/openkbp --crop
  massm prepare data/openkbp data/headneck --anatomies mandible larynx --spacing 4

Every `pt_N` of train-pats, validation-pats and test-pats becomes `pt_00N/ct.nii.gz` with
`segmentations/ANATOMY.nii.gz` for each structure that somebody contoured, and `meta.csv` keeps the
cohort's own split. A patient that cannot be read is told and left out; the exit code is then 1. Run
again, it replaces what it wrote and nothing else.
"""

import argparse
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from massm.cli import run_module
from massm.commands.progress import track
from massm.errors import ConfigError, DatasetError
from massm.io.atomic import replacing_folder, write_text
from massm.io.nifti import write_volume
from massm.io.writable import make_writable
from massm.structures import Grid

SHAPE = (128, 128, 128)
SPLITS = {'train-pats': 'train', 'validation-pats': 'val', 'test-pats': 'test'}
STRUCTURES = {
    'Brainstem': 'brainstem',
    'SpinalCord': 'spinal_cord',
    'RightParotid': 'parotid_gland_right',
    'LeftParotid': 'parotid_gland_left',
    'Mandible': 'mandible',
    'Larynx': 'larynx',
    'Esophagus': 'esophagus',
}
# What is written of a patient; all else in a patient's folder is somebody's.
OWN = ('ct.nii.gz', *(f'segmentations/{name}.nii.gz' for name in STRUCTURES.values()))
# CT values are stored as HU + 1024, which makes air outside of the patient 0: no line at all.
OFFSET = 1024
HIGHEST = np.iinfo(np.int16).max
# The files place no patient: the volume's middle voxel is the origin.
MIDDLE = np.array(SHAPE) // 2


@dataclass(frozen=True, eq=False)
class Patient:
    """``hu`` int16 ``[rows, columns, slices]`` in its ``grid``, ``masks`` bool of that shape by
    anatomy; ``remarks`` on what was left out."""

    grid: Grid
    hu: np.ndarray
    masks: dict[str, np.ndarray]
    remarks: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('source', type=Path, help="the repository's provided-data")
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument(
        '--crop', action='store_true', help='to the body and its contours: files half as large'
    )


def run(args: argparse.Namespace) -> int:
    """Converts every patient; 1 if one had to be left out.

    Raises:
        ConfigError: the source holds no patients, or ``out`` holds something else.
    """
    patients = find_patients(args.source)
    make_writable(args.out)
    _check_foreign(args.out, {name for name, _, _ in patients})
    done = 0
    for name, _, folder in track(patients, len(patients), 'convert'):
        try:
            patient = read_patient(folder)
        except DatasetError as error:
            print(f'error: {error}', file=sys.stderr)
            remove_patient(args.out / name)
            continue
        for remark in patient.remarks:
            print(f'{name}: {remark}')
        write_patient(args.out / name, cropped(patient) if args.crop else patient)
        done += 1
    # What somebody added to one who was left out stays, and prepare must know of it.
    rows = [f'{name};{split}\n' for name, split, _ in patients if (args.out / name).is_dir()]
    write_text(args.out / 'meta.csv', 'image_id;split\n' + ''.join(rows))
    print(f'{done} of {len(patients)} patients in {args.out}')
    return int(done < len(patients))


def find_patients(source: Path) -> list[tuple[str, str, Path]]:
    """Name, split and folder of every patient, by number.

    Raises:
        ConfigError: there are none, or one number has two.
    """
    found: dict[int, tuple[str, str, Path]] = {}
    for folder, split in SPLITS.items():
        for path in (source / folder).glob('pt_*'):
            if not (number := re.fullmatch(r'pt_(\d+)', path.name)):
                continue
            key = int(number[1])
            if key in found:
                raise ConfigError(f'{path}: is also {found[key][2]}; keep one of the two')
            found[key] = (f'pt_{key:03d}', split, path)
    if not found:
        raise ConfigError(
            f'{source}: holds no pt_N in {", ".join(SPLITS)}; name provided-data of a clone of '
            'https://github.com/ababier/open-kbp'
        )
    return [found[key] for key in sorted(found)]


def read_patient(folder: Path) -> Patient:
    """One patient in patient space.

    Rows run from anterior to posterior, columns from the patient's right to the left, slices from
    superior to inferior, so that each axis counts against RAS+.

    Raises:
        DatasetError: a file that every patient has is missing, or one is malformed.
    """
    grid = Grid(SHAPE, _affine(_spacing(folder / 'voxel_dimensions.csv')))
    hu = np.full(SHAPE, -OFFSET, dtype=np.int16)
    places, values = _lines(folder / 'ct.csv', 2).T
    if not len(values) or not ((values >= 0) & (values <= HIGHEST)).all():
        raise DatasetError(
            f'{folder / "ct.csv"}: values are to be HU + {OFFSET}, 0 or more; fetch the file again'
        )
    hu.flat[_indices(folder / 'ct.csv', places)] = np.round(values) - OFFSET
    masks, remarks = {}, []
    for structure, anatomy in STRUCTURES.items():
        path = folder / f'{structure}.csv'
        if not path.exists():
            continue
        mask = np.zeros(SHAPE, dtype=bool)
        mask.flat[_indices(path, _lines(path, 1)[:, 0])] = True
        if mask.any():
            masks[anatomy] = mask
        else:
            remarks.append(f'{path.name} has no voxel, taken as not contoured')
    return Patient(grid, hu, masks, tuple(remarks))


def cropped(patient: Patient, margin: int = 2) -> Patient:
    """The part that holds the body and every mask, and ``margin`` voxels about it."""
    shown = patient.hu > -OFFSET
    for mask in patient.masks.values():
        shown |= mask
    held = np.argwhere(shown)
    low = np.maximum(held.min(0) - margin, 0)
    high = np.minimum(held.max(0) + 1 + margin, SHAPE)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = patient.grid.affine.copy()
    affine[:3, 3] = patient.grid.to_patient(low.astype(float))
    hu = patient.hu[part]
    masks = {name: mask[part] for name, mask in patient.masks.items()}
    return Patient(Grid(hu.shape, affine), hu, masks, patient.remarks)


def write_patient(folder: Path, patient: Patient) -> None:
    """Writes ``folder`` whole, in place of what an earlier run wrote there."""
    with replacing_folder(folder, OWN) as made:
        write_volume(made / 'ct.nii.gz', patient.hu, patient.grid)
        for name, mask in patient.masks.items():
            path = made / 'segmentations' / f'{name}.nii.gz'
            write_volume(path, mask.astype(np.uint8), patient.grid)


def remove_patient(folder: Path) -> None:
    """Removes what an earlier run wrote of a patient who is left out; a folder that holds more
    stays."""
    for name in OWN:
        (folder / name).unlink(missing_ok=True)
    for place in (folder / 'segmentations', folder):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _affine(spacing: np.ndarray) -> np.ndarray:
    """``[4, 4]``: row, column, slice to patient mm (RAS+)."""
    rows, columns, slices = -spacing
    affine = np.array(
        [[0, columns, 0, 0], [rows, 0, 0, 0], [0, 0, slices, 0], [0, 0, 0, 1]], dtype=float
    )
    affine[:3, 3] = -affine[:3, :3] @ MIDDLE
    return affine


def _spacing(path: Path) -> np.ndarray:
    """``[3]``: mm of a row, a column and a slice."""
    spacing = _numbers(path, usecols=None)
    if spacing.size != 3 or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise DatasetError(f'{path}: holds no three sizes in mm; fetch the file again')
    return spacing.ravel()


def _lines(path: Path, columns: int) -> np.ndarray:
    """``[N, columns]``: the first columns of the lines below the header."""
    return _numbers(path, usecols=range(columns), skiprows=1).reshape(-1, columns)


def _numbers(path: Path, usecols: Sequence[int] | None, skiprows: int = 0) -> np.ndarray:
    if not path.is_file():
        raise DatasetError(f'{path}: no such file; fetch the patient again')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', UserWarning)  # of files with a header alone
            return np.loadtxt(path, delimiter=',', skiprows=skiprows, usecols=usecols)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(
            f'{path}: cannot be read as numbers ({reason}); fetch the file again'
        ) from error


def _indices(path: Path, places: np.ndarray) -> np.ndarray:
    """Places in the flattened volume, checked."""
    is_one = (places >= 0) & (places < np.prod(SHAPE)) & (places == np.round(places))
    if not is_one.all():
        raise DatasetError(
            f'{path}: names voxels that are none of {"x".join(map(str, SHAPE))}; fetch it again'
        )
    indices = places.astype(np.int64)
    if len(np.unique(indices)) < len(indices):
        raise DatasetError(f'{path}: names a voxel twice; fetch the file again')
    return indices


def _check_foreign(out: Path, names: set[str]) -> None:
    """Nothing but what this command writes is ever replaced."""
    for path in sorted(out.iterdir()):
        if path.name not in {*names, 'meta.csv'} and not path.name.startswith('.partial-'):
            raise ConfigError(
                f'{path}: is no patient of this source; choose another folder to write, so that '
                'nothing of yours is replaced'
            )


if __name__ == '__main__':
    sys.exit(run_module(sys.modules[__name__], program='from_openkbp.py'))
