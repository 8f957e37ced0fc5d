"""Several processes: the network inside its wrapper, and machines without a GPU, which mmengine's
launcher does not know."""

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself, without the wrapper that several processes put around it."""
    return model.module if is_model_wrapper(model) else model


def prepare_processes(config: Config, launcher: str) -> None:
    """Under ``torchrun`` without CUDA: joins the gloo group, and keeps the model on the CPU.

    With a GPU, or without a launcher, mmengine does what is needed.
    """
    if launcher != 'pytorch' or torch.cuda.is_available():
        return
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    config.model_wrapper_cfg = {
        **(config.get('model_wrapper_cfg') or {}),
        'type': 'MMDistributedDataParallel',
        'device_ids': None,
        'broadcast_buffers': False,
    }
