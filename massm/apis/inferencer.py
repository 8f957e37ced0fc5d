"""From CT files to shapes, in mmengine's inferencer conventions."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer

from massm.apis.checkpoints import check_fits, check_weights
from massm.apis.results import InferenceResult, ShapeResult
from massm.datasets.resample import resample
from massm.engine.checkpoint import register_safe_loader
from massm.errors import CheckpointError
from massm.io.nifti import read_volume
from massm.registry import MODELS
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import AnatomyStatus, Boxes3D, Grid
from massm.structures.shape_sample import ShapeSample

OUTSIDE_SHARE = 0.02


class MASSMInferencer(BaseInferencer):
    """Loads a model once and runs it on files, or on ``(array, Grid)`` pairs.

    Args:
        config: resolved (:func:`massm.apis.config.load_config`).
        checkpoint: weights that training wrote; brings the templates along.
        device: default: a GPU where there is one.
        score_threshold: lowest score that says an anatomy is there; by default the model's own.
        trust_checkpoint: see :func:`massm.engine.checkpoint.load_checkpoint`.

    Raises:
        CheckpointError: the checkpoint is missing, untrusted, or of another config.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str,
        device: str | None = None,
        score_threshold: float | None = None,
        trust_checkpoint: bool = False,
    ) -> None:
        register_safe_loader(trust_checkpoint)
        self.score_threshold, self.trust_checkpoint = score_threshold, trust_checkpoint
        super().__init__(config, checkpoint, device, scope='massm', show_progress=False)
        if not self.model.templates.is_filled:
            raise CheckpointError(f'{checkpoint}: brings no templates; train it again')
        if self.score_threshold is None:
            self.score_threshold = float(self.model.score_threshold)
        self._warps: dict[int, SurfaceWarp] = {}

    def _init_model(self, cfg: Config, weights: str, device: str = 'cpu') -> torch.nn.Module:
        model = MODELS.build(cfg.model)
        stored = check_fits(cfg, weights, self.trust_checkpoint)
        check_weights(model, stored, weights)
        self._load_weights_to_model(model, stored, cfg)
        return model.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> Any:
        return self._load

    def _init_visualizer(self, cfg: Config) -> None:
        return None

    def _load(self, image: Any) -> dict[str, Any]:
        """A file or ``(array, Grid)`` to network input on the working grid."""
        if isinstance(image, tuple):
            volume, grid, source = image[0], image[1], 'array'
        else:
            (volume, grid), source = read_volume(Path(image)), str(image)
        working = grid.working(self.model.spacing)
        sample = ShapeSample(
            metainfo={
                'image_shape': working.shape,
                'working': working,
                'grid': grid,
                'source': source,
            }
        )
        hu = torch.as_tensor(resample(volume, grid, working))
        return {'inputs': hu[None], 'data_samples': sample}

    def _inputs_to_list(self, inputs: Any) -> list:
        return list(inputs) if isinstance(inputs, list) else [inputs]

    @torch.inference_mode()
    def forward(self, inputs: dict, **kwargs: Any) -> list[ShapeSample]:
        """Runs the network on a collated batch."""
        return self.model.test_step(inputs)

    def visualize(self, inputs: list, preds: Any, **kwargs: Any) -> None:
        """Nothing is drawn here; see ``massm.visualization``."""

    def postprocess(
        self,
        preds: list[ShapeSample],
        visualization: Any = None,
        return_datasamples: bool = False,
        **kwargs: Any,
    ) -> list[InferenceResult]:
        """Shapes in the geometry of each input file."""
        return [self._result(sample) for sample in preds]

    def _result(self, sample: ShapeSample) -> InferenceResult:
        names = self.model.anatomies
        shapes = [self._shape(sample, k, name) for k, name in enumerate(names)]
        return InferenceResult(sample.source, sample.grid, shapes)

    def _shape(self, sample: ShapeSample, k: int, name: str) -> ShapeResult:
        working: Grid = sample.working
        score = float(sample.scores[k])
        local = working.to_patient(sample.pred_local_vox[k].double().cpu().numpy())
        corners = Boxes3D(sample.pred_boxes[k].double().cpu()).corners().numpy()
        sides = np.stack(np.meshgrid(*corners.reshape(2, 3).T, indexing='ij'), -1).reshape(-1, 3)
        return ShapeResult(
            name,
            _status(score, self.score_threshold, local, sample.grid),
            score,
            local,
            sample.pred_world_mm[k].double().cpu().numpy(),
            self.model.templates.mesh(k).with_vertices(self._warp(k).apply(local)),
            working.to_patient(sides),
        )

    def _warp(self, k: int) -> SurfaceWarp:
        if k not in self._warps:
            templates = self.model.templates
            self._warps[k] = SurfaceWarp(templates.mesh(k).vertices, templates.particles_mm(k))
        return self._warps[k]


def _status(score: float, threshold: float, local_mm: np.ndarray, grid: Grid) -> AnatomyStatus:
    """Absent below the threshold; truncated where particles leave the input's field of view."""
    if score < threshold:
        return AnatomyStatus.ABSENT
    voxels = grid.to_voxel(local_mm)
    outside = ((voxels < -0.5) | (voxels > np.array(grid.shape) - 0.5)).any(1).mean()
    return AnatomyStatus.TRUNCATED if outside > OUTSIDE_SHARE else AnatomyStatus.OK
