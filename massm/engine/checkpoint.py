"""Checkpoints are data, not programs: loaded with ``weights_only=True``.

What mmengine stores beside weights (log buffers, numpy scalars) is allow-listed. A file that needs
anything else is refused; mmengine's forks would fall back to an unsafe load instead.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from massm.errors import CheckpointError


def _allowed() -> list[Any]:
    own = np.core.multiarray if np.__version__ < '2' else np._core.multiarray
    # By the name of either numpy: checkpoints travel between machines.
    arrays = [
        (getattr(own, name), f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for name in ('_reconstruct', 'scalar')
    ]
    dtypes = [type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u1', 'b1')]
    return [
        HistoryBuffer,
        (_buffer_statistic, 'builtins.getattr'),
        *arrays,
        np.ndarray,
        np.dtype,
        *dtypes,
    ]


def _buffer_statistic(owner: type, name: str) -> Callable:
    """Stands in for the ``getattr`` by which log buffers name their statistics, and for nothing
    else."""
    if owner is not HistoryBuffer or name not in ('max', 'min', 'mean', 'current'):
        raise CheckpointError(f'Unsupported attribute {name} of {owner}')
    return getattr(owner, name)


def load_checkpoint(path: str | Path, map_location: Any = 'cpu', trust: bool = False) -> dict:
    """Reads a checkpoint.

    Args:
        trust: allow the file to run code, while it is unpickled or as the config that mmengine
            would read from it where training is resumed; only for files of your own.

    Raises:
        CheckpointError: missing, unreadable, or holding more than data.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise CheckpointError(f'{file}: no such checkpoint; check the path or train first')
    try:
        with torch.serialization.safe_globals(_allowed()):
            content = torch.load(file, map_location=map_location, weights_only=not trust)
    except Exception as error:
        if 'weights_only' in str(error) or 'Unsupported' in str(error):
            raise CheckpointError(
                f'{file}: refused, it holds more than weights and could run code when loaded; '
                'pass --trust-checkpoint only if it is your own'
            ) from error
        raise CheckpointError(
            f'{file}: not a readable checkpoint ({type(error).__name__}); train or copy it again'
        ) from error
    if not trust and isinstance(content.get('meta'), dict):
        content['meta'].pop('config', None)  # a text that mmengine would execute
    return content


def register_safe_loader(trust: bool = False) -> None:
    """Makes mmengine load local checkpoints through :func:`load_checkpoint`."""

    def loader(filename: str, map_location: Any = 'cpu') -> dict:
        return load_checkpoint(filename, map_location, trust)

    registered: Callable[[str, Any], dict] = loader
    CheckpointLoader.register_scheme(prefixes='', loader=registered, force=True)
