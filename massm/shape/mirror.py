"""Mirror images: a mirrored right kidney is a left one, whose particles lie on it as on any other.

Where an anatomy's particles lie on its partner's mean surface, seen in a mirror, is found once; the
partner's own particles then carry them to every patient.
"""

import numpy as np

from massm.shape.correspondence_model import CorrespondenceModel
from massm.structures.mesh import MIRROR


def mirror_places(model: CorrespondenceModel, partner: CorrespondenceModel) -> np.ndarray:
    """``[M, 3]``: where on the mean surface of ``partner`` (its world frame, mm) the particles of
    ``model`` lie, if that surface's mirror image is one of ``model``'s shapes."""
    return model.register(partner.surface.mirrored()).local * MIRROR
