import pytest

from massm.io.anatomy_codes import KEYWORDS, SIDES, anatomy_code


def test_a_code_knows_its_side_or_gets_it_as_a_modifier():
    assert anatomy_code('heart_atrium_left') == ('LeftAtrium', None)
    assert anatomy_code('kidney_right') == ('Kidney', 'Right')
    assert anatomy_code('vertebrae_L4') == ('L4Vertebra', None)
    assert anatomy_code('my_own_bone') == (None, None)
    assert anatomy_code('my_own_bone_left') == (None, None)


def test_every_code_is_in_the_dictionary():
    codes = pytest.importorskip('pydicom.sr.codedict').codes
    vertebrae = [anatomy_code(f'vertebrae_{name}')[0] for name in ('C1', 'C7', 'T1', 'T12', 'L5')]
    for keyword in (*KEYWORDS.values(), *SIDES.values(), *vertebrae):
        assert keyword in codes.SCT.dir(keyword), keyword
