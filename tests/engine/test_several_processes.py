"""What a launcher and a resumed run meet before the first step."""

import copy
from types import SimpleNamespace

import torch
from mmengine.config import Config
from torch import nn

from massm.engine.distributed import prepare_processes
from massm.engine.hooks import OptimiserLayoutHook


def test_what_a_config_says_of_its_wrapper_holds_on_cpus_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    own = {'type': 'MMDistributedDataParallel', 'find_unused_parameters': True}
    for config in (Config({'model_wrapper_cfg': own}), Config({})):
        unused = 'model_wrapper_cfg' in config
        prepare_processes(config, 'pytorch')
        assert config.model_wrapper_cfg.get('find_unused_parameters', False) == unused
        assert config.model_wrapper_cfg.device_ids is None


def test_an_optimiser_goes_on_alike_in_another_layout():
    """Channels last after a training that was not; fused optimisers walk memory."""
    torch.manual_seed(0)
    layers = [nn.Conv3d(4, 6, 3) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    gradients = [torch.randn(6, 4, 3, 3, 3) for _ in range(2)]

    def step(layer, optimizer, gradient):
        layer.weight.grad = torch.empty_like(layer.weight).copy_(gradient)
        optimizer.step()

    before, after = (torch.optim.AdamW(layer.parameters(), fused=True) for layer in layers)
    step(layers[0], before, gradients[0])
    layers[1].load_state_dict(layers[0].state_dict())
    layers[1].weight.data = layers[1].weight.data.contiguous(memory_format=torch.channels_last_3d)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    runner = SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=after))
    OptimiserLayoutHook().before_train(runner)
    step(layers[0], before, gradients[1])
    step(layers[1], after, gradients[1])
    assert torch.allclose(layers[1].weight, layers[0].weight, rtol=1e-6)
