from types import SimpleNamespace

import numpy as np
import pytest

from massm.io.meshes import read_mesh
from massm.io.nifti import read_mask, read_volume
from massm.io.particles import read_particles
from massm.phantom import cohort
from massm.phantom.anatomy import ANATOMIES
from massm.shape.reconstruction import mesh_from_mask
from massm.shape.surface import surface_distance
from massm.structures import Mesh


def whole(source):
    return sorted(source.glob('s*/correspondences/*.particles'))


def test_true_correspondences_lie_on_the_masks_surface(tiny_source):
    """To a fraction of the 8 mm voxel, in every subject and organ."""
    for path in whole(tiny_source)[::5]:
        name = path.name.removesuffix('.particles')
        mask, grid = read_mask(path.parents[1] / 'segmentations' / f'{name}.nii.gz')
        surface = mesh_from_mask(mask, grid)
        assert surface_distance(read_particles(path), surface).mean() < 0.3 * 8


def test_true_surfaces_do_not_fold(tiny_source):
    for path in whole(tiny_source)[::5]:
        name = path.name.removesuffix('.particles')
        canonical = read_mesh(tiny_source / 'canonical' / f'{name}.ply')
        mesh = Mesh(read_particles(path), canonical.faces)
        assert mesh.volume() > 0
        agree = np.einsum('ij,ij->i', mesh.vertex_normals(), mesh.vertices - mesh.vertices.mean(0))
        assert (agree > 0).mean() > 0.75


def test_tissues_have_believable_hounsfield_units(tiny_source):
    expected = {
        'heart_ventricle_left': (200, 420),
        'heart_ventricle_right': (120, 300),
        'heart_atrium_left': (200, 420),
        'heart_atrium_right': (120, 300),
        'lung_upper_lobe_left': (-920, -700),
        'lung_upper_lobe_right': (-920, -700),
        'spleen': (60, 170),
    }
    assert expected.keys() == set(ANATOMIES)
    volume, _ = read_volume(tiny_source / 's0001' / 'ct.nii.gz')
    assert np.percentile(volume, 1) < -950 and volume.max() > 300
    for name, (low, high) in expected.items():
        for folder in sorted(tiny_source.glob('s0*')):
            path = folder / 'segmentations' / f'{name}.nii.gz'
            if path.exists() and read_mask(path)[0].sum() > 100:
                inside = read_volume(folder / 'ct.nii.gz')[0][read_mask(path)[0]]
                assert low < np.median(inside) < high


def test_the_seed_decides_everything(tmp_path, tiny_source):
    from massm.cli import run_command

    # Nor do the number of subjects and the processes that share them decide anything.
    command = [str(tmp_path), '--subjects', '5', '--spacing', '8', '--seed', '3', '--jobs', '2']
    assert run_command('make_phantom', command) == 0
    for name in ('s0000/ct.nii.gz', f's0004/segmentations/{ANATOMIES[0]}.nii.gz'):
        if (tiny_source / name).exists():
            a, b = read_volume(tmp_path / name)[0], read_volume(tiny_source / name)[0]
            assert np.array_equal(a, b)


@pytest.fixture
def old_cohort(tmp_path, monkeypatch):
    """What another cohort left, and a folder of somebody's that is called alike."""
    for name in (
        'canonical',
        's0001/correspondences',
        's0007/correspondences',
        's0008/segmentations',
    ):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(cohort, 'build_canon', lambda _: SimpleNamespace(meshes={}))
    (tmp_path / 'meta.csv').write_text('image_id;split\ns0007;train\n')
    return tmp_path


def test_nothing_of_another_cohort_stays(old_cohort, monkeypatch):
    """Nor, while a cohort is not done, a split that would be taken for its own."""
    made = []

    def write_subject(folder, *rest):
        assert not (old_cohort / 'meta.csv').exists()
        assert sorted(f.name for f in old_cohort.glob('s*')) == [*made, 's0008']
        (folder / 'correspondences').mkdir(parents=True)
        made.append(folder.name)
        return folder.name

    monkeypatch.setattr(cohort, '_write_subject', write_subject)
    assert list(cohort.make_cohort(old_cohort, 3, seed=1, jobs=1)) == made
    meta = (old_cohort / 'meta.csv').read_text()
    assert meta.splitlines()[1:] == ['s0000;train', 's0001;val', 's0002;test']


def test_a_smaller_cohort_keeps_its_own_subjects_alone(old_cohort, monkeypatch):
    def write_subject(folder, *rest):
        (folder / 'correspondences').mkdir(parents=True, exist_ok=True)
        return folder.name

    monkeypatch.setattr(cohort, '_write_subject', write_subject)
    assert len(list(cohort.make_cohort(old_cohort, 5, seed=1, jobs=1))) == 5
    (old_cohort / 's0002/kept').touch()
    assert len(list(cohort.make_cohort(old_cohort, 3, seed=1, jobs=1))) == 3
    left = [f.name for f in sorted(old_cohort.glob('s*'))]
    assert left == ['s0000', 's0001', 's0002', 's0008']
    assert (old_cohort / 's0002/kept').exists()


@pytest.mark.parametrize('arguments', [['--subjects', '1'], ['--spacing', '50']])
def test_senseless_numbers_are_refused(tmp_path, arguments, capsys):
    from massm.cli import run_command

    assert run_command('make_phantom', [str(tmp_path), *arguments]) == 1
    assert capsys.readouterr().err.startswith('error: need at least')
