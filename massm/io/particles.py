"""ShapeWorks' ``.particles`` files: one ``x y z`` a line."""

import io
from pathlib import Path

import numpy as np

from massm.errors import ShapeError
from massm.io.atomic import write_text


def read_particles(path: Path, count: int | None = None) -> np.ndarray:
    """``[M, 3]`` float64.

    Args:
        count: how many are expected, where known.

    Raises:
        ShapeError: missing, not numbers, not three columns, not finite, or another count.
    """
    try:
        points = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise ShapeError(f'{path}: not a particles file ({error}); run build_pdm again') from error
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ShapeError(f'{path}: expected finite lines of "x y z", got shape {points.shape}')
    if count is not None and len(points) != count:
        raise ShapeError(
            f'{path}: {len(points)} particles, but {count} expected; run build_pdm with '
            f'--particles {count} or change num_particles in the config'
        )
    return points


def write_particles(path: Path, points: np.ndarray) -> None:
    """Writes ``[M, 3]`` with nine significant digits (well under a micrometre in a patient)."""
    text = io.StringIO()
    np.savetxt(text, points, fmt='%.9g')
    write_text(path, text.getvalue())
