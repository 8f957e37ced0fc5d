import numpy as np
import pytest

from massm.io.anatomy_codes import KEYWORDS, SIDES, anatomy_code
from massm.io.dicom_seg import write_segmentation
from massm.io.images import read_scan
from tests.robustness.scans import dicom


def test_a_code_knows_its_side_or_gets_it_as_a_modifier():
    assert anatomy_code('heart_atrium_left') == ('LeftAtrium', None)
    assert anatomy_code('kidney_right') == ('Kidney', 'Right')
    assert anatomy_code('vertebrae_L4') == ('L4Vertebra', None)
    assert anatomy_code('my_own_bone') == (None, None)


def test_every_anatomy_of_the_model_in_the_box_has_a_code():
    names = ('brainstem', 'larynx', 'mandible', 'parotid_gland_left', 'parotid_gland_right')
    assert [anatomy_code(name) for name in names] == [
        ('BrainStem', None),
        ('Larynx', None),
        ('Mandible', None),
        ('ParotidGland', 'Left'),
        ('ParotidGland', 'Right'),
    ]
    assert anatomy_code('spinal_cord') == ('SpinalCord', None)
    assert anatomy_code('esophagus') == ('Esophagus', None)


def test_a_side_is_told_without_a_code_too():
    assert anatomy_code('my_own_bone_left') == (None, 'Left')
    assert anatomy_code('rib_right_11') == (None, 'Right')
    assert anatomy_code('left_kidney') == ('Kidney', 'Left')
    assert anatomy_code('left_to_right_shunt') == (None, None)


def test_a_segmentation_says_what_and_which_side(tmp_path, rng):
    pytest.importorskip('highdicom')
    import pydicom

    hu = rng.integers(-1024, 1500, (8, 9, 6)).astype(np.int16)
    scan = read_scan(dicom(tmp_path / 'scan', hu, np.diag([4.0, 4, 4, 1])))
    labels = np.zeros(scan.grid.shape, np.uint8)
    labels[2:4, 2:5, 3], labels[5:7, 2:5, 4] = 1, 2
    write_segmentation(
        tmp_path / 'a.dcm', labels, ['parotid_gland_left', 'my_own_bone_right'], scan.slices
    )
    kinds = [
        segment.SegmentedPropertyTypeCodeSequence[0]
        for segment in pydicom.dcmread(tmp_path / 'a.dcm').SegmentSequence
    ]
    assert [kind.CodeMeaning for kind in kinds] == ['Parotid gland', 'Anatomical Structure']
    sides = [kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning for kind in kinds]
    assert sides == ['Left', 'Right']


def test_every_code_is_in_the_dictionary():
    codes = pytest.importorskip('pydicom.sr.codedict').codes
    vertebrae = [anatomy_code(f'vertebrae_{name}')[0] for name in ('C1', 'C7', 'T1', 'T12', 'L5')]
    for keyword in (*KEYWORDS.values(), *SIDES.values(), *vertebrae):
        assert keyword in codes.SCT.dir(keyword), keyword
