import numpy as np
import pytest

from massm.shape.mirror import mirror_places
from massm.shape.population import PopulationSettings, build_population, serially
from massm.shape.surface import surface_distance
from massm.shape.surface_warp import SurfaceWarp
from massm.structures.mesh import MIRROR
from tests.conftest import make_blob
from tests.shape.test_population import bent


@pytest.fixture(scope='module')
def pair():
    """Models and shapes of a left organ and of the right one, of patients who are each the mirror
    image of themselves; the right one in other particles."""
    left = [bent(make_blob(), amount) for amount in (-1.0, -0.4, 0.1, 0.5, 1.0)]
    right = [mesh.mirrored() for mesh in left]
    built = []
    for meshes, seed in ((left, 0), (right, 1)):
        settings = PopulationSettings(100, vertices=600, seed=seed)
        model, shapes, _ = build_population(meshes, settings, serially)
        built.append((meshes, model, shapes))
    return built


def test_the_particles_of_a_left_organ_lie_on_the_mirror_image_of_a_right_one(pair):
    (meshes, left, shapes), (_, right, mirrored) = pair
    places = mirror_places(left, right)
    assert places.shape == (100, 3) and surface_distance(places, right.surface).max() < 0.1
    carrier = SurfaceWarp(places, right.particles)
    for mesh, known, other in zip(meshes, shapes, mirrored, strict=True):
        found = carrier.apply(other.local) * MIRROR
        assert surface_distance(found, mesh).mean() < 0.3
        assert np.linalg.norm(found - known.local, axis=1).mean() < 1.5
