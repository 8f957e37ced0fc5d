"""DeepSSM: an image of fixed size to the scores of a shape model, and these to particles."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from massm.cohort.manifest import load_manifest
from massm.errors import ConfigError
from massm.io.nifti import volume_sizes
from massm.io.templates import ShapeTemplate
from massm.models.massm import image_sizes
from massm.models.shape_network import Prediction, ShapeNetwork
from massm.registry import MODELS
from massm.shape.alignment import rigidly_onto
from massm.shape.pdm import PointDistributionModel
from massm.structures import Boxes3D
from massm.structures.shape_sample import ShapeSample
from projects.deepssm.canvas import (
    Placement,
    aligned,
    canvas_points,
    crop_cell_mm,
    seen,
    whole,
    whole_canvas,
    whole_cell_mm,
)
from projects.deepssm.image_encoder import ImageEncoder, smallest_size
from projects.deepssm.shape_decoders import ParticleAutoencoder, PCADecoder, needed_modes

VIEWS, FRAMES = ('whole', 'aligned'), ('local', 'world')
DECODERS = {'pca': PCADecoder, 'tl': ParticleAutoencoder}
STAGES = {'pca': ('encoder', 'joint'), 'tl': ('autoencoder', 'latent', 'joint')}
# Of local particles, scores for where the anatomy lies and how it is turned.
POSE_SCORES = 6


@MODELS.register_module()
class DeepSSM(ShapeNetwork):
    """A DeepSSM for each anatomy, side by side, that share nothing but the batch.

    Args:
        canvas: voxels along each axis of the images the encoders take; or how many in all, of
            which a ``whole`` view takes the shape that suits the training scans of
            ``template_root``, or a cube where there is no such dataset.
        view: ``whole``, the scan about its middle; ``aligned``, the anatomy cropped and turned as
            its true pose says, in tests too: an upper bound.
        frame: of the particles that are learnt, ``local`` (of a ``whole`` view) or ``world``.
        latents: scores, at most.
        decoder: ``pca``, or ``tl`` for the TL variant.
        margin_mm: around the anatomy in an ``aligned`` view.
        alpha: weight of the TL variant's codes in its last stage.

    Raises:
        ConfigError: settings that do not go together, or a canvas too small.
    """

    def __init__(
        self,
        anatomies: Sequence[str],
        num_particles: int,
        spacing: float,
        canvas: tuple[int, int, int] | int,
        view: str = 'whole',
        frame: str = 'world',
        latents: int = 48,
        decoder: str = 'pca',
        margin_mm: float = 10.0,
        alpha: float = 1.0,
        template_root: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            anatomies, num_particles, spacing, template_root, data_preprocessor, init_cfg
        )
        if view not in VIEWS or frame not in FRAMES or decoder not in DECODERS:
            raise ConfigError(
                f'DeepSSM: view, frame and decoder are of {VIEWS}, {FRAMES} and {tuple(DECODERS)}; '
                f'got {view!r}, {frame!r} and {decoder!r}'
            )
        if view == 'aligned' and frame == 'local':
            raise ConfigError("DeepSSM: an aligned view has no local frame; set frame='world'")
        self.view, self.frame, self.latents = view, frame, latents
        self.alpha, self.margin_mm = alpha, margin_mm
        self.canvas = _shape_of(canvas, view, template_root)
        self.stage = STAGES[decoder][0]
        self.stages = STAGES[decoder]
        count, inside = len(self.anatomies), len(self.data_preprocessor.windows)
        self.encoders = nn.ModuleList(
            ImageEncoder(inside, self.canvas, latents) for _ in range(count)
        )
        self.decoders = nn.ModuleList(
            DECODERS[decoder](latents, num_particles) for _ in range(count)
        )
        self.register_buffer('cell_mm', torch.ones(count))
        self.register_buffer('middle_mm', torch.zeros(count, 3))
        self.register_buffer('is_prepared', torch.tensor(False))

    def read_templates(self, root) -> list[ShapeTemplate]:
        """Takes the dataset's templates; what was prepared for others does not hold."""
        self.is_prepared.fill_(False)
        return super().read_templates(root)

    def prepare(self, particles: np.ndarray, exists: np.ndarray, sizes: np.ndarray) -> list[int]:
        """Fits decoders and canvas to the training shapes.

        Args:
            particles: ``[N, K, M, 3]`` mm, of :meth:`targets`; ``exists`` ``[N, K]`` which are.
            sizes: ``[N, 3]`` voxels of the volumes.

        Returns:
            How many scores of each anatomy are learnt.

        Raises:
            ConfigError: an anatomy has less than two shapes.
        """
        kept = []
        for k, name in enumerate(self.anatomies):
            shapes = particles[exists[:, k], k]
            if len(shapes) < 2:
                raise ConfigError(
                    f'DeepSSM: {name} is whole in {len(shapes)} training patients and needs at '
                    'least 2; leave it out of anatomies'
                )
            modes = PointDistributionModel.fit(shapes).truncate(self._scores_of(k, shapes))
            self.decoders[k].fit(modes)
            kept.append(len(modes))
            if self.view == 'whole':
                self.cell_mm[k] = whole_cell_mm(sizes, self.canvas, self.spacing)
            else:
                self.cell_mm[k] = crop_cell_mm(shapes, self.canvas, self.margin_mm)
                flat = shapes.reshape(-1, 3)
                self.middle_mm[k] = torch.as_tensor((flat.min(0) + flat.max(0)) / 2)
        self.is_prepared.fill_(True)
        return kept

    def _scores_of(self, k: int, shapes: np.ndarray) -> int:
        """How many scores ``shapes`` ``[N, M, 3]`` (mm, of :meth:`targets`) are given. Where local
        ones lie is most of their variance, so what modes of shape they need is asked in shape
        space."""
        pose = 0
        own = torch.as_tensor(shapes)
        if self.frame == 'local':
            pose, own = POSE_SCORES, rigidly_onto(own, self.templates.world_mm[k].to(own))
        needed = needed_modes(PointDistributionModel.fit(own.numpy())) + pose
        return min(needed, self.latents)

    def targets(self, local_vox: Tensor, world_mm: Tensor, sizes: Tensor) -> Tensor:
        """``[B, K, M, 3]`` mm: what the decoders give. World particles, or local ones from the
        middle of the volume.

        Args:
            local_vox, world_mm: ``[B, K, M, 3]``.
            sizes: ``[B, 3]`` voxels.
        """
        if self.frame == 'world':
            return world_mm
        flat = whole(sizes, self.spacing).to_canvas(local_vox.flatten(1, 2))
        return flat.view(local_vox.shape)

    def loss(self, inputs: Tensor, data_samples: list[ShapeSample]) -> dict[str, Tensor]:
        """The stage's loss, mean over the anatomies that the batch has."""
        local = torch.stack([sample.local_vox for sample in data_samples])
        world = torch.stack([sample.world_mm for sample in data_samples])
        has = torch.stack([sample.has_shape for sample in data_samples])
        truth = self.targets(local, world, image_sizes(inputs, data_samples))
        losses = []
        for k, (_, images) in enumerate(self._views(inputs, data_samples)):
            rows = has[:, k].nonzero().flatten()
            if len(rows):
                losses.append(self._loss(k, images[rows], truth[rows, k]))
        nothing = sum(p.sum() for p in self.parameters()) * 0.0
        mean = torch.stack(losses).mean() if losses else nothing
        return {f'loss_{self.stage}': mean}

    def _loss(self, k: int, images: Tensor, truth: Tensor) -> Tensor:
        decoder = self.decoders[k]
        if isinstance(decoder, PCADecoder):
            found = decoder(self.encoders[k](images), frozen=self.stage == 'encoder')
            return F.mse_loss(found, truth) / decoder.size**2
        code = decoder.scores(truth)
        rebuilt = F.mse_loss(decoder(code), truth) / decoder.size**2
        if self.stage == 'autoencoder':
            return rebuilt
        if self.stage == 'latent':
            return F.mse_loss(self.encoders[k](images), code.detach())
        return rebuilt + self.alpha * F.mse_loss(self.encoders[k](images), code)

    def predict(self, inputs: Tensor, data_samples: list[ShapeSample] | None) -> Prediction:
        """Particles of every anatomy, which is taken to be there.

        Raises:
            ConfigError: an aligned view of samples without a true pose.
        """
        shapes, places = [], []
        for k, (placement, images) in enumerate(self._views(inputs, data_samples)):
            shapes.append(self.decoders[k](self.encoders[k](images)))
            places.append(placement)
        found = torch.stack(shapes, 1)
        scores = torch.ones(found.shape[:2], device=inputs.device)
        if self.view == 'whole' and self.frame == 'world':
            return Prediction(None, scores, None, found)
        local = torch.stack([p.to_voxel(found[:, k]) for k, p in enumerate(places)], 1)
        if self.frame == 'local':
            found = rigidly_onto(local * self.spacing, self.templates.world_mm)
        return Prediction(Boxes3D.from_points(local).tensor, scores, local, found)

    def _placement(
        self, k: int, inputs: Tensor, data_samples: list[ShapeSample] | None
    ) -> Placement:
        if self.view == 'whole':
            return whole(image_sizes(inputs, data_samples), self.spacing)
        if not data_samples or 'local_vox' not in data_samples[0]:
            raise ConfigError('DeepSSM: an aligned view needs the true pose; test on a dataset')
        local, world = (
            torch.stack([getattr(sample, key)[k] for sample in data_samples])
            for key in ('local_vox', 'world_mm')
        )
        return aligned(local, world, self.middle_mm[k], self.spacing)

    def _views(
        self, inputs: Tensor, data_samples: list[ShapeSample] | None
    ) -> Iterator[tuple[Placement, Tensor]]:
        """Each anatomy's canvas and what it shows of the batch, ``[B, C, X, Y, Z]``; all see the
        same of a whole scan."""
        view = None
        for k in range(len(self.anatomies)):
            if view is None or self.view == 'aligned':
                placement = self._placement(k, inputs, data_samples)
                points = canvas_points(self.canvas, self.cell_mm[k], placement.middle)
                view = placement, seen(inputs, placement, points)
            yield view


def _shape_of(
    canvas: tuple[int, int, int] | int, view: str, root: str | None
) -> tuple[int, int, int]:
    if not isinstance(canvas, int):
        return int(canvas[0]), int(canvas[1]), int(canvas[2])
    if view != 'whole':
        raise ConfigError(
            'DeepSSM: one number of voxels is for a whole view; give canvas as three numbers'
        )
    if root is None or not (Path(root) / 'dataset.json').is_file():
        return whole_canvas(np.full((1, 3), canvas), canvas, smallest_size())
    manifest = load_manifest(Path(root))
    files = [manifest.path(s.image) for s in manifest.of_split('train') if s.image]
    return whole_canvas(volume_sizes(files), canvas, smallest_size())
