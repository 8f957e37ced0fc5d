"""A DICOM series as a volume; geometry is computed from every slice's own position."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from massm.errors import ImageError
from massm.io.itk import LPS_TO_RAS, simpleitk
from massm.structures import Grid
from massm.structures.modality import DEFAULT_MODALITY, DICOM_MODALITIES, MODALITIES

POSITION, ORIENTATION, SPACING = '0020|0032', '0020|0037', '0028|0030'
SERIES, MODALITY, DESCRIPTION = '0020|000e', '0008|0060', '0008|103e'
PATIENT = '0010|0020'
FRAMES = '0028|0008'
# Slices further off their place in the grid than this, mm, about a pixel, are not rounding.
OFF_PLACE_MM = 1.0
# How the classes of radiotherapy objects begin: structures, plans, doses.
RADIOTHERAPY = b'1.2.840.10008.5.1.4.1.1.481.'


@dataclass(frozen=True, eq=False)
class Slice:
    """One file: ``position`` ``[3]`` of its first pixel (LPS mm), the directions of its rows and
    columns ``[2, 3]``, pixel ``spacing`` ``[2]`` (between rows, between columns; mm), numbers a
    pixel (``components``: 3 in a colour image). ``patient`` is the ID."""

    path: Path
    series: str
    modality: str
    description: str
    patient: str
    position: np.ndarray
    directions: np.ndarray
    spacing: np.ndarray
    components: int

    @property
    def normal(self) -> np.ndarray:
        """Unit vector through the slice."""
        return np.cross(*self.directions)


def read_series(
    folder: Path,
    series: str | None = None,
    source: str | None = None,
    modality: str = DEFAULT_MODALITY,
) -> tuple[np.ndarray, Grid, list[str], list[Path]]:
    """Reads one series below ``folder`` as float32 ``[X, Y, Z]`` (HU, or an MR's values), its grid
    (RAS+ mm), remarks, and the files in the order of Z.

    A tilted gantry gives a grid whose axes are not at right angles.

    Args:
        series: UID, or the end of one, where there are several.
        source: what to call the folder in errors.
        modality: what it has to be.

    Raises:
        ImageError: no DICOM, several series, of the other modality, colours, or slices that are
            missing, doubled, out of line or of unlike geometry.
    """
    name = source or str(folder)
    found, unreadable = _scan(folder, name)
    chosen = _choose(found, series, folder, name)
    slices = sorted(chosen, key=lambda s: float(s.position @ chosen[0].normal))
    _check_alike(slices, name)
    step = _check_steps(slices, name)
    volume = _voxels(slices, name)
    first = slices[0]
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[1]
    affine[:3, 1] = first.directions[1] * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, first.position
    notes = _check_modality(first, modality, name)
    if unreadable:
        listed = ', '.join(path.name for path in unreadable[:3])
        notes.append(f'left out, no readable slice in it: {listed} ({len(unreadable)} in all)')
    grid = Grid(volume.shape, LPS_TO_RAS @ affine)
    return volume, grid, notes, [item.path for item in slices]


def series_uid(file: Path) -> str | None:
    """The series that a slice is of; ``None`` where it tells none."""
    header = _read_header(file)
    return (header.series or None) if header else None


def slice_files(folder: Path) -> list[Path]:
    """The slices below ``folder``, of all series, and nothing else that lies there; where there is
    none, whatever is not hidden."""
    files = visible_files(folder)
    return [path for path in files if _read_header(path) is not None] or files


def visible_files(folder: Path) -> list[Path]:
    """All files below ``folder`` that are not hidden."""
    return sorted(p for p in folder.rglob('*') if p.is_file() and not p.name.startswith('.'))


def series_modality(folder: Path, series: str | None = None) -> str | None:
    """The modality, as DICOM writes it, of the first slice of CT or MR below ``folder``; of the
    ``series`` (UID) where that is there; ``None`` where there is none."""
    first = None
    for item in map(_read_header, visible_files(folder)):
        if item is None or item.modality not in DICOM_MODALITIES:
            continue
        if series in (None, item.series):
            return item.modality
        first = first or item.modality
    return first


def _check_modality(first: Slice, modality: str, name: str) -> list[str]:
    wanted = MODALITIES[modality].title
    if first.modality == wanted:
        return []
    if first.modality in DICOM_MODALITIES:
        raise ImageError(
            f'{name}: the DICOM modality is {first.modality}, and this is for {wanted}; use a '
            f'model for {first.modality}, or prepare with --modality '
            f'{DICOM_MODALITIES[first.modality]}'
        )
    return [f'the DICOM modality is {first.modality}, not {wanted}']


def _voxels(slices: list[Slice], name: str) -> np.ndarray:
    """``[X, Y, Z]`` float32. Each file is read with a rescale and a type of its own: the first
    one's may hold no negative numbers where others do."""
    sitk = simpleitk()
    try:
        image = sitk.ReadImage([str(s.path) for s in slices], sitk.sitkFloat32)
    except RuntimeError as error:
        raise ImageError(f'{name}: slices cannot be read as one volume; export again') from error
    volume = np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T, dtype=np.float32)
    if not np.isfinite(volume).all():
        raise ImageError(f'{name}: pixels are NaN or infinite; export the series again')
    return volume


def _scan(folder: Path, name: str) -> tuple[list[Slice], list[Path]]:
    """All slices below ``folder``, and the DICOM files that are none."""
    files = visible_files(folder)
    headers = {path: _read_header(path) for path in files}
    slices = [s for s in headers.values() if s is not None]
    if not slices:
        for path in files:
            if _frames(path) > 1:
                raise ImageError(
                    f'{name}: {path.name} is an enhanced DICOM of {_frames(path)} frames, which is '
                    'not read here; convert it to NIfTI (dcm2niix) or to single slices'
                )
        raise ImageError(f'{name}: no DICOM slice among {len(files)} files; check the folder')
    return slices, [p for p, s in headers.items() if s is None and _is_lost(p)]


