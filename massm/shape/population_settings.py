"""How to build the correspondences of a population; imports little, since a command's help reads
the defaults."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from massm.structures import Mesh


@dataclass(frozen=True)
class PopulationSettings:
    """How to build correspondences.

    ``particles``: how many. ``weight``: the correspondence weight, 0 for registration alone; more
    makes spacing more even and the model more compact, at the cost of surface distance.
    ``any_pose``: surfaces may be turned any way; otherwise they share their axes. ``vertices``: of
    the working triangulation (by default one that carries the particles). ``rounds``: of
    sliding. ``seed``: of the particles' layout.
    """

    particles: int
    weight: float = 0.3
    any_pose: bool = False
    vertices: int | None = None
    rounds: int = 3
    seed: int = 0

    def working_vertices(self, mesh: 'Mesh') -> int:
        """Enough for the particles and for the shape, and no more than ``mesh`` has to tell."""
        most = int(np.clip(len(mesh.vertices), 1000, 2000))
        return self.vertices or int(np.clip(4 * self.particles, 1000, most))
