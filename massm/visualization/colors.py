"""One colour an anatomy, the same in every picture and table."""

import matplotlib
import numpy as np


def anatomy_colors(count: int) -> np.ndarray:
    """``[count, 3]`` in [0, 1], distinct up to 40."""
    palette = [*matplotlib.colormaps['tab20'].colors, *matplotlib.colormaps['tab20b'].colors]
    return np.array([palette[i % len(palette)] for i in range(count)])
