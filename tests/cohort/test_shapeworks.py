import json
import shutil

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.manifest import load_manifest
from massm.io.meshes import read_mesh, write_mesh
from massm.io.particles import write_particles
from massm.io.shapeworks import read_project
from massm.structures import Mesh


@pytest.fixture
def atria(real_data):
    return real_data / 'left_atrium_shapeworks' / 'left_atrium.swproj'


def contents(project):
    """What must survive: particles and matrices as they are, groups, mesh geometry."""
    found = {}
    for subject in project.subjects:
        for number, domain in enumerate(subject.domains.values()):
            mesh = read_mesh(project.file(domain.mesh))
            found[subject.name, number] = (
                project.file(domain.local).read_bytes(),
                project.file(domain.world).read_bytes(),
                domain.alignment.tolist(),
                domain.procrustes.tolist(),
                subject.groups,
                mesh.vertices.astype(np.float32).tolist(),
                mesh.faces.tolist(),
            )
    return found


def test_import_export_import_loses_nothing(atria, tmp_path):
    data, out = tmp_path / 'data', tmp_path / 'out' / 'atria.swproj'
    assert run_command('shapeworks', ['import', str(atria), str(data), '--anatomy', 'la']) == 0
    command = ['export', str(data), '--anatomy', 'la', str(out)]
    assert run_command('shapeworks', command) == 0
    again = tmp_path / 'again'
    assert run_command('shapeworks', ['import', str(out), str(again), '--anatomy', 'la']) == 0
    first = contents(read_project(atria))
    assert contents(read_project(out)) == first
    assert contents(read_project(again / 'shapes/la/project.swproj')) == first
    manifest = load_manifest(again)
    assert len(manifest.subjects) == 4 and manifest.anatomies == ('la',)
    matrix = np.array(manifest.subjects[0].anatomies['la'].patient_to_world)
    assert np.allclose(
        matrix, read_project(atria).subjects[0].domains['1'].local_to_world, atol=1e-5
    )


def test_spreadsheet_projects_are_read(atria, tmp_path):
    openpyxl = pytest.importorskip('openpyxl')
    shutil.copytree(atria.parent, tmp_path / 'p')
    rows = json.loads(atria.read_text())['data']
    book = openpyxl.Workbook()
    book.active.title = 'data'
    book.active.append(list(rows[0]))
    for row in rows:
        book.active.append([row[key] for key in rows[0]])
    book.save(tmp_path / 'p' / 'atria.xlsx')
    assert contents(read_project(tmp_path / 'p' / 'atria.xlsx')) == contents(read_project(atria))


@pytest.fixture
def two_domains(tmp_path, sphere, rng):
    """A project of two domains, of which one subject lacks the second."""
    rows = []
    for name in 'ab':
        row = {'name': name, 'group_side': name}
        for domain in ('femur', 'pelvis')[: 2 if name == 'a' else 1]:
            points = rng.normal(size=(20, 3))
            for kind in ('local', 'world'):
                row[f'{kind}_particles_{domain}'] = f'{name}_{domain}_{kind}.particles'
                write_particles(tmp_path / row[f'{kind}_particles_{domain}'], points)
            row[f'groomed_{domain}'] = f'{name}_{domain}.vtk'
            write_mesh(tmp_path / row[f'groomed_{domain}'], sphere)
        rows.append(row)
    path = tmp_path / 'two.swproj'
    path.write_text(json.dumps({'data': rows}))
    return path


def test_several_domains_are_several_anatomies(two_domains, tmp_path, capsys):
    data = str(tmp_path / 'd')
    assert run_command('shapeworks', ['import', str(two_domains), data, '--anatomy', 'femur']) == 1
    assert 'has 2 domains (femur, pelvis)' in capsys.readouterr().err
    both = ['--anatomy', 'femur', '--anatomy', 'pelvis']
    assert run_command('shapeworks', ['import', str(two_domains), data, *both]) == 0
    subjects = {s.id: s for s in load_manifest(tmp_path / 'd').subjects}
    assert set(subjects['a'].anatomies) == {'femur', 'pelvis'}
    assert set(subjects['b'].anatomies) == {'femur'}
    out = tmp_path / 'o' / 'p.swproj'
    assert run_command('shapeworks', ['export', data, *both, str(out)]) == 0
    project = read_project(out)
    assert project.domains == ('femur', 'pelvis') and project.subjects[0].groups == {'side': 'a'}
    assert contents(project) == contents(read_project(two_domains))


