"""Ranges of what MASSM needs; tested versions are pinned in requirements/constraints.txt.

The compiled operators are built where torch can be imported (``pip install --no-build-isolation``)
and there is a compiler; elsewhere massm.ops builds them on first use or does without.
"""

import os
import platform
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """The lines of ``requirements/NAME.txt`` that name a package."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-'))]


def version() -> str:
    """``__version__`` of the package, read without importing it."""
    text = (ROOT / 'massm' / '__init__.py').read_text(encoding='utf-8')
    return text.split("__version__ = '")[1].split("'")[0]


def has_cuda_runtime(toolkit: str | None) -> bool:
    """Whether the toolkit's folder holds what kernels are linked with: an nvcc alone would compile
    for minutes and then fail."""
    names = ('lib*/libcudart.so', 'lib/*/libcudart.so', 'targets/*/lib/libcudart.so')
    places = (*names, 'lib/x64/cudart.lib')
    return toolkit is not None and any(any(Path(toolkit).glob(place)) for place in places)


def kernels() -> dict:
    """The operators' extension, with CUDA where torch and a toolkit have it."""
    try:
        from torch.utils import cpp_extension
        from torch.version import cuda
    except ImportError:
        return {}
    inputs = runpy.run_path(str(ROOT / 'massm/ops/kernel_sources.py'))
    if os.environ.get('MASSM_COMPILED_OPS') == '0' or not shutil.which(
        os.environ.get('CXX', 'c++')
    ):
        return {}
    sources = inputs['cpu_sources']()
    flags = {'cxx': inputs['cpu_flags']()}
    kind = cpp_extension.CppExtension
    if cuda and has_cuda_runtime(cpp_extension.CUDA_HOME):
        sources += inputs['cuda_sources']()
        flags['nvcc'] = inputs['cuda_flags']()
        os.environ.setdefault('TORCH_CUDA_ARCH_LIST', '8.0;8.6;9.0;10.0+PTX')
        kind = cpp_extension.CUDAExtension
    # setuptools wants paths from here.
    sources = [str(Path(source).relative_to(ROOT)) for source in sources]
    extension = kind('massm.ops._kernels', sources, extra_compile_args=flags)
    build = cpp_extension.BuildExtension.with_options(no_python_abi_suffix=True)
    return {'ext_modules': [extension], 'cmdclass': {'build_ext': build}}


LINUX_X86 = platform.system() == 'Linux' and platform.machine() == 'x86_64'
OPEN3D = 'open3d-cpu>=0.18' if LINUX_X86 else 'open3d>=0.18'

setup(
    name='massm',
    version=version(),
    description='Multi-anatomy statistical shape models directly from CT volumes',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['massm', 'massm.*']),
    package_data={
        'massm': ['py.typed', 'ops/csrc/*', 'visualization/*.css', 'visualization/*.js'],
        # Whatever model directories lie there.
        'massm.zoo': ['*/*.json', '*/*.md', '*/*.safetensors', '*/pdm/*', '*/templates/*'],
    },
    install_requires=[*requirements('runtime'), OPEN3D],
    extras_require={
        'tests': requirements('tests'),
        'dev': requirements('dev'),
        'dicom': ['SimpleITK>=2.3', 'highdicom>=0.24'],
        'rtstruct': ['SimpleITK>=2.3', 'pydicom>=2.4'],
        'onnx': ['onnx>=1.16', 'onnxscript>=0.3'],
        'dask': ['distributed>=2024.1'],
    },
    **kernels(),
    entry_points={'console_scripts': ['massm = massm.cli:main']},
)
