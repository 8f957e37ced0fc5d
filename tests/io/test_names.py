import pytest

from massm.io.names import partner_name


@pytest.mark.parametrize(
    ('name', 'partner'),
    [
        ('kidney_left', 'kidney_right'),
        ('lung_upper_lobe_right', 'lung_upper_lobe_left'),
        ('rib_left_4', 'rib_right_4'),
        ('sacrum', 'sacrum'),
        ('leftover', 'leftover'),
    ],
)
def test_partners(name, partner):
    assert partner_name(name) == partner
