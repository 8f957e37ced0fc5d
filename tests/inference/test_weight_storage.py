import pytest
import torch

from massm.inference.weight_storage import BLOCK, SCALE, in_eight_bits, in_half, restored


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {
        'net.weight': torch.randn(50, 7, 9) * torch.logspace(-4, 2, 50)[:, None, None],
        'net.bias': torch.randn(50),
        'net.zero': torch.zeros(2000),
        'templates.vertices_0': 100 * torch.randn(800, 3),
        'world_head.mean': 100 * torch.randn(2, 512, 3),
        'templates.faces_0': torch.arange(6000).view(-1, 3),
        'prior.fitted': torch.tensor(True),
    }


def test_eight_bits_are_off_by_no_more_than_half_a_step_of_their_block(state):
    stored = in_eight_bits(state)
    assert stored['net.weight'].dtype == torch.int8
    assert stored['net.weight' + SCALE].numel() == -(-50 * 7 * 9 // BLOCK)
    back = restored(stored)
    assert back.keys() == state.keys()
    error = (back['net.weight'] - state['net.weight']).abs().flatten()
    for n, block in enumerate(state['net.weight'].flatten().split(BLOCK)):
        half_a_step = 0.5 / 127 * block.abs().max()
        assert error[n * BLOCK : (n + 1) * BLOCK].max() <= 1.001 * half_a_step
    assert not back['net.zero'].any()


@pytest.mark.parametrize('shrunk', [in_half, in_eight_bits])
def test_small_tensors_templates_and_indices_come_back_as_they_were(state, shrunk):
    back = restored(shrunk(state))
    for key in state.keys() - {'net.weight'}:
        assert torch.equal(back[key], state[key]) and back[key].dtype == state[key].dtype, key
    assert back['net.weight'].dtype == torch.float32
