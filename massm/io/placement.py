"""Whether a file says how its voxels lie in the patient, or leaves it to be guessed."""

import re
from pathlib import Path

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

HEADER_BYTES = 2**16
# What a header's own unit of length is in mm; one that names none means mm.
MILLIMETRES = {'meter': 1000.0, 'micron': 0.001}
UNKNOWN = 'the file does not say how it lies in the patient: left and right may be exchanged'
# Two placements in one header further apart than this, mm, are not rounding.
APART_MM = 1.0
# The values of NRRD's field space that tell left from right; others name a frame without a patient.
NRRD_SPACES = re.compile(rb'(left|right)-|[lr][ap]st?$')


def nifti_placement(image: nibabel.spatialimages.SpatialImage) -> tuple[bool, list[str]]:
    """Whether the header orients the image, and what is odd about that."""
    if not isinstance(image, nibabel.Nifti1Pair):
        return True, []
    header = image.header
    codes = int(header['sform_code']), int(header['qform_code'])
    if codes == (0, 0):
        return False, [UNKNOWN]
    if 0 in codes:
        return True, []
    apart = forms_apart(header, image.shape[:3])
    if apart is None:
        return True, ["the header's qform is broken; the sform is taken"]
    if apart <= APART_MM:
        return True, []
    return True, [
        f"the header's two placements (sform and qform) are {apart:.0f} mm apart; the sform is "
        'taken'
    ]


def itk_placement(path: Path) -> tuple[bool, list[str]]:
    """The same for NRRD and MetaImage, of whose header SimpleITK fills in what is missing."""
    with path.open('rb') as stream:
        head = stream.read(HEADER_BYTES)
    if head.startswith(b'NRRD'):
        lines = (line.partition(b':') for line in head.split(b'\n\n')[0].lower().split(b'\n'))
        fields = {key.strip(): value.strip() for key, _, value in lines}
        oriented = bool(NRRD_SPACES.match(fields.get(b'space', b'')))
        sized = bool({b'spacings', b'space directions'} & fields.keys())
    else:
        keys = {line.split(b'=')[0].strip() for line in head.split(b'\n') if b'=' in line}
        oriented = bool({b'TransformMatrix', b'Orientation', b'Rotation'} & keys)
        sized = bool({b'ElementSpacing', b'ElementSize'} & keys)
    notes = [] if oriented else [UNKNOWN]
    return oriented, notes if sized else [
        *notes,
        'the file does not say its voxel size: 1 mm taken',
    ]


def millimetres(header: nibabel.Nifti1Header) -> float:
    """The header's unit of length, mm."""
    return MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)


def forms_apart(header: nibabel.Nifti1Header, shape: tuple[int, ...]) -> float | None:
    """Largest distance between the places that sform and qform give a corner of a volume of
    ``shape``, mm; ``None`` where the qform gives none."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing='ij'), -1).reshape(-1, 3)
    try:
        difference = millimetres(header) * (header.get_sform() - header.get_qform())
    except (HeaderDataError, ValueError):  # no rotation has this quaternion
        return None
    apart = np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max()
    return float(apart) if np.isfinite(apart) else None
