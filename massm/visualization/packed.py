"""Numbers inside a page: quantised to 16 bits, as base64, decoded by ``viewer.js``."""

import base64

import numpy as np

STEPS = 65535


def pack(values: np.ndarray) -> dict:
    """``values`` of any shape in 65,536 equal steps between the least and the largest, so that each
    is off by no more than half a step: 1.5 micrometres in 200 mm. A number is ``low + step * n``,
    n little-endian unsigned."""
    values = np.asarray(values, dtype=np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    step = (high - low) / STEPS
    counts = np.rint((values - low) / step) if step > 0 else np.zeros(values.shape)
    return {'low': low, 'step': step, 'data': _base64(counts.astype('<u2'))}


def unpack(packed: dict) -> np.ndarray:
    """The flat array of what :func:`pack` made, as the page decodes it."""
    counts = np.frombuffer(base64.b64decode(packed['data']), dtype='<u2')
    return packed['low'] + packed['step'] * counts


def pack_indices(indices: np.ndarray) -> dict:
    """Whole numbers from 0 to 65,535, exact.

    Raises:
        ValueError: one is larger.
    """
    if indices.size and indices.max() > STEPS:
        raise ValueError(f'a page holds indices up to {STEPS}, got {indices.max()}; thin the mesh')
    return {'low': 0, 'step': 1, 'data': _base64(indices.astype('<u2'))}


def _base64(counts: np.ndarray) -> str:
    return base64.b64encode(counts.tobytes()).decode()
