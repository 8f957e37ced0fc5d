"""The exported network says what the network says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from massm.apis.config import load_config
from massm.apis.export_network import ExportedNetwork, export_network
from massm.errors import ConfigError
from massm.registry import MODELS

ROOT = Path(__file__).parents[2]
SIZE = (36, 48, 40)


@pytest.fixture(params=['massm_r18_paper', 'massm_r101_totalseg'])
def network(request):
    """A small network of each kind: aligned ROI pooling with refinement, and the paper's."""
    init_default_scope('massm')
    options = {
        'num_particles': 16,
        'model.backbone.base_channels': 8,
        'model.backbone.depth': 10,
        'model.neck.out_channels': 8,
        'model.dense_head.feat_channels': 8,
    }
    torch.manual_seed(0)
    config = load_config(ROOT / f'configs/{request.param}.py', options)
    model = MODELS.build(config.model)
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    model.templates.local_vox.normal_(std=4)
    model.templates.world_mm.normal_(std=20)
    return model.eval()


def patient() -> torch.Tensor:
    return 300 * torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(1))


def test_torch_export_agrees_with_eager(network, tmp_path):
    path = tmp_path / 'network.pt2'
    export_network(network, SIZE, path)
    with torch.inference_mode():
        expected = ExportedNetwork(network)(patient())
        found = torch.export.load(path).module()(patient())
    assert 'massm::' not in str(torch.export.load(path).graph)
    for a, b in zip(expected, found, strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_onnx_agrees_with_eager(network, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    path = tmp_path / 'network.onnx'
    export_network(network, SIZE, path)
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    found = session.run(
        ['boxes_vox', 'scores', 'local_vox', 'world_mm'], {'volume_hu': patient().numpy()}
    )
    with torch.inference_mode():
        expected = ExportedNetwork(network)(patient())
    for a, b in zip(expected, found, strict=True):
        assert np.allclose(a.numpy(), b, atol=1e-2)


def test_sizes_and_endings_that_cannot_be_are_named(network, tmp_path):
    with pytest.raises(ConfigError, match='multiples of 4'):
        export_network(network, (33, 32, 32), tmp_path / 'n.pt2')
    with pytest.raises(ConfigError, match=r'\.pt2 or \.onnx'):
        export_network(network, SIZE, tmp_path / 'n.pth')
    assert not list(tmp_path.iterdir())
