"""The scan that comes along is a CT that says nothing of its patient."""

import nibabel
import numpy as np

from massm.io.nifti import read_placed
from tests.conftest import ROOT

SCAN = ROOT / 'examples/headneck_ct.nii.gz'


def test_the_scan_is_small_in_hounsfield_and_oriented():
    hu, grid, oriented, remarks = read_placed(SCAN)
    assert SCAN.stat().st_size < 500_000 and oriented and not remarks
    assert hu.min() == -1024 and 0.1 < ((hu > -200) & (hu < 200)).mean() < 0.6
    # The body is wider than deep, and its shoulders, below, wider than its head.
    body = grid.to_patient(np.argwhere(hu > -300).astype(float))
    width = [np.ptp(part[:, 0]) for part in np.array_split(body[body[:, 2].argsort()], 2)]
    assert width[0] > 1.3 * width[1] and np.ptp(body[:, 0]) > 1.3 * np.ptp(body[:, 1])


def test_the_header_holds_no_text():
    image = nibabel.load(SCAN)
    fields = ('data_type', 'db_name', 'descrip', 'aux_file', 'intent_name')
    assert all(not image.header[name].item() for name in fields)
    assert not image.header.extensions and image.get_data_dtype() == np.int16
    assert SCAN.read_bytes()[3] == 0  # no file name, no comment in the gzip header