def test_an_import_joins_a_dataset_of_the_same_subjects(two_domains, tmp_path):
    data = str(tmp_path / 'd')
    both = ['--anatomy', 'femur', '--anatomy', 'pelvis']
    assert run_command('shapeworks', ['import', str(two_domains), data, *both]) == 0
    again = ['--anatomy', 'femur2', '--anatomy', 'pelvis2']
    assert run_command('shapeworks', ['import', str(two_domains), data, *again]) == 0
    manifest = load_manifest(tmp_path / 'd')
    assert manifest.anatomies == ('femur', 'pelvis', 'femur2', 'pelvis2')
    assert len(manifest.subjects) == 2 and len(manifest.subjects[0].anatomies) == 4


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'groomed_femur': 'gone.vtk'}, 'does not exist'),
        ({'groomed_femur': '../../etc/passwd'}, "outside the project's folder"),
        ({'alignment_femur': '1 2 3'}, 'not a 4x4 matrix'),
        ({'local_particles_femur': ''}, 'has no local file'),
    ],
)
def test_broken_projects_are_refused_by_name(two_domains, tmp_path, capsys, change, message):
    content = json.loads(two_domains.read_text())
    content['data'][0].update(change)
    two_domains.write_text(json.dumps(content))
    names = ['--anatomy', 'femur', '--anatomy', 'pelvis']
    assert run_command('shapeworks', ['import', str(two_domains), str(tmp_path / 'd'), *names]) == 1
    error = capsys.readouterr().err
    assert message in error and 'two.swproj' in error
    assert not (tmp_path / 'd' / 'dataset.json').exists()


def test_scaled_world_particles_are_taken_rigidly_and_said(two_domains, tmp_path, capsys, rng):
    content = json.loads(two_domains.read_text())
    content['data'][0]['procrustes_femur'] = ' '.join(map(str, np.diag([2, 2, 2, 1]).ravel()))
    two_domains.write_text(json.dumps(content))
    names = ['--anatomy', 'femur', '--anatomy', 'pelvis']
    assert run_command('shapeworks', ['import', str(two_domains), str(tmp_path / 'd'), *names]) == 0
    assert 'a: world particles are not its local ones' in capsys.readouterr().out


def test_statistics_of_a_project_and_its_groups(atria, tmp_path, capsys):
    assert run_command('shape_stats', [str(atria), '--group', 'sex', '--permutations', '50']) == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats['compactness'][-1] == pytest.approx(1) and len(stats['generalization']) == 2
    assert stats['group_difference']['groups'] == {'F': 2, 'M': 2}
    assert 0 < stats['group_difference']['p_value'] <= 1
    assert run_command('shape_stats', [str(atria), '--group', 'age']) == 1
    assert 'needs exactly two' in capsys.readouterr().err
    table = tmp_path / 't.csv'
    table.write_text('id,arm\nLA_01,x\nLA_02,x\nLA_03,y\nLA_04,y\n')
    command = [str(atria), '--group', 'arm', '--csv', str(table), '--permutations', '50']
    assert run_command('shape_stats', command) == 0


def test_meshes_in_every_format_are_read_alike(blob: Mesh, tmp_path):
    for suffix in ('.ply', '.stl', '.obj', '.vtk', '.vtp'):
        write_mesh(tmp_path / f'm{suffix}', blob)
        read = read_mesh(tmp_path / f'm{suffix}')
        assert read.volume() == pytest.approx(blob.volume(), rel=1e-5), suffix
        assert len(read.vertices) == len(blob.vertices), suffix
