"""ShapeWorks projects that join a dataset of scans, before and after it is prepared again."""

import json
import os
import shutil

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort import shapeworks_import
from massm.cohort.correspondences import check_built, is_imported
from massm.cohort.manifest import load_manifest
from massm.errors import DatasetError
from massm.io.meshes import read_mesh, write_mesh
from massm.io.particles import write_particles
from massm.io.shapeworks import read_project
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


def export(out, target):
    return run_command('shapeworks', ['export', str(out), '--anatomy', 'organ', str(target)])


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


def test_a_project_in_another_frame_than_a_scan_without_mask_is_refused(dataset, project, capsys):
    _, out = dataset
    before = (out / 'dataset.json').read_bytes()
    for signs, words in (((-1, -1, 1), 'to be in LPS'), ((1, 1, -1), 'in the frame of the scans')):
        assert bring(project('ab', signs), out, 'atrium') == 1
        said = capsys.readouterr().err
        assert 'particles of a lie outside of its scan' in said and words in said
    assert (out / 'dataset.json').read_bytes() == before
    assert bring(project('abx'), out, 'atrium') == 0
    assert 'no mask of atrium in 2 scans (a): taken as RAS mm' in capsys.readouterr().out


def test_prepared_surfaces_of_subjects_who_are_not_in_the_project_stay(dataset, project, capsys):
    _, out = dataset
    assert bring(project('ab'), out) == 0
    capsys.readouterr()
    assert bring(project('a'), out) == 0
    assert 'organ: without particles now, as they are not in the project: b' in (
        capsys.readouterr().out
    )
    found = entries(out)
    assert found['a'].has_particles and not found['b'].has_particles
    assert (out / found['b'].mesh).is_file()
    assert not list(out.rglob('b.particles'))


def test_an_interrupted_import_counts_as_nothing(dataset, project, monkeypatch):
    """Files of the earlier one were replaced, some of them."""
    _, out = dataset
    assert bring(project('ab'), out) == 0
    mirror = out / 'shapes/organ/mirror.particles'
    write_particles(mirror, np.eye(3))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shapeworks_import, 'write_template_shape', interrupted)
        with pytest.raises(KeyboardInterrupt):
            shapeworks_import.import_project(project('ba'), out, ['organ'], 3.0)
    assert not mirror.exists() and entries(out)['a'].local is None
    with pytest.raises(DatasetError, match='has no correspondences of organ'):
        check_built(out, ['organ'])
    assert not is_imported(load_manifest(out), 'organ')
    assert bring(project('ba'), out) == 0
    check_built(out, ['organ'])


def test_imported_particles_hold_while_their_surface_is_the_same(dataset, project, capsys):
    """Whenever it was written: a dataset may be copied without its times."""
    source, out = dataset
    assert bring(project('ab'), out, 'atrium') == 0
    imported, mesh = entries(out, 'atrium'), out / 'shapes/atrium/meshes/a.ply'
    later = mesh.stat().st_mtime + 100
    os.utime(mesh, (later, later))
    assert prepare(source, out) == 0
    assert 'built again' not in capsys.readouterr().out and entries(out, 'atrium') == imported
    write_mesh(mesh, read_mesh(out / 'shapes/atrium/meshes/b.ply'))
    os.utime(mesh, (later, later))
    assert prepare(source, out) == 0
    assert 'built again: atrium' in capsys.readouterr().out


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
    # The surfaces are others than the particles that are still there lie on.
    assert export(out, source.parent / 'o/p.swproj') == 1
    assert 'has no correspondences of organ' in capsys.readouterr().err
    assert not (source.parent / 'o').exists()


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

    assert export(out, path) == 1
    assert 'nothing of yours is replaced' in capsys.readouterr().err
    assert path.read_bytes() == before
    assert export(out, tmp_path / 'o/p.xlsx') == 1
    assert 'call it p.swproj' in capsys.readouterr().err
    assert export(out, tmp_path / 'o/p.swproj') == 0 == export(out, tmp_path / 'o/p.swproj')
    assert read_mesh(tmp_path / 'o/organ/a.ply').volume() > 0
    worked_on = json.loads((tmp_path / 'o/p.swproj').read_text())
    worked_on['optimize'] = {'iterations': 9}
    (tmp_path / 'o/p.swproj').write_text(json.dumps(worked_on))
    assert export(out, tmp_path / 'o/p.swproj') == 1


def test_an_export_replaces_no_file_of_another(dataset, project, tmp_path, capsys):
    """Not one that an earlier export does not name; what is the same already is in nobody's way."""
    _, out = dataset
    assert bring(project('ab'), out) == 0
    target, theirs = tmp_path / 'o/p.swproj', tmp_path / 'o/organ/b_local.particles'
    write_particles(theirs, np.eye(3))
    before = theirs.read_bytes()
    assert export(out, target) == 1
    assert 'b_local.particles: is there and of no earlier export' in capsys.readouterr().err
    assert theirs.read_bytes() == before and not target.exists()
    assert not (tmp_path / 'o/organ/a.ply').exists()
    shutil.copy(out / 'shapes/organ/local/b.particles', theirs)
    assert export(out, target) == 0
    assert bring(project('ba'), out) == 0
    assert export(out, target) == 0
    assert theirs.read_bytes() == (out / 'shapes/organ/local/b.particles').read_bytes()


def test_of_particles_that_were_built_those_of_the_dataset_are_exported(dataset, project, tmp_path):
    _, out = dataset
    assert bring(project('abc'), out) == 0
    assert export(out, tmp_path / 'all/p.swproj') == 0
    assert [s.name for s in read_project(tmp_path / 'all/p.swproj').subjects] == ['a', 'b', 'c']
    (out / 'shapes/organ/.model.json').write_text('{}')  # as a build leaves it
    assert export(out, tmp_path / 'o/p.swproj') == 0
    assert [s.name for s in read_project(tmp_path / 'o/p.swproj').subjects] == ['a', 'b']
