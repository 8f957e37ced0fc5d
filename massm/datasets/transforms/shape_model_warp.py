"""New shapes of a patient's anatomies, drawn from their models: image, masks and particles follow
(DeepSSM's augmentation, Bhalodia et al. 2018, drawn anew for every sample)."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from massm.datasets.transforms.random_warp import Warp, warp_sample
from massm.errors import ConfigError
from massm.registry import TRANSFORMS
from massm.shape.alignment import rigid_fit
from massm.shape.gaussian_process import GaussianKernel, Kernel
from massm.shape.particles import farthest_points
from massm.shape.pdm import PointDistributionModel
from massm.shape.shape_sampling import KINDS, draw_coefficients, leading_modes

# Of an anatomy so many particles carry the warp: modes are smooth.
CARRIERS = 64
# mm. Of the warp between particles: fine near them, wide so that what lies around comes along.
FINE, WIDE = 8.0, 24.0
# Of what carriers say, as a share of the kernel: neighbours that disagree meet half way.
NOISE = 0.03
# Voxels.
KNOT_SPACING = 3
# The least volume, of before, that any part of the image may shrink to.
LEAST_VOLUME = 0.2
HALVINGS = 5


@TRANSFORMS.register_module()
class ShapeModelWarp(BaseTransform):
    """Bends the patient so that whole anatomies take new shapes; their pose stays.

    Where shapes drawn for neighbours would fold the image between them, all go only half the way,
    or half of that.

    Args:
        kind: ``kde``, shapes about the patient's own as dense as the population's; ``gaussian``,
            shapes of the model, whatever the patient's own.
        spread: standard deviation of what ``kde`` adds, of a mode's own.
        prob: how often it acts.

    Raises:
        ConfigError: a setting that cannot be.
    """

    def __init__(self, kind: str = 'kde', spread: float = 0.5, prob: float = 0.5) -> None:
        if kind not in KINDS or not spread > 0:
            raise ConfigError(
                f'ShapeModelWarp: kind is one of {", ".join(KINDS)} and spread above 0; got '
                f'{kind!r} and {spread}'
            )
        self.kind, self.spread, self.prob = kind, spread, prob
        self.kernel: Kernel = GaussianKernel(FINE, 0.5) + GaussianKernel(WIDE, 1.0)

    def sample(self, results: dict[str, Any]) -> dict[int, np.ndarray]:
        """New local particles ``[M, 3]`` in voxels, by anatomy."""
        spacing, rng = results['spacing'], results['rng']
        drawn = {}
        for k in np.flatnonzero(results['has_shape']):
            own = results['local_vox'][k].astype(np.float64) * spacing
            new = self.draw(results['shape_models'][k], own, rng)
            if new is not None:
                drawn[int(k)] = new / spacing
        return drawn

    def draw(
        self, shapes: PointDistributionModel, own: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | None:
        """A new shape ``[M, 3]`` (mm) in the pose of ``own`` ``[M, 3]`` (patient mm), which keeps
        what the modes do not say; None where the model has no modes."""
        model = leading_modes(shapes)
        if not len(model):
            return None
        to_world = rigid_fit(own, model.mean)
        world = to_world.apply(own)
        known = model.coefficients(world)
        new = draw_coefficients(known, self.kind, self.spread, rng)
        moved = world + model.instance(new) - model.instance(known)
        return to_world.inverse().apply(moved)

    def warp_to(self, results: dict[str, Any], drawn: dict[int, np.ndarray]) -> Warp | None:
        """The warp that shows the patient with particles ``drawn`` (voxels); None where even a
        small part of the way would fold the image."""
        shape, spacing = results['volume'].shape, results['spacing']
        before, step = _carriers(results['local_vox'], drawn, spacing)
        share = 1.0
        for _ in range(HALVINGS):
            after = before + share * step
            control = _field(self.kernel, after, -share * step, shape, spacing) / spacing
            warp = Warp(
                (np.array(shape) - 1) / 2,
                np.eye(3),
                np.zeros(3),
                torch.as_tensor(control, dtype=torch.float32),
                shape,
            )
            if least_volume(warp) > LEAST_VOLUME:
                return warp
            share /= 2
        return None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draws and applies."""
        if results['rng'].random() >= self.prob:
            return results
        drawn = self.sample(results)
        warp = self.warp_to(results, drawn) if drawn else None
        return results if warp is None else warp_sample(results, warp)


def _carriers(
    local_vox: np.ndarray, drawn: dict[int, np.ndarray], spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Places ``[P, 3]`` (mm from voxel 0) of particles that carry the warp, and where they go from
    there ``[P, 3]``."""
    before, step = [], []
    for k, new in drawn.items():
        own = local_vox[k].astype(np.float64)
        chosen = farthest_points(own, min(CARRIERS, len(own)))
        before.append(spacing * own[chosen])
        step.append(spacing * (new - own)[chosen])
    return np.concatenate(before), np.concatenate(step)


def _field(
    kernel: Kernel, places: np.ndarray, values: np.ndarray, shape: tuple[int, ...], spacing: float
) -> np.ndarray:
    """``[3, A, B, D]`` mm at knots over the volume's corners: the mean of a Gaussian process with
    ``kernel`` that has ``values`` at ``places`` ``[P, 3]`` (mm), nothing far from them."""
    covariance = kernel(places, places) + NOISE**2 * np.eye(len(places))
    weights = np.linalg.solve(covariance, values)
    axes = [np.linspace(0, n - 1, max(2, -(-n // KNOT_SPACING))) * spacing for n in shape]
    knots = np.stack(np.meshgrid(*axes, indexing='ij'), -1)
    return np.moveaxis((kernel(knots.reshape(-1, 3), places) @ weights).reshape(knots.shape), 3, 0)


def least_volume(warp: Warp) -> float:
    """The smallest volume that a corner of a cube between knots of the output shows of the input,
    relative to its own; 0 or less where the warp folds. Between knots the bend is trilinear, so
    that at a cube's corners its slopes are those of the cube's own edges."""
    bend = np.moveaxis(warp.bend.numpy().astype(np.float64), 0, -1)
    steps = (np.array(warp.shape) - 1) / (np.array(bend.shape[:3]) - 1)
    edges = [np.diff(bend, axis=a) / step for a, step in enumerate(steps)]
    least = np.inf
    for corner in itertools.product((0, 1), repeat=3):
        slopes = [_at_corner(edge, axis, corner) for axis, edge in enumerate(edges)]
        volumes = np.linalg.det(warp.linear + np.stack(slopes, -1))
        least = min(least, float(volumes.min()))
    return least


def _at_corner(edges: np.ndarray, axis: int, corner: Sequence[int]) -> np.ndarray:
    """Of ``edges`` along ``axis`` that which begins or ends at each cube's ``corner``."""
    for other, end in enumerate(corner):
        if other != axis:
            count = edges.shape[other] - 1
            edges = edges.take(range(end, end + count), axis=other)
    return edges
