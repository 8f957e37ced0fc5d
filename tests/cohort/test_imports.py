"""ShapeWorks projects that join a dataset of scans, before and after it is prepared again."""

import json
import shutil

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.correspondences import check_built
from massm.cohort.manifest import load_manifest
from massm.io.meshes import read_mesh, write_mesh
from massm.io.particles import write_particles
from massm.structures import AnatomyStatus
from tests.cohort.test_prepare import AFFINE, SHAPE, ellipsoid, prepare, write_subject

CENTRE, RADII = AFFINE[:3, :3] @ (20, 22, 18) + AFFINE[:3, 3], np.array([18, 10.5, 18])


@pytest.fixture
def dataset(tmp_path):
    """Source and dataset of three scans; the organ of ``c`` is cut, ``d`` has none."""
    source, out = tmp_path / 'src', tmp_path / 'out'
    cut = ellipsoid(center=(20, 22, 3))
    for name, mask in (('a', None), ('b', None), ('c', cut), ('d', np.zeros(SHAPE, np.uint8))):
        write_subject(source / name, AFFINE, mask=mask)
    (source / 'meta.csv').write_text('image_id;split\n' + ''.join(f'{n};train\n' for n in 'abcd'))
    assert prepare(source, out) == 0
    return source, out


@pytest.fixture
def project(tmp_path, sphere):
    """``project(names, signs)``: the organ of each as an ellipsoid a little wider than the last."""

    def write(names, signs=(1, 1, 1)):
        folder, rows = tmp_path / 'project', []
        for i, name in enumerate(names):
            wide = sphere.vertices / 20 * RADII * (1 + 0.02 * i, 1, 1)
            mesh = sphere.with_vertices((CENTRE + wide) * signs)
            write_mesh(folder / f'{name}.ply', mesh)
            write_particles(folder / f'{name}.particles', mesh.vertices[::40])
            files = {f'{kind}_particles_1': f'{name}.particles' for kind in ('local', 'world')}
            rows.append({'name': name, 'groomed_1': f'{name}.ply', **files})
        path = folder / 'p.swproj'
        path.write_text(json.dumps({'data': rows, 'optimize': {'iterations': 9}}))
        return path

    return write


def bring(project, data, anatomy='organ'):
    return run_command('shapeworks', ['import', str(project), str(data), '--anatomy', anatomy])


def entries(out, anatomy='organ'):
    found = {s.id: s.anatomies.get(anatomy) for s in load_manifest(out).subjects}
    return {name: entry for name, entry in found.items() if entry is not None}


def test_a_project_in_another_frame_than_the_masks_is_refused(dataset, project, capsys):
    _, out = dataset
    before = (out / 'dataset.json').read_bytes()
    for signs, words in (((-1, -1, 1), 'to be in LPS'), ((1, 1, -1), 'in the frame of the scans')):
        assert bring(project('ab', signs), out) == 1
        said = capsys.readouterr().err
        assert 'the particles of a lie off its mask' in said and words in said
    assert (out / 'dataset.json').read_bytes() == before
    assert bring(project('ab'), out) == 0


def test_what_masks_say_of_a_subject_stays(dataset, project, capsys):
    _, out = dataset
    assert bring(project('abc'), out) == 0
    said = capsys.readouterr().out
    assert 'c: organ is truncated in dataset.json and stays so' in said
    found = entries(out)
    statuses = {name: entry.status for name, entry in found.items()}
    assert statuses['c'] is AnatomyStatus.TRUNCATED and statuses['d'] is AnatomyStatus.EMPTY
    assert found['a'].has_particles and found['c'].local is None


def test_preparing_again_brings_back_surfaces_that_an_import_replaced(dataset, project, capsys):
    source, out = dataset
    file = out / 'shapes/organ/meshes/a.ply'
    before = file.read_bytes()
    assert bring(project('ab'), out) == 0
    assert 'take the place of 2 prepared ones' in capsys.readouterr().out
    assert file.read_bytes() != before
    assert prepare(source, out) == 0
    said = capsys.readouterr().out
    assert file.read_bytes() == before and '(2 unchanged' in said
    assert 'built again: organ' in said and 'or import them again' in said


def test_imported_shapes_outlive_preparing_again(dataset, project, capsys):
    source, out = dataset
    assert bring(project('abx'), out, 'atrium') == 0
    imported = entries(out, 'atrium')
    assert set(imported) == {'a', 'b', 'x'}
    write_subject(source / 'b', AFFINE, mask=ellipsoid(radii=(8, 7, 6)))
    capsys.readouterr()
    assert prepare(source, out) == 0
    said = capsys.readouterr().out
    assert 'any more' not in said and 'built again' not in said
    manifest = load_manifest(out)
    assert manifest.anatomies == ('organ', 'atrium') and entries(out, 'atrium') == imported
    check_built(out, ['atrium'])
    shutil.rmtree(source / 'b')
    (source / 'meta.csv').write_text('image_id;split\n' + ''.join(f'{n};train\n' for n in 'acd'))
    assert prepare(source, out) == 0
    assert set(entries(out, 'atrium')) == {'a', 'x'}
    assert not [p for p in out.rglob('*') if p.name.lstrip('.').startswith('b.')]


def test_an_export_replaces_nothing_but_an_export(dataset, project, tmp_path, capsys):
    _, out = dataset
    path = project('ab')
    assert bring(path, out) == 0
    before = path.read_bytes()

    def export(target):
        return run_command('shapeworks', ['export', str(out), '--anatomy', 'organ', str(target)])

    assert export(path) == 1
    assert 'nothing of yours is replaced' in capsys.readouterr().err
    assert path.read_bytes() == before
    assert export(tmp_path / 'o/p.xlsx') == 1
    assert 'call it p.swproj' in capsys.readouterr().err
    assert export(tmp_path / 'o/p.swproj') == 0 == export(tmp_path / 'o/p.swproj')
    assert read_mesh(tmp_path / 'o/organ/a.ply').volume() > 0
    worked_on = json.loads((tmp_path / 'o/p.swproj').read_text())
    worked_on['optimize'] = {'iterations': 9}
    (tmp_path / 'o/p.swproj').write_text(json.dumps(worked_on))
    assert export(tmp_path / 'o/p.swproj') == 1
