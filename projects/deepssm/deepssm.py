"""DeepSSM: an image of fixed size to the scores of a shape model, and these to particles."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from massm.errors import ConfigError
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
    whole_cell_mm,
)
from projects.deepssm.image_encoder import ImageEncoder
from projects.deepssm.shape_decoders import ParticleAutoencoder, PCADecoder

VIEWS, FRAMES = ('whole', 'aligned'), ('local', 'world')
DECODERS = {'pca': PCADecoder, 'tl': ParticleAutoencoder}
STAGES = {'pca': ('scores', 'particles'), 'tl': ('autoencoder', 'latent', 'joint')}


@MODELS.register_module()
class DeepSSM(ShapeNetwork):
    """A DeepSSM for each anatomy, side by side, that share nothing but the batch.

    Args:
        canvas: voxels of the images the encoders take.
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
        canvas: tuple[int, int, int],
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
        self.view, self.frame, self.alpha, self.margin_mm = view, frame, alpha, margin_mm
        self.canvas = (int(canvas[0]), int(canvas[1]), int(canvas[2]))
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
            kept.append(self.decoders[k].fit(PointDistributionModel.fit(shapes)))
            if self.view == 'whole':
                self.cell_mm[k] = whole_cell_mm(sizes, self.canvas, self.spacing)
            else:
                self.cell_mm[k] = crop_cell_mm(shapes, self.canvas, self.margin_mm)
                flat = shapes.reshape(-1, 3)
                self.middle_mm[k] = torch.as_tensor((flat.min(0) + flat.max(0)) / 2)
        self.is_prepared.fill_(True)
        return kept

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
        for k in range(len(self.anatomies)):
            rows = has[:, k].nonzero().flatten()
            if len(rows):
                placement = self._placement(k, inputs, data_samples)
                images = self._images(k, inputs, placement, rows)
                losses.append(self._loss(k, images, truth[rows, k]))
        nothing = sum(p.sum() for p in self.parameters()) * 0.0
        mean = torch.stack(losses).mean() if losses else nothing
        return {f'loss_{self.stage}': mean}

    def _loss(self, k: int, images: Tensor, truth: Tensor) -> Tensor:
        decoder = self.decoders[k]
        if self.stage == 'scores':
            kept = decoder.is_kept
            return F.mse_loss(self.encoders[k](images)[:, kept], decoder.scores(truth)[:, kept])
        if self.stage == 'particles':
            return F.mse_loss(decoder(self.encoders[k](images)), truth)
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
        placements = [self._placement(k, inputs, data_samples) for k in range(len(self.anatomies))]
        rows = torch.arange(len(inputs), device=inputs.device)
        found = torch.stack(
            [
                self.decoders[k](self.encoders[k](self._images(k, inputs, placement, rows)))
                for k, placement in enumerate(placements)
            ],
            1,
        )
        scores = torch.ones(found.shape[:2], device=inputs.device)
        if self.view == 'whole' and self.frame == 'world':
            return Prediction(None, scores, None, found)
        local = torch.stack([p.to_voxel(found[:, k]) for k, p in enumerate(placements)], 1)
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

    def _images(self, k: int, inputs: Tensor, placement: Placement, rows: Tensor) -> Tensor:
        """``[len(rows), C, X, Y, Z]`` canvases of ``rows`` of the batch."""
        points = canvas_points(self.canvas, self.cell_mm[k], placement.middle)
        own = Placement(placement.turn[rows], placement.origin[rows], placement.middle)
        return seen(inputs[rows], own, points)
