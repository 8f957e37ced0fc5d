"""From scans to shapes, in mmengine's inferencer conventions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer

from massm.apis.checkpoints import check_settings, check_weights
from massm.cohort.working_volume import working_volume
from massm.engine.checkpoint import register_safe_loader
from massm.errors import CheckpointError, ConfigError
from massm.inference.imaged_part import ImagedPart
from massm.inference.judgement import Uncertainty, judge
from massm.inference.memory import check_memory
from massm.inference.model_directory import ModelDirectory, read_model
from massm.inference.model_identity import ModelIdentity
from massm.inference.population import quantiles_of
from massm.inference.results import InferenceResult, ShapeResult
from massm.inference.shape_skill import blind_scores, blind_sizes
from massm.inference.shifted_passes import SHIFTS, predict_mean
from massm.io.images import Scan, look_at, read_scan
from massm.io.nifti import affine_mm, one_volume
from massm.io.placement import nifti_placement
from massm.io.scan_folders import scans_in
from massm.registry import build_network
from massm.shape.pdm import PointDistributionModel
from massm.shape.statistics import compactness
from massm.shape.surface_modes import SurfaceModes
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Boxes3D, Grid, Mesh
from massm.structures.modality import DEFAULT_MODALITY
from massm.structures.shape_sample import ShapeSample

LEADING_SHARE = 0.95
SHOWN_MODES = 3  # that a result brings as movements of the surface


class MASSMInferencer(BaseInferencer):
    """Loads a model once and runs it on images: paths, folders of images or of DICOM slices,
    ``(array, Grid)`` pairs, nibabel images, or lists of them.

    Args:
        model: a model directory, as :func:`massm.inference.model_directory.export_model` writes
            one and which cannot execute anything; or a resolved config, with ``weights``.
        weights: checkpoint of training, with a config.
        device: default: a GPU where there is one.
        score_threshold: lowest score that says an anatomy is there; by default the model's of each.
        trust_checkpoint: see :func:`massm.engine.checkpoint.load_checkpoint`.
        anatomies: report these only; by default all.
        series: which DICOM series, where a folder holds several.
        passes: 1 to 8 shifted passes whose mean is taken (:mod:`massm.inference.shifted_passes`).

    Raises:
        CheckpointError: the model is missing, untrusted, or its parts do not fit.
        ConfigError: an anatomy is not one of the model's.
    """

    def __init__(
        self,
        model: str | Path | Config,
        weights: str | None = None,
        device: str | None = None,
        score_threshold: float | None = None,
        trust_checkpoint: bool = False,
        anatomies: list[str] | None = None,
        series: str | None = None,
        passes: int = 1,
    ) -> None:
        if not 1 <= passes <= len(SHIFTS):
            raise ConfigError(f'passes must be 1 to {len(SHIFTS)}, got {passes}')
        self.passes = passes
        register_safe_loader(trust_checkpoint)
        self.trust_checkpoint, self.series = trust_checkpoint, series
        self._directory: ModelDirectory | None = None
        if not isinstance(model, Config):
            self._directory = read_model(Path(model))
        config = model if isinstance(model, Config) else self._directory.config
        self.modality = config.get('modality', DEFAULT_MODALITY)
        super().__init__(config, weights, device, scope='massm', show_progress=False)
        if not self.model.templates.is_filled:
            raise CheckpointError(f'{weights}: brings no templates; train it again')
        self.score_thresholds = self.model.score_thresholds.tolist()
        if score_threshold is not None:
            self.score_thresholds = [score_threshold] * len(self.score_thresholds)
        self.identity = ModelIdentity.of(self.model, _name(model, weights))
        self.device = next(self.model.parameters()).device
        self.chosen = _chosen(self.model.anatomies, anatomies)
        self._warps: dict[int, SurfaceWarp] = {}
        self._modes: dict[int, SurfaceModes] = {}

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu') -> Any:
        if self._directory is not None:
            return self._directory.build().to(device)
        model = build_network(cfg.model)
        stored = check_settings(cfg, str(weights), self.trust_checkpoint)
        check_weights(model, stored, str(weights))
        self._load_weights_to_model(model, stored, cfg)
        return model.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> Any:
        return self._load

    def _init_visualizer(self, cfg: Config) -> None:
        return None

    def list_images(self, inputs: list) -> list:
        """The single images that ``inputs`` stand for: a folder of images for those in it."""
        return self._inputs_to_list(inputs)

    def stream(self, images: list) -> Iterator[InferenceResult]:
        """Results one by one: memory does not grow with their number."""
        for image in self.list_images(images):
            yield self(image)[0]

    def _load(self, image: Any) -> dict[str, Any]:
        """An image to network input on the working grid."""
        scan, source = self._scan(image)
        check_memory(source, scan.grid.working(self.model.spacing), self.model, self.device)
        volume, working = working_volume(scan.volume, scan.grid, self.model.spacing, self.modality)
        sample = ShapeSample(
            metainfo={
                'image_shape': working.shape,
                'working': working,
                'grid': scan.grid,
                'source': source,
                'warnings': scan.warnings,
                'volume': scan.volume,
                'imaged': ImagedPart.of(scan.volume, scan.grid),
                'slices': scan.slices,
                'oriented': scan.oriented,
                'series': scan.series,
            }
        )
        return {'inputs': torch.as_tensor(volume)[None], 'data_samples': sample}

    def _scan(self, image: Any) -> tuple[Scan, str]:
        modality = self.modality
        if isinstance(image, str | Path):
            return read_scan(Path(image), self.series, modality), str(image)
        if isinstance(image, tuple):
            source, oriented, notes = 'array', True, []
            volume, grid = np.asarray(image[0], dtype=np.float32), image[1]
        else:
            source = str(image.get_filename())
            volume = one_volume(image.get_fdata(dtype=np.float32), source)
            grid = Grid(volume.shape, affine_mm(image))
            oriented, notes = nifti_placement(image)
        notes = (*notes, *look_at(source, volume, grid, modality))
        return Scan(volume, grid, notes, oriented=oriented), source

    def _inputs_to_list(self, inputs: Any) -> list:
        """A folder stands for the scans in it (:func:`massm.io.scan_folders.scans_in`)."""
        if isinstance(inputs, list):
            return [one for item in inputs for one in self._inputs_to_list(item)]
        if isinstance(inputs, str | Path) and Path(inputs).is_dir():
            return list(scans_in(Path(inputs)))
        return [inputs]

    @torch.inference_mode()
    def forward(self, inputs: dict, **kwargs: Any) -> list[ShapeSample]:
        """Runs the network on a collated batch."""
        return predict_mean(self.model, inputs, self.passes)

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
        shapes = [self._shape(sample, k, names[k]) for k in self.chosen]
        warnings = (*sample.warnings, *self._blind(shapes))
        return InferenceResult(
            sample.source,
            sample.grid,
            shapes,
            warnings,
            sample.volume,
            sample.slices,
            sample.oriented,
            self.modality,
            sample.series,
            self.identity,
        )

    def _blind(self, shapes: list[ShapeResult]) -> list[str]:
        """Warnings where scores and sizes would look average whatever the patient."""
        found = [shape.anatomy for shape in shapes if shape.is_present]
        blind = {
            'shape scores not to be read': set(blind_scores(self._tested)),
            'volumes not placed among the training subjects': {
                name for name in found if 'volume_ml' in blind_sizes(self._tested, name)
            },
        }
        return [
            f'{what} (in the test of this model they hardly followed the patients): '
            f'{", ".join(name for name in found if name in names)}'
            for what, names in blind.items()
            if names.intersection(found)
        ]

    @property
    def _tested(self) -> dict[str, Any] | None:
        """What was measured of the model, where it says so."""
        return self._directory.metadata['accuracy'] if self._directory else None

    def _shape(self, sample: ShapeSample, k: int, name: str) -> ShapeResult:
        working = sample.working
        local = working.to_patient(sample.pred_local_vox[k].double().cpu().numpy())
        world = sample.pred_world_mm[k].double().cpu().numpy()
        mesh = self.model.templates.mesh(k).with_vertices(self._warp(k).apply(local))
        shape_model = self._shape_model(name)
        modes = None if shape_model is None else self._surface_modes(k, shape_model)
        moved = None if modes is None else self._warp(k).apply(world)
        imaged = sample.imaged.bounding(mesh)
        seen = imaged.shows(local)
        scores = None if shape_model is None else shape_model.coefficients(world)
        score = float(sample.scores[k])
        leading = None if scores is None else scores[: _leading(shape_model)]
        uncertainty = self._uncertainty(sample, k)
        status, reason = judge(score, self.score_thresholds[k], seen, leading, uncertainty)
        corners = Boxes3D(sample.pred_boxes[k].double().cpu()).corners().numpy().reshape(2, 3)
        sides = np.stack(np.meshgrid(*corners.T, indexing='ij'), -1).reshape(-1, 3)
        return ShapeResult(
            anatomy=name,
            status=status,
            reason=reason,
            score=score,
            local_mm=local,
            world_mm=world,
            seen=seen,
            mesh=mesh,
            seen_vertices=imaged.shows(mesh.vertices),
            box_mm=working.to_patient(sides),
            z_scores=scores,
            mahalanobis=None if scores is None else float(np.linalg.norm(scores)),
            deviation_mm=None if modes is None else _deviation(mesh, modes.mean, moved),
            uncertainty_mm=None if uncertainty is None else uncertainty.at(local, mesh.vertices),
            quantiles=self._quantiles(name),
            modes=modes,
            world_vertices=moved,
        )

    def _uncertainty(self, sample: ShapeSample, k: int) -> Uncertainty | None:
        """None also where no validation said what the deviations are worth."""
        if 'pred_deviation_mm' not in sample or not self.model.local_head.is_calibrated(k):
            return None
        particles = sample.pred_deviation_mm[k].double().cpu().numpy()
        return Uncertainty(particles, float(self.model.local_head.usual_uncertainty[k]))

    def _warp(self, k: int) -> SurfaceWarp:
        if k not in self._warps:
            templates = self.model.templates
            self._warps[k] = SurfaceWarp(templates.mesh(k).vertices, templates.particles_mm(k))
        return self._warps[k]

    def _shape_model(self, name: str) -> PointDistributionModel | None:
        return self._directory.shape_models[name] if self._directory else None

    def _surface_modes(self, k: int, model: PointDistributionModel) -> SurfaceModes:
        if k not in self._modes:
            self._modes[k] = SurfaceModes.of(model, self._warp(k), SHOWN_MODES)
        return self._modes[k]

    def _quantiles(self, name: str) -> dict[str, list[float]] | None:
        """Of the sizes that follow the patients."""
        if self._directory is None:
            return None
        known = quantiles_of(self._directory.metadata['population'][name])
        blind = blind_sizes(self._tested, name)
        return {size: quantiles for size, quantiles in known.items() if size not in blind}


def _name(model: str | Path | Config, weights: str | None) -> str:
    """What to call a model: its folder, or a checkpoint with its folder."""
    if isinstance(model, Config):
        return '/'.join(Path(str(weights)).absolute().parts[-2:])
    return Path(model).resolve().name


def _deviation(mesh: Mesh, mean: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """``[V]`` mm of vertices ``moved`` from the ``mean`` shape's, along its normals."""
    return ((moved - mean) * mesh.with_vertices(mean).vertex_normals()).sum(1)


def _chosen(known: list[str], wanted: list[str] | None) -> list[int]:
    unknown = [name for name in wanted or [] if name not in known]
    if unknown:
        raise ConfigError(f'no anatomy {", ".join(unknown)} in this model; it has {known}')
    return [k for k, name in enumerate(known) if wanted is None or name in wanted]


def _leading(model: PointDistributionModel) -> int:
    """How many modes carry :data:`LEADING_SHARE` of the variance."""
    return int(np.searchsorted(compactness(model), LEADING_SHARE)) + 1
