import numpy as np
import pytest

from massm.visualization.packed import pack, pack_indices, unpack


@pytest.mark.parametrize('scale', [1e-3, 1.0, 1e4])
def test_numbers_come_back_to_half_a_step(rng, scale):
    values = scale * rng.standard_normal((40, 3))
    assert np.abs(unpack(pack(values)) - values.ravel()).max() <= np.ptp(values) / 65535 * 0.5001


@pytest.mark.parametrize('values', [np.zeros((0, 3)), np.full(5, -7.25)])
def test_none_and_equal_ones_are_exact(values):
    assert (unpack(pack(values)) == values.ravel()).all()


def test_indices_are_exact_or_refused():
    assert unpack(pack_indices(np.arange(65536))).tolist() == list(range(65536))
    with pytest.raises(ValueError, match='up to 65535'):
        pack_indices(np.array([65536]))
