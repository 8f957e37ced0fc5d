"""What the compiled kernels are built from, for ``setup.py`` (which runs this file alone) and for
a build on first use."""

from pathlib import Path

import torch

SOURCES = Path(__file__).parent / 'csrc'
AVX2 = ('AVX2', 'AVX512')


def cpu_sources() -> list[str]:
    """What every build compiles."""
    return [str(SOURCES / name) for name in ('roi_pool3d.cpp', 'roi_pool3d_cpu.cpp')]


def cuda_sources() -> list[str]:
    """What a build for CUDA compiles besides."""
    return [str(SOURCES / 'roi_pool3d_cuda.cu')]


def cpu_flags() -> list[str]:
    """For the C++ compiler; vectors of eight floats where this machine has them."""
    # Python's own flags ask for debug symbols, which take a third of the time.
    flags = ['-O3', '-g0', '-fopenmp']
    return [*flags, '-mavx2', '-mfma'] if torch.backends.cpu.get_cpu_capability() in AVX2 else flags


def cuda_flags() -> list[str]:
    """For nvcc."""
    return ['-O3', '--extended-lambda']
