"""A long computation that goes on where it was interrupted: the result of every task is kept."""

import shutil
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from massm.errors import BROKEN_NPZ
from massm.io.atomic import replacing
from massm.shape.population import TaskRunner
from massm.structures import RigidTransform


def going_on(run: TaskRunner, folder: Path, digest: str) -> TaskRunner:
    """``run`` for tasks that depend on what ``digest`` stands for and on nothing else: a task that
    was finished before is not run again, and its result is the same to the last bit.

    Args:
        folder: for the results, of this digest alone; what it held for others goes. The caller
            removes it when all is done.
    """
    stages = count()
    own = folder / digest[:32]
    for other in folder.glob('*'):
        if other != own:
            shutil.rmtree(other)

    def run_missing(label: str, function: Callable[..., Any], tasks: Sequence[tuple]) -> list[Any]:
        # Every earlier stage gave what it gave the first time, so the stages' order is a name.
        stage = own / f'{next(stages)}-{label}'
        numbered = [(stage / f'{i}.npz', function, task) for i, task in enumerate(tasks)]
        return run(label, _once, numbered)

    return run_missing


def _once(path: Path, function: Callable[..., Any], task: tuple) -> Any:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return _result(
                str(stored['kind']), [stored[f'part{i}'] for i in range(len(stored) - 1)]
            )
    except BROKEN_NPZ:
        pass
    result = function(*task)
    kind, parts = _parts(result)
    with replacing(path) as temporary:
        np.savez(temporary, kind=kind, **{f'part{i}': part for i, part in enumerate(parts)})
    return result


def _parts(result: Any) -> tuple[str, Sequence[np.ndarray]]:
    """What a stage of a population gives, as arrays."""
    if isinstance(result, RigidTransform):
        return 'motion', [result.matrix]
    if isinstance(result, tuple):
        return 'arrays', result
    return ('array' if isinstance(result, np.ndarray) else 'number'), [np.asarray(result)]


def _result(kind: str, parts: list[np.ndarray]) -> Any:
    """Inverts :func:`_parts`."""
    if kind == 'motion':
        return RigidTransform(parts[0])
    if kind == 'arrays':
        return tuple(parts)
    return parts[0] if kind == 'array' else float(parts[0])
