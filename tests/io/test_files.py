import gzip
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import pyvista
import SimpleITK as sitk

from massm.errors import ImageError, ShapeError
from massm.io.atomic import replacing, replacing_folder, write_text
from massm.io.meshes import read_mesh, write_mesh
from massm.io.nifti import map_volume, read_mask, read_volume, write_volume
from massm.io.particles import read_particles, write_particles
from massm.io.shapeworks import ProjectDomain, ProjectSubject, write_project
from massm.structures import Grid, Mesh


def test_a_volume_comes_back_with_its_oblique_grid(tmp_path, rng):
    affine = np.array([[-1.0, 0.2, 0, 5], [0.2, 2, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]])
    data = rng.integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    write_volume(tmp_path / 'a.nii.gz', data, Grid(data.shape, affine))
    read, grid = read_volume(tmp_path / 'a.nii.gz')
    assert np.array_equal(read, data) and np.allclose(grid.affine, affine, atol=1e-4)
    write_volume(tmp_path / 'a.nii', data, grid)
    assert np.array_equal(map_volume(tmp_path / 'a.nii'), data)


def test_no_program_misplaces_a_volume_of_a_tilted_gantry(tmp_path):
    """ITK knows axes at right angles only, and takes a qform of such in place of a tilted sform."""
    data, affine = np.zeros((20, 20, 30), np.uint8), np.diag([1.0, 1, 3, 1])
    for tilt, is_refused in ((0.5, True), (0.03, False), (0.0, False)):
        affine[1, 2] = tilt
        write_volume(tmp_path / 'a.nii.gz', data, Grid(data.shape, affine))
        assert np.allclose(nibabel.load(tmp_path / 'a.nii.gz').affine, affine)
        if is_refused:
            with pytest.raises(RuntimeError, match='orthonormal'):
                sitk.ReadImage(str(tmp_path / 'a.nii.gz'))
            continue
        image = sitk.ReadImage(str(tmp_path / 'a.nii.gz'))
        place = np.array(image.TransformIndexToPhysicalPoint((19, 19, 29))) * (-1, -1, 1)
        assert np.abs(place - Grid(data.shape, affine).to_patient(np.array((19, 19, 29)))).max() < 1


@pytest.mark.parametrize('shape', [(4, 5, 6, 1), (4, 5, 6, 1, 1)])
def test_trailing_singleton_axes_are_dropped(tmp_path, shape):
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), tmp_path / 'a.nii.gz')
    assert read_mask(tmp_path / 'a.nii.gz')[0].shape == (4, 5, 6)


def _save(path, data, affine=None):
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine), path)


def _corrupt_gzip(path):
    _save(path, np.random.default_rng(0).normal(size=(30, 30, 30)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:2000])


def _not_finite(path):
    data = np.zeros((3, 3, 3), np.float32)
    data[1, 1, 1] = np.nan
    _save(path, data)


BAD = {
    'no such file': lambda path: None,
    'cannot be read': _corrupt_gzip,
    'not 3D': lambda path: _save(path, np.zeros((3, 3, 3, 2), np.float32)),
    'NaN or infinite': _not_finite,
    'cannot be read as NIfTI': lambda path: path.write_bytes(gzip.compress(b'hello' * 100)),
}


@pytest.mark.parametrize('message', BAD)
def test_bad_volumes_are_refused_in_one_sentence(tmp_path, message):
    path = tmp_path / 'bad.nii.gz'
    BAD[message](path)
    with pytest.raises(ImageError, match=message) as caught:
        read_volume(path)
    assert 'bad.nii.gz' in str(caught.value) and '\n' not in str(caught.value)


def test_particles_keep_a_micrometre_and_check_their_count(tmp_path, rng):
    points = rng.normal(size=(20, 3)) * 300
    write_particles(tmp_path / 'a.particles', points)
    assert np.abs(read_particles(tmp_path / 'a.particles') - points).max() < 1e-5
    with pytest.raises(ShapeError, match='20 particles, but 30 expected'):
        read_particles(tmp_path / 'a.particles', 30)
    (tmp_path / 'b.particles').write_text('1 2\n3 4\n')
    with pytest.raises(ShapeError, match='x y z'):
        read_particles(tmp_path / 'b.particles')


