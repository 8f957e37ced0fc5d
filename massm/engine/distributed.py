"""Several processes on machines without a GPU, which mmengine's launcher does not know."""

import torch
from mmengine.config import Config


def prepare_processes(config: Config, launcher: str) -> None:
    """Under ``torchrun`` without CUDA: joins the gloo group, and keeps the model on the CPU.

    With a GPU, or without a launcher, mmengine does what is needed.
    """
    if launcher != 'pytorch' or torch.cuda.is_available():
        return
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    config.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'device_ids': None,
        'broadcast_buffers': False,
    }
