"""Folders of surfaces and landmarks that are not what they seem."""

import json

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.gone_shapes import remove_gone, shapes_of
from massm.cohort.shape_folder import RegisteredShape
from massm.cohort.shape_records import begin_shape_record, surfaces_in_place
from massm.cohort.surface_cohort import ShapeSource, landmark_use, read_cohort
from massm.errors import ShapeError
from massm.io.meshes import read_mesh, write_mesh
from massm.io.particles import write_particles
from massm.shape.population import serially


def test_an_image_called_vtk_is_no_surface(tmp_path, sphere):
    pyvista = pytest.importorskip('pyvista')
    image = pyvista.ImageData(dimensions=(5, 6, 7), spacing=(3, 3, 3))
    image.point_data['m'] = np.ones(210)
    blocks = {
        'a.vtk': image,
        'b.vtk': image.cast_to_rectilinear_grid(),
        'c.vtk': image.cast_to_structured_grid(),
        'd.vtk': image.cast_to_unstructured_grid(),
    }
    for name, block in blocks.items():
        block.save(tmp_path / name)
        with pytest.raises(ShapeError, match='not a surface'):
            read_mesh(tmp_path / name)
    write_mesh(tmp_path / 'e.vtk', sphere)
    triangles = pyvista.read(tmp_path / 'e.vtk').cast_to_unstructured_grid()
    triangles.save(tmp_path / 'f.vtk')
    assert read_mesh(tmp_path / 'f.vtk').volume() == pytest.approx(sphere.volume(), rel=1e-4)


def cohort(tmp_path, sphere, offset):
    sources = []
    for i in range(3):
        mesh, marks = tmp_path / f'm/s{i}.ply', tmp_path / f'marks/s{i}.particles'
        write_mesh(mesh, sphere.with_vertices(sphere.vertices + np.array([30 * i, 50, 0])))
        points = read_mesh(mesh).vertices[[3, 60, 200]]
        write_particles(marks, points * offset)
        sources.append(ShapeSource(f's{i}', mesh, landmarks=marks))
    return sources


def test_landmarks_off_their_surface_are_refused(tmp_path, sphere):
    good = cohort(tmp_path, sphere, (1, 1, 1))
    assert len(read_cohort(good, tmp_path / 'mended', serially)[0]) == 3
    lps = cohort(tmp_path, sphere, (-1, -1, 1))
    with pytest.raises(ShapeError, match=r'mm off the surface s\d.*LPS'):
        read_cohort(lps, tmp_path / 'mended', serially)


def test_landmarks_of_nobody_are_refused_and_those_used_are_counted(tmp_path, sphere):
    sources = cohort(tmp_path, sphere, (1, 1, 1))
    assert landmark_use(tmp_path / 'marks', sources) == 'landmarks of 3 of 3 shapes'
    write_particles(tmp_path / 'marks/s9_landmarks.particles', np.eye(3))
    (tmp_path / 'marks/._s0.particles').write_bytes(b'Mac')
    assert landmark_use(tmp_path / 'marks', sources).endswith('not used: s9_landmarks.particles')
    bare = [ShapeSource(s.id, s.mesh) for s in sources]
    with pytest.raises(ShapeError, match=r'none of the 3 shapes; expected s0\.particles'):
        landmark_use(tmp_path / 'marks', bare)


def test_files_that_a_mac_hides_are_no_shapes(tmp_path, sphere, capsys):
    write_mesh(tmp_path / 'm/a.ply', sphere)
    (tmp_path / 'm/._a.ply').write_bytes(b'Mac')
    command = ['--meshes', str(tmp_path / 'm'), '--out', str(tmp_path / 'o'), '--jobs', '1']
    assert run_command('build_pdm', [*command, '--same-axes', '--particles', '16']) == 0
    for name in ('stats.json', 'correspondence.npz', '.model.json'):  # particles alone
        (tmp_path / 'o' / name).unlink()
    (tmp_path / 'o/world/._a.particles').write_bytes(b'Mac')
    assert run_command('shape_stats', [str(tmp_path / 'o')]) == 0
    assert 'left out' not in capsys.readouterr().out


def test_results_never_lie_among_the_surfaces(tmp_path, sphere, capsys):
    def refused(meshes, out, *more):
        command = ['--meshes', str(tmp_path / meshes), '--out', str(tmp_path / out), *more]
        assert run_command('build_pdm', command) == 1
        return capsys.readouterr().err

    write_mesh(tmp_path / 'm/a.stl', sphere)
    write_mesh(tmp_path / 'x/meshes/a.stl', sphere)
    assert 'taken for some' in refused('m', 'm')
    assert 'taken for some' in refused('x/meshes', 'x')
    write_mesh(tmp_path / 'y/meshes/a.ply', sphere)
    assert 'that no build wrote' in refused('m', 'y')
    assert 'is the fixed model itself' in refused('m', 'f', '--fixed', str(tmp_path / 'f'))
    assert not list(tmp_path.rglob('*.particles'))