def test_meshes_come_back(tmp_path, sphere):
    for suffix in ('ply', 'stl', 'obj'):
        write_mesh(tmp_path / f'a.{suffix}', sphere)
        assert read_mesh(tmp_path / f'a.{suffix}').volume() == pytest.approx(sphere.volume(), 1e-4)
    with pytest.raises(ShapeError, match='no such mesh'):
        read_mesh(tmp_path / 'none.ply')


@pytest.mark.parametrize(
    ('suffix', 'reader'),
    [
        ('ply', 'vtkPLYReader'),
        ('stl', 'vtkSTLReader'),
        ('obj', 'vtkOBJReader'),
        ('vtk', 'vtkPolyDataReader'),
        ('vtp', 'vtkXMLPolyDataReader'),
    ],
)
def test_meshes_say_their_frame_where_slicer_looks_for_it(tmp_path, sphere, suffix, reader):
    """As Slicer's model storage reads them, which takes a file that says nothing for LPS."""
    import vtk

    path = tmp_path / f'a.{suffix}'
    write_mesh(path, sphere, {'deviation_mm': sphere.vertices[:, 0]})
    source = getattr(vtk, reader)()
    source.SetFileName(str(path))
    source.Update()
    data = source.GetOutput()
    said = {
        'ply': lambda: [source.GetComments().GetValue(i) for i in range(2)],
        'obj': lambda: [source.GetComment()],
        'vtp': lambda: [f'SPACE={data.GetFieldData().GetAbstractArray("SPACE").GetValue(0)}'],
    }.get(suffix, lambda: [source.GetHeader()])()
    assert any('SPACE=RAS' in words for words in said)
    bounds = np.array(data.GetBounds()).reshape(3, 2)
    assert np.allclose(bounds.T, [sphere.vertices.min(0), sphere.vertices.max(0)], atol=1e-4)
    back = read_mesh(path)
    assert np.allclose(back.vertices.max(0), sphere.vertices.max(0), atol=1e-4)
    assert len(back.faces) == len(sphere.faces)


@pytest.mark.parametrize('suffix', ['ply', 'stl', 'obj', 'vtk', 'vtp'])
def test_a_mesh_that_says_lps_is_turned(tmp_path, sphere, suffix):
    """As 3D Slicer writes its meshes unless told otherwise."""
    path = tmp_path / f'a.{suffix}'
    moved = Mesh(sphere.vertices + np.array([5.0, 7.0, 9.0]), sphere.faces)
    write_mesh(path, moved)
    if suffix == 'vtp':
        polydata = pyvista.read(path)
        polydata.field_data['SPACE'] = ['LPS']
        polydata.save(path)
    else:
        path.write_bytes(path.read_bytes().replace(b'SPACE=RAS', b'SPACE=LPS', 1))
    back = read_mesh(path)
    assert np.allclose(back.vertices.mean(0) * [-1, -1, 1], moved.vertices.mean(0), atol=1e-3)
    assert back.volume() == pytest.approx(moved.volume(), rel=1e-4), 'not inside out'
    stored = read_mesh(path, as_stored=True)
    assert np.allclose(stored.vertices.mean(0), moved.vertices.mean(0), atol=1e-3)


def test_a_failed_write_leaves_the_old_file_and_no_scraps(tmp_path):
    target = tmp_path / 'a.txt'
    target.write_text('old')
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text('half')
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ['a.txt'] and target.read_text() == 'old'


def test_project_file_is_json_with_relative_paths(tmp_path):
    domain = ProjectDomain('meshes/s.ply', None, 'local/s.particles', 'world/s.particles')
    write_project(tmp_path / 'p.swproj', [ProjectSubject('s', {'spleen': domain}, {'sex': 'F'})])
    row = json.loads((tmp_path / 'p.swproj').read_text())['data'][0]
    assert row['local_particles_1'] == 'local/s.particles'
    assert len(row['alignment_1'].split()) == 16 and row['group_sex'] == 'F'


