"""The population that `massm export` writes down, and where a new shape lies in it."""

import numpy as np
import pytest

from massm.cohort.manifest import AnatomyEntry, Manifest, SubjectEntry, load_manifest
from massm.inference.population import percentiles, population_of, quantiles_of
from massm.io.meshes import read_mesh, write_mesh
from massm.shape.size_measures import size_measures
from massm.structures import AnatomyStatus
from tests.conftest import ball

SIZES = ['volume_ml', 'surface_cm2', 'axis1_mm', 'axis2_mm', 'axis3_mm']


def test_every_measure_of_a_training_shape_lies_within_its_population(tiny_dataset):
    known = population_of(tiny_dataset, ['spleen'])['spleen']
    manifest = load_manifest(tiny_dataset)
    entries = [subject.anatomies['spleen'] for subject in manifest.of_split('train')]
    meshes = [read_mesh(manifest.path(entry.mesh)) for entry in entries if entry.has_particles]
    assert known['train_shapes'] == len(meshes) > 2
    places = [percentiles(size_measures(mesh), quantiles_of(known)) for mesh in meshes]
    for key in SIZES:
        column = [place[key] for place in places]
        assert min(column) == 0 and max(column) == 100
    biggest = meshes[int(np.argmax([mesh.volume() for mesh in meshes]))]
    larger = size_measures(biggest.with_vertices(2 * biggest.vertices))
    assert percentiles(larger, quantiles_of(known)) == dict.fromkeys(SIZES, 100.0)


def test_generated_patients_are_no_part_of_the_population(tmp_path):
    subjects = []
    for name, radius, base in (('p1', 10, None), ('p2', 20, None), ('generated_0001', 90, 'p2')):
        write_mesh(tmp_path / f'{name}.ply', ball(radius))
        files = {'mesh': f'{name}.ply', 'local': 'l.particles', 'world': 'w.particles'}
        anatomies = {'spleen': AnatomyEntry(AnatomyStatus.OK, **files)}
        subjects.append(SubjectEntry(name, 'train', None, anatomies, generated_from=base))
    Manifest(tmp_path, 3.0, ('spleen',), tuple(subjects)).save()
    assert load_manifest(tmp_path).subjects == tuple(subjects)
    assert (tmp_path / 'dataset.json').read_text().count('generated_from') == 1
    known = population_of(tmp_path, ['spleen'])['spleen']
    assert known['train_shapes'] == 2
    assert known['volume_ml'][-1] == pytest.approx(ball(20).volume() / 1000, rel=1e-3)


def test_models_that_measured_less_tell_less(sphere):
    older = {'train_shapes': 3, 'volume_ml': [10.0, 20.0, 40.0], 'surface_cm2': []}
    assert percentiles(size_measures(sphere), quantiles_of(older)) == {
        'volume_ml': round(50 + 50 * (sphere.volume() / 1000 - 20) / 20, 1),
        'surface_cm2': None,
    }
