import pytest
import torch

from massm.models.shape_fit.offset_network import OffsetNetwork


@pytest.mark.parametrize(('leak', 'learns'), [(0.1, True), (0.0, False)])
def test_units_that_fell_silent_learn_again(leak, learns):
    """In real runs all units of brainstem's and larynx's last hidden layer did."""
    torch.manual_seed(0)
    network = OffsetNetwork(1, 16, inside=10, hidden=8, leak=leak)
    with torch.no_grad():
        network.third.own.bias.fill_(-20)
        network.last.weight.normal_()
    seen, linear = torch.randn(1, 3, 16, 10), torch.randn(1, 3, 16)
    patches = torch.full((1, 4, 16), 1 / 16)
    mean, _ = network(seen, linear, torch.zeros(1, 1, 16), patches)
    assert ((mean - linear).std() > 1e-3) == learns
    (mean - linear).square().mean().backward()
    assert bool(network.third.own.weight.grad.any()) == learns
