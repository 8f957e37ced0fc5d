"""What a dataset holds, whatever its own pipeline makes of it."""

import copy

from mmengine.dataset import Compose

from massm.datasets.shape_dataset import ShapeDataset
from massm.datasets.transforms import LoadParticles, LoadVolume, PackShapeInputs


def unaugmented(dataset: ShapeDataset) -> ShapeDataset:
    """The same subjects as they are stored, without masks."""
    plain = copy.copy(dataset)
    plain.pipeline = Compose([LoadVolume(), LoadParticles(), PackShapeInputs()])
    return plain
