"""The compiled kernels behind ``massm.ops``: built by ``setup.py``, else on first use.

``MASSM_COMPILED_OPS=0`` keeps to the torch reference.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from massm.ops.kernel_sources import cpu_flags, cpu_sources, cuda_flags, cuda_sources

FOLDER = Path(__file__).parent
NAME = 'massm_kernels'
# Seconds: longer than any build takes; what another's is waited for once it has written its plan,
# and before.
STALE_S, WAIT_S, START_S = 900.0, 180.0, 20.0
logger = logging.getLogger('massm')


def constant_in_graphs(function: Callable) -> Callable:
    """Marks what a graph being traced is to take for a constant: all that
    ``torch.compiler.assume_constant_result`` does, without importing ``torch._dynamo``, which takes
    more than a second of every command."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_in_graphs
def is_compiled(device: str) -> bool:
    """Whether kernels for tensors on ``device`` are loaded; says once where they are not."""
    return device in _devices()


@cache
def _devices() -> frozenset[str]:
    if os.environ.get('MASSM_COMPILED_OPS') == '0':
        return frozenset()
    if not (_load_built() or _build_now()):
        return frozenset()
    _register()
    has_cuda = torch._C._dispatch_has_kernel_for_dispatch_key('massm::roi_pool3d_max', 'CUDA')
    return frozenset(('cpu', 'cuda') if has_cuda else ('cpu',))


def _load_built() -> bool:
    for library in sorted(FOLDER.glob('_kernels*.so')):
        try:
            torch.ops.load_library(str(library))
            return True
        except OSError as error:
            # Built for another torch.
            reason = str(error).splitlines()[0]
            logger.info('roi_pool3d: %s does not load (%s), building anew', library.name, reason)
    return False


def _build_now() -> bool:
    if not (shutil.which(os.environ.get('CXX', 'c++')) and shutil.which('ninja')):
        logger.info('roi_pool3d: compiled op not built, using the torch reference')
        return False
    from torch.utils import cpp_extension

    if not _is_free(Path(cpp_extension._get_build_directory(NAME, verbose=False)) / 'lock'):
        return False
    cuda = torch.cuda.is_available() and cpp_extension.CUDA_HOME is not None
    logger.info('roi_pool3d: compiling the op, once (about half a minute)')
    try:
        cpp_extension.load(
            NAME,
            cpu_sources() + (cuda_sources() if cuda else []),
            extra_cflags=cpu_flags(),
            extra_cuda_cflags=cuda_flags(),
            with_cuda=cuda,
            is_python_module=False,
        )
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        logger.info('roi_pool3d: could not compile (%s), using the torch reference', reason)
        return False
    return True


def _is_free(lock: Path) -> bool:
    """Whether the build folder may be used. torch waits for its lock without an end, and a build
    that was killed leaves it behind: one older than a build takes is removed, for a younger one
    we wait a while."""
    start, told = time.monotonic(), False
    while lock.exists():
        patience = WAIT_S if (lock.parent / 'build.ninja').exists() else START_S
        if _age(lock) > STALE_S:
            logger.warning('roi_pool3d: removed %s, left behind by a build that ended', lock)
            lock.unlink(missing_ok=True)
            return True
        if time.monotonic() - start > patience:
            logger.warning(
                'roi_pool3d: another build seems to run, using the torch reference; if none does, '
                'remove %s',
                lock,
            )
            return False
        if not told:
            logger.warning('roi_pool3d: waiting up to %g s for another build (%s)', patience, lock)
            told = True
        time.sleep(0.2)
    return True


def _age(lock: Path) -> float:
    """Seconds; 0 where the lock has just gone."""
    try:
        return time.time() - lock.stat().st_mtime
    except OSError:
        return 0.0


def _register() -> None:
    """Shapes for tracing and gradients for autograd."""
    library = torch.library
    library.register_fake('massm::roi_pool3d_max')(_fake_max)
    library.register_fake('massm::roi_pool3d_align')(_fake_align)
    library.register_fake('massm::roi_pool3d_max_backward')(_fake_backward)
    library.register_fake('massm::roi_pool3d_align_backward')(_fake_backward)
    library.register_autograd('massm::roi_pool3d_max', _max_backward, setup_context=_remember_max)
    library.register_autograd('massm::roi_pool3d_align', _align_backward, setup_context=_remember)


def _row(inputs: Sequence[Tensor], sizes: Sequence[int]) -> int:
    bins = [sizes[i] * sizes[i + 1] * sizes[i + 2] for i in range(0, len(sizes), 3)]
    return sum(level.shape[1] * n for level, n in zip(inputs, bins, strict=True))


def _fake_max(
    inputs: list[Tensor], rois: Tensor, sizes: list[int], scales: list[float]
) -> tuple[Tensor, Tensor]:
    out = inputs[0].new_empty((rois.shape[0], _row(inputs, sizes)))
    return out, torch.empty_like(out, dtype=torch.int32)


def _fake_align(
    inputs: list[Tensor], rois: Tensor, sizes: list[int], scales: list[float]
) -> Tensor:
    return inputs[0].new_empty((rois.shape[0], _row(inputs, sizes)))


def _fake_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    """Of both operators: the last two arguments say all about the gradients' shapes."""
    shapes, channels_last = arguments[-2:]
    gradients = []
    for i, last in enumerate(channels_last):
        gradient = grad.new_empty(tuple(shapes[5 * i : 5 * i + 5]))
        layout = torch.channels_last_3d if last else torch.contiguous_format
        gradients.append(gradient.contiguous(memory_format=layout))
    return gradients


def _remember(ctx: Any, inputs: tuple, output: Any) -> None:
    levels, rois, ctx.sizes, ctx.scales = inputs
    ctx.save_for_backward(rois)
    ctx.shapes = [n for level in levels for n in level.shape]
    ctx.channels_last = [
        not level.is_contiguous() and level.is_contiguous(memory_format=torch.channels_last_3d)
        for level in levels
    ]


def _remember_max(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    _remember(ctx, inputs, output)
    ctx.save_for_backward(inputs[1], output[1])
    ctx.mark_non_differentiable(output[1])


def _max_backward(ctx: Any, grad: Tensor, _: Any) -> tuple:
    rois, argmax = ctx.saved_tensors
    levels = torch.ops.massm.roi_pool3d_max_backward(
        grad, argmax, rois, ctx.sizes, ctx.scales, ctx.shapes, ctx.channels_last
    )
    return levels, None, None, None


def _align_backward(ctx: Any, grad: Tensor) -> tuple:
    (rois,) = ctx.saved_tensors
    levels = torch.ops.massm.roi_pool3d_align_backward(
        grad, rois, ctx.sizes, ctx.scales, ctx.shapes, ctx.channels_last
    )
    return levels, None, None, None
