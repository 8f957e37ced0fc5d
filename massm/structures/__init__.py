"""Value types: each names one thing that flows through the package, with its frame and unit.

``ShapeSample`` (which needs mmengine) is imported from its own module, so that the shape
statistics stay usable without mmengine.
"""

from massm.structures.boxes import Boxes3D
from massm.structures.frame import Frame
from massm.structures.grid import Grid
from massm.structures.mesh import Mesh
from massm.structures.points import PointSet
from massm.structures.rigid import RigidTransform
from massm.structures.status import MASK_STATUSES, AnatomyStatus

__all__ = [
    'MASK_STATUSES',
    'AnatomyStatus',
    'Boxes3D',
    'Frame',
    'Grid',
    'Mesh',
    'PointSet',
    'RigidTransform',
]
