"""The CUDA kernels compile where a toolkit is, with or without a GPU."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from massm.ops.kernel_sources import cuda_sources


def test_cuda_kernels_compile(tmp_path):
    if shutil.which('nvcc') is None:
        pytest.skip('there is no nvcc here')
    root = Path(torch.__file__).parent / 'include'
    includes = [f'-I{root}', f'-I{root}/torch/csrc/api/include']
    flags = ['-std=c++20', '--extended-lambda', '-DC10_USING_CUSTOM_GENERATED_MACROS']
    # That they compile shows without optimising them, which takes longer.
    flags += ['-O0', '-Xcicc', '-O0', '-Xptxas', '-O0']
    target = ['-gencode', 'arch=compute_80,code=sm_80', '-o', str(tmp_path / 'kernels.o')]
    command = ['nvcc', '-c', *cuda_sources(), *includes, *flags, *target]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
