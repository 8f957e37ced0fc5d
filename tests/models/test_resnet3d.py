import pytest
import torch

from massm.errors import CheckpointError, ConfigError
from massm.models import ResNet3D

BATCH_NORM = {'type': 'BN3d'}


def monai_features(model, x):
    x = model.maxpool(model.act(model.bn1(model.conv1(x))))
    features = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = stage(x)
        features.append(x)
    return features


@pytest.mark.parametrize('depth, shortcut', [(18, 'A'), (50, 'B')])
def test_monai_weights_give_monai_features(depth, shortcut, tmp_path):
    from monai.networks.nets import resnet18, resnet50

    torch.manual_seed(0)
    build = {18: resnet18, 50: resnet50}[depth]
    monai = build(
        spatial_dims=3,
        n_input_channels=1,
        num_classes=3,
        conv1_t_stride=2,
        shortcut_type=shortcut,
        bias_downsample=False,
    ).eval()
    for module in monai.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    torch.save(
        {'state_dict': {f'module.{k}': v for k, v in monai.state_dict().items()}},
        tmp_path / 'w.pth',
    )
    ours = ResNet3D(
        depth, norm_cfg=BATCH_NORM, shortcut_type=shortcut, pretrained=str(tmp_path / 'w.pth')
    ).eval()
    x = torch.randn(1, 1, 32, 32, 64)
    with torch.no_grad():
        for a, b in zip(ours(x), monai_features(monai, x), strict=True):
            assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(ResNet3D(10, norm_cfg=BATCH_NORM, base_channels=8).state_dict(), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match='another shape'):
        ResNet3D(18, norm_cfg=BATCH_NORM, base_channels=8, pretrained=str(tmp_path / 'w.pth'))
    (tmp_path / 'x.pth').write_bytes(b'nonsense')
    with pytest.raises(CheckpointError, match='not a file of weights'):
        ResNet3D(18, pretrained=str(tmp_path / 'x.pth'))


def test_strides_channels_and_recomputation():
    torch.manual_seed(0)
    plain = ResNet3D(18, base_channels=8)
    frugal = ResNet3D(18, base_channels=8, with_checkpoint=True)
    frugal.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 64, 32, 32)
    outs, same = plain(x), frugal(x)
    assert [tuple(o.shape[1:]) for o in outs] == [
        (8, 16, 8, 8),
        (16, 8, 4, 4),
        (32, 4, 2, 2),
        (64, 2, 1, 1),
    ]
    sum(o.sum() for o in outs).backward()
    sum(o.sum() for o in same).backward()
    assert torch.allclose(plain.conv1.weight.grad, frugal.conv1.weight.grad, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match='depth'):
        ResNet3D(19)


def test_weights_with_statistics_of_batches_need_their_layers(tmp_path):
    torch.save(ResNet3D(10, norm_cfg=BATCH_NORM, base_channels=8).state_dict(), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r"norm_cfg = dict\(type='BN3d'\)"):
        ResNet3D(10, base_channels=8, pretrained=str(tmp_path / 'w.pth'))


def test_channels_make_whole_groups():
    with pytest.raises(ConfigError, match='a multiple of the 8 groups'):
        ResNet3D(10, base_channels=12)
    ResNet3D(10, base_channels=12, norm_cfg=BATCH_NORM)
