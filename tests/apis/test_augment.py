"""Generated patients on disk: a dataset like any other."""

import json
import shutil

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.manifest import load_manifest
from massm.datasets.check import problem
from massm.datasets.shape_dataset import ShapeDataset
from massm.inference.population import population_of
from massm.io.meshes import read_mesh
from massm.io.nifti import read_mask, read_volume
from massm.io.particles import read_particles
from massm.shape.metrics import dice
from massm.shape.surface import surface_distance, voxelise
from tests.conftest import TINY_PARTICLES, TINY_SPACING

NAMES = ['heart_ventricle_left', 'lung_upper_lobe_right', 'spleen']


@pytest.fixture(scope='module')
def augmented(tiny_dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp('augmented') / 'dataset'
    words = [str(tiny_dataset), '--out', str(out), '--count', '3', '--anatomies', *NAMES]
    assert run_command('augment', words) == 0
    return out


def test_generated_patients_join_the_training_split_and_can_be_used(augmented, tiny_dataset):
    before, after = load_manifest(tiny_dataset), load_manifest(augmented)
    new = [s for s in after.subjects if s.id.startswith('generated_')]
    assert len(new) == 3 and {s.split for s in new} == {'train'}
    assert [s for s in after.subjects if s not in new] == list(before.subjects)
    assert {s.generated_from for s in new} <= {s.id for s in before.of_split('train')}
    assert population_of(augmented, NAMES) == population_of(tiny_dataset, NAMES)
    dataset = ShapeDataset(
        str(augmented), 'train', NAMES, TINY_PARTICLES, TINY_SPACING, pipeline=[]
    )
    assert len(dataset) == len(before.of_split('train')) + 3
    assert all(problem(dataset.get_data_info(n)) is None for n in range(len(dataset)))
    assert (
        dataset.metainfo['shape_model']
        == (
            ShapeDataset(
                str(tiny_dataset), 'train', NAMES, TINY_PARTICLES, TINY_SPACING, pipeline=[]
            )
        ).metainfo['shape_model']
    )
    assert not list(augmented.parent.glob('.partial-*'))


def test_particles_lie_on_the_surface_and_the_surface_on_the_mask(augmented):
    manifest = load_manifest(augmented)
    measured = 0
    for subject in (s for s in manifest.subjects if s.id.startswith('generated_')):
        for name in NAMES:
            entry = subject.anatomies[name]
            if not entry.has_particles:
                continue
            mesh = read_mesh(manifest.path(entry.mesh))
            local = read_particles(manifest.path(entry.local))
            world = read_particles(manifest.path(entry.world))
            mask, grid = read_mask(manifest.path(entry.mask))
            assert surface_distance(local, mesh).mean() < 0.15 * TINY_SPACING
            assert dice(voxelise(mesh, grid), mask) > 0.75
            motion = np.array(entry.patient_to_world)
            assert np.allclose(local @ motion[:3, :3].T + motion[:3, 3], world, atol=1e-3)
            measured += 1
    assert measured >= 3


def grey(manifest, subject, name):
    """Median HU within a mask."""
    mask, _ = read_mask(manifest.path(subject.anatomies[name].mask))
    return np.median(read_volume(manifest.path(subject.image))[0][mask])


def test_grey_values_within_a_generated_mask_are_those_of_the_organ(augmented):
    manifest = load_manifest(augmented)
    patients = {s.id: s for s in manifest.subjects}
    for subject in (s for s in manifest.subjects if s.is_generated):
        base = patients[subject.generated_from]
        for name in NAMES:
            if subject.anatomies[name].mask:
                expected = grey(manifest, base, name)
                assert grey(manifest, subject, name) == pytest.approx(expected, abs=60)


def test_a_patient_whose_anatomies_do_not_move_is_the_one_it_was_generated_from(
    tiny_dataset, tmp_path
):
    out = tmp_path / 'augmented'
    words = [str(tiny_dataset), '--out', str(out), '--count', '4', '--anatomies', *NAMES]
    assert run_command('augment', [*words, '--spread', '1e-9']) == 0
    manifest = load_manifest(out)
    patients = {s.id: s for s in manifest.subjects}
    new = [s for s in manifest.subjects if s.is_generated]
    assert len({s.generated_from for s in new}) > 1
    for subject in new:
        base = patients[subject.generated_from]
        image, grid = read_volume(manifest.path(subject.image))
        expected, same = read_volume(manifest.path(base.image))
        assert grid.is_close(same) and np.abs(image - expected).max() <= 1
        for name in NAMES:
            entry, own = subject.anatomies[name], base.anatomies[name]
            assert entry.status is own.status
            if own.mask:
                masks = [read_mask(manifest.path(e.mask))[0] for e in (entry, own)]
                assert np.array_equal(*masks)
            if own.has_particles:
                local = [read_particles(manifest.path(e.local)) for e in (entry, own)]
                assert np.allclose(*local, atol=1e-2)


def test_an_imported_shape_without_a_mask_is_generated_without_one(tiny_dataset, tmp_path):
    root, out = tmp_path / 'dataset', tmp_path / 'augmented'
    shutil.copytree(tiny_dataset, root)
    content = json.loads((root / 'dataset.json').read_text())
    for row in content['data_list']:
        row['anatomies']['spleen'].pop('mask', None)
    (root / 'dataset.json').write_text(json.dumps(content))
    words = [str(root), '--out', str(out), '--count', '3', '--anatomies', 'spleen']
    assert run_command('augment', words) == 0
    new = [s for s in load_manifest(out).subjects if s.is_generated]
    entries = [s.anatomies['spleen'] for s in new]
    assert any(entry.has_particles for entry in entries)
    assert all(entry.mask is None for entry in entries)
    dataset = ShapeDataset(str(out), 'train', ['spleen'], TINY_PARTICLES, TINY_SPACING, pipeline=[])
    assert all(problem(dataset.get_data_info(n)) is None for n in range(len(dataset)))


def test_a_dataset_that_nobody_may_write_is_augmented(tiny_dataset, tmp_path):
    root, out = tmp_path / 'dataset', tmp_path / 'augmented'
    shutil.copytree(tiny_dataset, root)
    for path in (root, *root.rglob('*')):
        path.chmod(path.stat().st_mode & ~0o222)
    words = [str(root), '--out', str(out), '--count', '1', '--anatomies', 'spleen']
    assert run_command('augment', words) == 0
    assert all(path.stat().st_mode & 0o200 for path in (out, *out.rglob('*')))
    assert not any(path.stat().st_mode & 0o222 for path in (root, *root.rglob('*')))
    for path in (root, *root.rglob('*')):
        path.chmod(path.stat().st_mode | 0o200)


def test_new_shapes_are_new_and_a_seed_gives_them_again(augmented, tiny_dataset, tmp_path):
    again = tmp_path / 'again'
    words = [str(tiny_dataset), '--out', str(again), '--count', '1', '--anatomies', *NAMES]
    assert run_command('augment', words) == 0
    name = 'images/generated_0001.nii'
    assert (augmented / name).read_bytes() == (again / name).read_bytes()
    volume, _ = read_volume(augmented / name)
    others = [read_volume(p)[0] for p in sorted((tiny_dataset / 'images').glob('*.nii'))]
    assert not any(o.shape == volume.shape and np.array_equal(o, volume) for o in others)


@pytest.mark.parametrize('where', ['itself', 'inside', 'used', 'twice'])
def test_nothing_is_replaced(augmented, tiny_dataset, tmp_path, capsys, where):
    source, out = tiny_dataset, tmp_path / 'new'
    if where == 'itself':
        out = tiny_dataset
    elif where == 'inside':
        out = tiny_dataset / 'augmented'
    elif where == 'used':
        out.mkdir()
        (out / 'notes.txt').write_text('x')
    else:
        source = augmented
    before = json.loads((source / 'dataset.json').read_text())
    assert run_command('augment', [str(source), '--out', str(out), '--count', '1']) == 1
    assert capsys.readouterr().err.startswith('error: ')
    assert json.loads((source / 'dataset.json').read_text()) == before
    assert not (tiny_dataset / 'augmented').exists()


@pytest.mark.parametrize('wrong', [['--count', '0'], ['--count', '2', '--spread', '-1']])
def test_numbers_that_cannot_be_are_one_sentence(tiny_dataset, tmp_path, capsys, wrong):
    words = [str(tiny_dataset), '--out', str(tmp_path / 'new'), *wrong]
    assert run_command('augment', words) == 1
    assert 'must be' in capsys.readouterr().err and not (tmp_path / 'new').exists()
