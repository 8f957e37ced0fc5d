"""What the network predicted of one tested subject."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from massm.structures import Grid
from massm.structures.modality import DEFAULT_MODALITY
from massm.structures.shape_sample import ShapeSample


@dataclass(frozen=True, eq=False)
class CasePrediction:
    """One subject: particles ``[K, M, 3]`` (patient mm and world mm) and scores ``[K]``, each
    ``None`` where the network gives none, the thresholds ``[K]`` that scores must reach, the image
    and its modality, the reference masks and surfaces."""

    id: str
    anatomies: list[str]
    scores: np.ndarray | None
    local_mm: np.ndarray | None
    world_mm: np.ndarray | None
    image: Path
    masks: list[Path | None]
    meshes: list[Path | None]
    thresholds: np.ndarray
    modality: str = DEFAULT_MODALITY


def case_prediction(sample: ShapeSample) -> CasePrediction:
    """The predictions in ``sample``, its particles taken to patient mm."""
    grid = Grid(sample.image_shape, sample.affine)
    local, world = (
        getattr(sample, key).double().cpu().numpy() if key in sample else None
        for key in ('pred_local_vox', 'pred_world_mm')
    )
    return CasePrediction(
        sample.id,
        sample.anatomies,
        sample.scores.cpu().numpy() if 'scores' in sample else None,
        None if local is None else grid.to_patient(local),
        world,
        sample.image,
        sample.mask,
        sample.mesh,
        sample.score_thresholds.cpu().numpy(),
        sample.get('modality', DEFAULT_MODALITY),
    )