@pytest.mark.parametrize(
    'name', ['project.swproj', 'template.ply', 'stats.json', 'pdm.npz', 'local/a.particles']
)
def test_a_model_that_no_build_wrote_is_not_written_over(name, tmp_path, sphere, capsys):
    write_mesh(tmp_path / 'm/a.ply', sphere)
    mine = tmp_path / 'sw' / name
    mine.parent.mkdir(parents=True)
    mine.write_text('mine')
    command = ['--meshes', str(tmp_path / 'm'), '--out', str(tmp_path / 'sw'), *SMALL]
    assert run_command('build_pdm', command) == 1
    assert f'{mine} was written by no build' in capsys.readouterr().err
    assert mine.read_text() == 'mine' and len(list(mine.parent.iterdir())) == 1


SMALL = ('--jobs', '1', '--same-axes', '--particles', '16')


def test_surfaces_that_were_read_where_they_lie_stay(tmp_path, sphere, capsys):
    """No other surfaces are built over them, under their names or beside them."""
    for name in ('a', 'b'):
        write_mesh(tmp_path / f'spleen/meshes/{name}.ply', sphere)
    write_mesh(tmp_path / 'other/a.ply', sphere.with_vertices(2 * sphere.vertices))
    in_place = ['--meshes', str(tmp_path / 'spleen/meshes'), '--out', str(tmp_path / 'spleen')]
    other = ['--meshes', str(tmp_path / 'other'), '--out', str(tmp_path / 'spleen')]
    before = {f.name: f.read_bytes() for f in (tmp_path / 'spleen/meshes').iterdir()}

    def stay():
        capsys.readouterr()
        assert run_command('build_pdm', [*other, *SMALL]) == 1
        assert 'holds surfaces that no build wrote (a.ply)' in capsys.readouterr().err
        found = (tmp_path / 'spleen/meshes').iterdir()
        assert {f.name: f.read_bytes() for f in found} == before

    assert run_command('build_pdm', [*in_place, *SMALL]) == 0
    stay()
    # Records of before did not say so; they do once the command has run again.
    for record in (tmp_path / 'spleen/local').glob('.*.json'):
        told = json.loads(record.read_text())
        del told['in_place']
        record.write_text(json.dumps(told))
    assert run_command('build_pdm', [*in_place, *SMALL]) == 0
    stay()


def test_surfaces_that_a_build_wrote_are_replaced(tmp_path, sphere):
    """After an interruption, too, and though they were once read where they lie."""
    write_mesh(tmp_path / 'm/a.ply', sphere)
    command = ['--out', str(tmp_path / 'o'), *SMALL, '--meshes']
    assert run_command('build_pdm', [*command, str(tmp_path / 'm')]) == 0
    record = tmp_path / 'o/local/.a.json'
    record.unlink()
    begin_shape_record(tmp_path / 'o', 'a')
    assert surfaces_in_place(tmp_path / 'o') == []
    assert run_command('build_pdm', [*command, str(tmp_path / 'o/meshes')]) == 0
    write_mesh(tmp_path / 'm/a.ply', sphere.with_vertices(2 * sphere.vertices))
    assert run_command('build_pdm', [*command, str(tmp_path / 'm')]) == 0
    volume = read_mesh(tmp_path / 'o/meshes/a.ply').volume()
    assert volume == pytest.approx(8 * sphere.volume(), rel=1e-4)
    write_mesh(tmp_path / 'o/meshes/mine.ply', sphere)
    assert surfaces_in_place(tmp_path / 'o') == [tmp_path / 'o/meshes/mine.ply']


def test_shapes_that_left_the_model_leave_the_folder(tmp_path, sphere):
    """One whose mesh is gone, and one whose mesh is now broken; a source is never removed."""
    source = ShapeSource('broken', tmp_path / 'meshes/broken.ply')
    kept = ShapeSource('kept', tmp_path / 'elsewhere/kept.ply')
    for name in ('gone', 'broken', 'kept', 'mine'):
        write_mesh(tmp_path / f'meshes/{name}.ply', sphere)
        for frame in ('local', 'world'):
            write_particles(tmp_path / f'{frame}/{name}.particles', np.eye(3))
    quality = {name: {'train': True} for name in ('gone', 'broken', 'kept')}
    (tmp_path / 'stats.json').write_text(json.dumps({'quality': quality}))
    results = [RegisteredShape(kept), RegisteredShape(source, failure='broken')]
    assert remove_gone(tmp_path, shapes_of(tmp_path), results) == ['broken', 'gone']
    assert {p.stem for p in tmp_path.glob('world/*')} == {'kept', 'mine'}
    assert {p.stem for p in tmp_path.glob('meshes/*')} == {'broken', 'kept', 'mine'}
