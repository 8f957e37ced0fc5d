"""Say what is installed and whether it works: packages, compiled operator, GPU.

Examples:
  massm doctor
  massm doctor --json
"""

import argparse
import importlib.metadata
import json
import platform

import psutil
import torch

from massm.ops import extension, roi_pool3d

PACKAGES = ('massm', 'torch', 'onedl-mmengine', 'onedl-mmcv', 'monai', 'numpy', 'nibabel')
OPTIONAL = {
    'open3d': 'masks and surfaces of data preparation and label maps',
    'SimpleITK': 'DICOM, NRRD and MetaImage',
    'highdicom': 'DICOM segmentations',
    'plotly': 'reports',
    'onnxscript': 'ONNX export',
}
# Open3D without a graphics card is a distribution of its own, on Linux only.
DISTRIBUTIONS = {'open3d': ('open3d-cpu', 'open3d')}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('--json', action='store_true', help='for programs')


def run(args: argparse.Namespace) -> int:
    """Prints the findings; 1 if something that is there does not work."""
    found = findings()
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        for part, values in found.items():
            print(part)
            for name, value in values.items():
                print(f'  {name:<16} {value}')
    return int(any('broken' in str(value) for value in found['devices'].values()))


def findings() -> dict[str, dict[str, str]]:
    """What there is, by part."""
    memory = psutil.virtual_memory()
    return {
        'system': {
            'python': platform.python_version(),
            'platform': platform.platform(),
            'cpu threads': str(torch.get_num_threads()),
            'memory': f'{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free',
        },
        'packages': {name: _version(name) or 'missing' for name in PACKAGES},
        'optional': {
            name: _version(name) or f'missing: needed for {purpose}'
            for name, purpose in OPTIONAL.items()
        },
        'devices': {'cpu': _probe('cpu'), **_gpus()},
    }


def _gpus() -> dict[str, str]:
    if not torch.cuda.is_available():
        built = 'torch is built without CUDA' if torch.version.cuda is None else 'no GPU found'
        return {'cuda': f'none ({built})'}
    return {
        f'cuda:{i}': f'{torch.cuda.get_device_name(i)}: {_probe(f"cuda:{i}")}'
        for i in range(torch.cuda.device_count())
    }


def _probe(device: str) -> str:
    """Runs a convolution and the operator, not only asks whether the device is there."""
    try:
        maps = torch.nn.functional.conv3d(
            torch.ones(1, 2, 8, 8, 8, device=device), torch.ones(4, 2, 3, 3, 3, device=device)
        )
        rois = torch.tensor([[0.0, 1, 1, 1, 4, 4, 4]], device=device)
        value = roi_pool3d(maps, rois, 2).sum().item()
    except RuntimeError as error:
        return f'broken: {str(error).splitlines()[0]}'
    kind = 'compiled' if extension.is_compiled(device.split(':')[0]) else 'torch reference'
    return f'works, ROIPool3D: {kind}' if value == 54 * 32 else 'broken: wrong result'


def _version(name: str) -> str | None:
    for distribution in DISTRIBUTIONS.get(name, (name,)):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