def _frames(path: Path) -> int:
    """How many a DICOM file holds; 0 where it says nothing or is none."""
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
        return int(reader.GetMetaData(FRAMES)) if reader.HasMetaDataKey(FRAMES) else 0
    except (RuntimeError, ValueError):
        return 0


def _reader(path: Path) -> Any:
    reader = simpleitk().ImageFileReader()
    reader.SetImageIO('GDCMImageIO')
    reader.SetFileName(str(path))
    return reader


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark at byte 128."""
    with path.open('rb') as stream:
        return stream.read(132)[128:] == b'DICM'


def is_slice(path: Path) -> bool:
    """Whether a file has DICOM's mark and is an image with a place in the patient."""
    try:
        return is_dicom(path) and _read_header(path) is not None
    except OSError:
        return False


def _is_lost(path: Path) -> bool:
    """Whether a file that is no slice should be one: the index file of a medium and what belongs
    to a radiotherapy plan (its class is told in the first bytes) should not."""
    if not is_dicom(path) or path.name == 'DICOMDIR':
        return False
    with path.open('rb') as stream:
        return RADIOTHERAPY not in stream.read(1024)


def _read_header(path: Path) -> Slice | None:
    """``None`` where the file is no DICOM image with a place in the patient."""
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
        text = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
        position, angles, spacing = (
            np.array([float(v) for v in text[key].split('\\')])
            for key in (POSITION, ORIENTATION, SPACING)
        )
        directions = angles.reshape(2, 3)
    except (RuntimeError, KeyError, ValueError, UnicodeError):
        return None
    labels = [text.get(key, '') for key in (SERIES, MODALITY, DESCRIPTION, PATIENT)]
    components = reader.GetNumberOfComponents()
    return Slice(path, *labels, position, directions, spacing, components)


def _choose(slices: list[Slice], series: str | None, folder: Path, name: str) -> list[Slice]:
    found: dict[str, list[Slice]] = {}
    for item in slices:
        found.setdefault(item.series, []).append(item)
    fitting = [uid for uid in found if series is None or uid.endswith(series)]
    if len(fitting) == 1:
        return found[fitting[0]]
    listed = '; '.join(_told(uid, own, folder) for uid, own in found.items())
    if series is not None and not fitting:
        raise ImageError(
            f'{name}: holds no series {series}, which --series or its RTSTRUCT names; export it '
            f'into the folder, there is {listed}'
        )
    patients = {item.patient for item in slices}
    of_several = f' of {len(patients)} patients' if len(patients) > 1 else ''
    keep = 'keep one there' if len({s.path.parent for s in slices}) == 1 else 'give their folders'
    raise ImageError(
        f'{name}: holds {len(found)} series{of_several}, {keep} or name one with --series: {listed}'
    )


def _told(uid: str, slices: list[Slice], folder: Path) -> str:
    """A series in words, with where below ``folder`` it lies."""
    place = slices[0].path.parent.relative_to(folder)
    about = (f'{len(slices)} slices', slices[0].description, f'in {place}' if place.name else '')
    return f'{uid} ({", ".join(text for text in about if text)})'


def _check_alike(slices: list[Slice], name: str) -> None:
    first = slices[0]
    for item in slices:
        if item.components > 1:
            raise ImageError(
                f'{name}: {item.path.name} holds colours, not HU; give the original series, not a '
                'coloured capture of it'
            )
        same = np.allclose(item.directions, first.directions, atol=1e-3)
        if not same or not np.allclose(item.spacing, first.spacing, rtol=1e-3):
            raise ImageError(
                f'{name}: {item.path.name} has another orientation or pixel size than '
                f'{first.path.name}; keep the slices of one volume'
            )


def _check_steps(slices: list[Slice], name: str) -> np.ndarray:
    """``[3]`` mm (LPS) from each slice to the next."""
    if len(slices) < 2:
        raise ImageError(f'{name}: holds one slice; a volume is needed')
    steps = np.diff([s.position for s in slices], axis=0)
    along = steps @ slices[0].normal
    usual = float(np.median(along))
    for i, gap in enumerate(along):
        if gap < 0.1 * max(usual, 0.1):
            raise ImageError(
                f'{name}: {slices[i].path.name} and {slices[i + 1].path.name} lie at one place; '
                'remove the duplicate'
            )
        if abs(gap - usual) > 0.1 * usual:
            raise ImageError(
                f'{name}: {gap:.2f} mm between {slices[i].path.name} and '
                f'{slices[i + 1].path.name}, {usual:.2f} mm elsewhere: a slice is missing; '
                'export the whole series'
            )
    step = steps.mean(0)
    _check_line(slices, step, name)
    return step


def _check_line(slices: list[Slice], step: np.ndarray, name: str) -> None:
    """Refuses what no grid holds: gaps that change little by little, and slices moved sideways."""
    places = slices[0].position + np.arange(len(slices))[:, None] * step
    off = np.linalg.norm([s.position for s in slices] - places, axis=1)
    if off.max() > OFF_PLACE_MM:
        raise ImageError(
            f'{name}: {slices[int(off.argmax())].path.name} lies {off.max():.1f} mm off its place '
            f'in even steps from {slices[0].path.name} to {slices[-1].path.name}: the table moved, '
            'or the spacing changes; keep the slices of one even part, or convert the series to '
            'NIfTI with even spacing (dcm2niix)'
        )