def test_shapeworks_alignment_takes_local_to_world(real_data):
    """Golden: the shipped project pins the convention our exported projects follow."""
    folder = real_data / 'left_atrium_shapeworks'
    for row in json.loads((folder / 'left_atrium.swproj').read_text())['data']:
        matrix = np.array(row['alignment_1'].split(), float).reshape(4, 4)
        local = read_particles(folder / row['local_particles_1'])
        world = read_particles(folder / row['world_particles_1'])
        assert np.abs(local @ matrix[:3, :3].T + matrix[:3, 3] - world).max() < 2e-3


@pytest.mark.parametrize('mounted', [False, True])
def test_a_folder_is_replaced_whole_or_not_at_all_and_keeps_what_is_not_its_own(
    tmp_path, monkeypatch, mounted
):
    monkeypatch.setattr(Path, 'is_mount', lambda _: mounted)
    folder, own = tmp_path / 'model', {'a', 'part/b'}

    def write(*names):
        with replacing_folder(folder, own) as made:
            for name in names:
                (made / name).parent.mkdir(exist_ok=True)
                (made / name).write_text(f'{len(names)} files')
            if 'broken' in names:
                raise KeyboardInterrupt

    def there():
        files = (p for p in folder.rglob('*') if p.is_file())
        return {p.relative_to(folder).as_posix(): p.read_text() for p in files}

    write('a', 'part/b')
    (folder / 'part/notes').write_text('mine')
    before = there()
    assert before == {'a': '2 files', 'part/b': '2 files', 'part/notes': 'mine'}
    with pytest.raises(KeyboardInterrupt):
        write('a', 'broken', 'c')
    assert there() == before
    write('a')
    assert there() == {'a': '1 files', 'part/notes': 'mine'}
    assert [p.name for p in tmp_path.iterdir()] == ['model']


def test_links_and_empty_folders_stay_what_they_are_in_a_replaced_folder(tmp_path):
    folder, data = tmp_path / 'model', tmp_path / 'data'
    for made in (folder / 'empty', data):
        made.mkdir(parents=True)
    (data / 'large').write_text('scan')
    for name, leads_to in (('folder', data), ('file', data / 'large'), ('broken', data / 'gone')):
        (folder / name).symlink_to(leads_to)
    with replacing_folder(folder, {'a'}) as made:
        (made / 'a').write_text('new')
    assert (folder / 'empty').is_dir() and (folder / 'a').read_text() == 'new'
    assert all((folder / name).is_symlink() for name in ('folder', 'file', 'broken'))
    assert [p.name for p in data.iterdir()] == ['large']


def test_a_folder_that_cannot_be_put_in_place_leaves_the_older_one(tmp_path, monkeypatch):
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model/a').write_text('old')
    rename = Path.rename

    def full(self, target):
        if self.name == 'made':
            raise OSError('no space left')
        return rename(self, target)

    monkeypatch.setattr(Path, 'rename', full)
    with pytest.raises(OSError, match='no space'), replacing_folder(tmp_path / 'model', {'a'}):
        pass
    assert (tmp_path / 'model/a').read_text() == 'old'


def test_a_file_where_a_folder_would_be_is_refused_and_kept(tmp_path):
    (tmp_path / 'best.pth').write_text('weights')
    with pytest.raises(OSError, match=r'best\.pth: is a file'):  # noqa: SIM117
        with replacing_folder(tmp_path / 'best.pth', {'a'}):
            pass
    assert (tmp_path / 'best.pth').read_text() == 'weights'
    assert [p.name for p in tmp_path.iterdir()] == ['best.pth']


def test_writing_leaves_the_mask_of_new_files_alone(tmp_path, monkeypatch):
    """It is the whole process's: whoever changes it for a moment does so for all threads."""
    there = os.umask(0o027)
    os.umask(there)
    monkeypatch.setattr(os, 'umask', lambda mask: pytest.fail('sets the mask of all threads'))
    write_text(tmp_path / 'a', 'text')
    assert (tmp_path / 'a').stat().st_mode & 0o777 == 0o666 & ~there
