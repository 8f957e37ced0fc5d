"""What a training step must not do: wait for the device, or change with its speed."""

import pytest
import torch
from mmengine.registry import init_default_scope
from torch.utils._python_dispatch import TorchDispatchMode

from massm.apis.config import resolve
from massm.datasets.shape_dataset import ShapeDataset
from massm.registry import DATASETS, MODELS

WAITS = ('_local_scalar_dense', 'nonzero', 'unique', 'masked_select', 'is_nonzero', 'equal')


class Waits(TorchDispatchMode):
    """Collects operations whose result the host would have to wait for on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in WAITS or (name == 'index' and any(i.dtype == torch.bool for i in _masks(args))):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def _masks(args):
    return [i for i in args[1] if i is not None]


@pytest.fixture
def step(tiny_config):
    """A model and a preprocessed batch of two."""
    init_default_scope('massm')
    config = resolve(tiny_config(**{'model.roi_extractor.mode': 'max'}))
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    model.teacher_forcing = 0.5
    model.loss_weights = dict.fromkeys(model.loss_weights, 1.0)
    dataset: ShapeDataset = DATASETS.build(config.train_dataloader.dataset)
    samples = [dataset[0], dataset[1]]
    batch = {key: [sample[key] for sample in samples] for key in samples[0]}
    return model, model.data_preprocessor(batch, True)


def loss_of(model, batch):
    losses = model.loss(batch['inputs'], batch['data_samples'])
    return sum(value for name, value in losses.items() if name.startswith('loss_'))


def test_forward_and_backward_never_wait_for_the_device(step):
    model, batch = step
    with Waits() as waits:
        loss_of(model, batch).backward()
    assert waits.found == []


def test_the_watch_sees_a_wait():
    with Waits() as waits:
        torch.ones(3).sum().item()
        torch.ones(3)[torch.tensor([True, False, True])]
    assert '_local_scalar_dense' in waits.found and 'index' in waits.found


@pytest.mark.parametrize(
    'options', [{'channels_last': True}, {'compiled': True, 'backend': 'aot_eager'}]
)
def test_faster_layouts_and_compilation_change_no_loss(step, options):
    model, batch = step
    names = set(model.state_dict())
    plain = loss_of(model, batch)
    model.optimise(**options)
    assert torch.allclose(loss_of(model, batch), plain, rtol=1e-4)
    assert set(model.state_dict()) == names


def test_recomputing_activations_changes_no_gradient(step):
    model, batch = step
    weight = model.backbone.layer2[0].conv1.weight
    gradients = []
    for recompute in (False, True):
        model.backbone.with_checkpoint = recompute
        gradients.append(torch.autograd.grad(loss_of(model, batch), weight)[0])
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-6)


def test_a_box_that_missed_teaches_the_particle_heads_as_the_true_one_would(step, monkeypatch):
    """And one that hit teaches as itself."""
    model, batch = step
    true = torch.stack([sample.boxes for sample in batch['data_samples']])

    def raw(shift, forcing):
        moved = torch.cat([true[..., :3] + shift * true[..., 3:], true[..., 3:]], -1)
        monkeypatch.setattr(model.dense_head, 'decode', lambda *_: (moved, moved[..., 0]))
        model.teacher_forcing = forcing
        losses = model.loss(batch['inputs'], batch['data_samples'])
        return torch.stack([losses['raw/L_l'], losses['raw/L_w']])

    assert torch.equal(raw(5.0, 0.0), raw(0.0, 1.0))
    assert raw(0.4, 0.0)[0] > 1.01 * raw(0.0, 1.0)[0]
