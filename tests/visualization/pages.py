"""A result to make pages of, without a network: bent balls in a made-up scan."""

import json
import re

import numpy as np

from massm.inference.results import InferenceResult, ShapeResult
from massm.shape.pdm import PointDistributionModel
from massm.shape.surface_modes import SurfaceModes
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import AnatomyStatus, Grid, Mesh
from tests.conftest import ball

QUANTILES = {'volume_ml': np.linspace(20, 60, 21).tolist()}
SCAN = Grid((30, 34, 28), np.diag([6.0, 6, 6, 1]))


def shape(name, centre, status=AnatomyStatus.OK, reason='', steps=24, modes=4, **other):
    """An anatomy of radius 20 mm about ``centre``, its population of ``modes`` modes."""
    rng = np.random.default_rng(len(name))
    mesh = ball(20.0, steps)
    particles = mesh.vertices[:: max(1, len(mesh.vertices) // 60)]
    shapes = particles * (1 + 0.1 * rng.standard_normal((modes + 1, 1, 3)))
    model, warp = PointDistributionModel.fit(shapes), SurfaceWarp(mesh.vertices, particles)
    world = model.instance(rng.standard_normal(len(model)))
    surface = warp.apply(world)
    placed = surface + centre
    inside = SCAN.to_voxel(placed)[:, 0] < SCAN.shape[0] - 0.5
    known = {
        'z_scores': model.coefficients(world),
        'mahalanobis': 1.5,
        'deviation_mm': surface[:, 0] - mesh.vertices[:, 0],
        'uncertainty_mm': np.full(len(placed), 1.5),
        'quantiles': QUANTILES,
        'modes': SurfaceModes.of(model, warp, 3),
        'world_vertices': surface,
    }
    return ShapeResult(
        name, status, reason, 0.7, world + centre, world, np.ones(len(world), bool),
        Mesh(placed, mesh.faces), inside, np.zeros((8, 3)), **{**known, **other},
    )  # fmt: skip


def result(*shapes, volume=None):
    if volume is None:
        volume = np.random.default_rng(0).normal(40, 60, SCAN.shape).astype(np.float32)
    return InferenceResult('scan.nii.gz', SCAN, list(shapes), ('a warning',), volume)


def told(page, kind):
    """What a page's view of a ``kind`` starts from."""
    pattern = f'data-kind="{kind}".*?<script type="application/json">(.*?)</script>'
    return json.loads(re.search(pattern, page, re.S)[1])
