"""Tensors that pretend to lie on another device, for machines that have no GPU.

Inside of :class:`Elsewhere` what is on the device ``ELSEWHERE`` is computed on the CPU, and refuses
what a GPU would refuse: to be computed with together with tensors of the CPU, and to become numpy.
"""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# The only other device that every build of torch knows.
ELSEWHERE = torch.device('meta')
# These may move values from one device to the other.
COPIES = ('aten::copy_', 'aten::_to_copy')
# These take indices of the CPU.
INDEXES = ('aten::index', 'aten::index_put', 'aten::index_put_', 'aten::_index_put_impl_')


class There(Tensor):
    """``here`` as if it lay elsewhere."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> 'There':
        layout = {'strides': here.stride(), 'storage_offset': here.storage_offset()}
        kind = {'dtype': here.dtype, 'device': ELSEWHERE}
        there = Tensor._make_wrapper_subclass(cls, here.shape, **layout, **kind)
        there.here = here
        return there

    def refuse(self, *_: Any, **__: Any) -> None:
        raise TypeError('numpy of a tensor that is not on the CPU')

    numpy = __array__ = refuse
    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        return self.here.tolist()

    def __format__(self, spec: str) -> str:
        return format(self.here.detach(), spec)

    def __repr__(self) -> str:
        return f'There({self.here})'

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """A context in which tensors are on ``ELSEWHERE`` where they are made or moved there."""

    def __enter__(self) -> 'Elsewhere':
        self.patch = pytest.MonkeyPatch()
        make = torch.tensor

        def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
            return make(data, **options).to(device)

        self.patch.setattr(torch, 'tensor', tensor)
        # It knows no autocast there.
        self.patch.setattr(torch, 'autocast', lambda *_, **__: contextlib.nullcontext())
        self.patch.setattr(torch, 'is_autocast_enabled', lambda *_: False)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.patch.undo()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def move_elsewhere(module: nn.Module) -> None:
    """All parameters and buffers of ``module``."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(There(value.detach()), value.requires_grad)
        for name, value in part._buffers.items():
            part._buffers[name] = There(value)


def _run(function: Any, args: tuple, kwargs: dict) -> Any:
    name, asked = function.name().split('.')[0], kwargs.get('device')
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    there = any(isinstance(x, There) for x in tensors)
    if there and name not in COPIES:
        _check(name, args, tensors)
    if asked is not None:
        there = torch.device(asked).type == ELSEWHERE.type
        kwargs = {**kwargs, 'device': 'cpu'}
    found = function(*tree_map(_here, args), **tree_map(_here, kwargs))
    if name.endswith('_') and isinstance(args[0], Tensor):
        return args[0]
    return tree_map(_there, found) if there else found


def _check(name: str, args: tuple, tensors: list[Tensor]) -> None:
    """Numbers are no trouble anywhere, nor indices of the CPU."""
    if name in INDEXES:
        tensors = [args[0], *(x for x in args[2:3] if isinstance(x, Tensor))]
        free = isinstance(args[0], There)
    else:
        free = True
    if not free or any(not isinstance(x, There) and x.dim() for x in tensors):
        raise RuntimeError(f'{name}: expected all tensors to be on the same device')


def _here(x: Any) -> Any:
    return x.here if isinstance(x, There) else x


def _there(x: Any) -> Any:
    return There(x) if isinstance(x, Tensor) else x
