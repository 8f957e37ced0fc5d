"""Names, columns and matrices of a project that must not be taken as they are."""

import json

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.manifest import load_manifest
from massm.io.meshes import write_mesh
from massm.io.particles import read_particles, write_particles
from massm.io.shapeworks import read_project
from massm.shape.statistics import shape_statistics

NAMES = ('a', 'b', 'c', 'd')


@pytest.fixture
def project(tmp_path, sphere, rng):
    """Four subjects of one domain; ``project(rows)`` changes rows by name and gives the file."""
    folder = tmp_path / 'project'
    write_mesh(folder / 'm.vtk', sphere)
    rows = []
    for name in NAMES:
        points = sphere.vertices[::40] * rng.normal(1, 0.1, 3)
        for kind in ('local', 'world'):
            write_particles(folder / f'{name}_{kind}.particles', points)
        files = {f'{kind}_particles_1': f'{name}_{kind}.particles' for kind in ('local', 'world')}
        rows.append({'name': name, 'groomed_1': 'm.vtk', 'group_sex': 'F', **files})

    def write(changes):
        changed = [{**row, **changes.get(row['name'], {})} for row in rows]
        (folder / 'p.swproj').write_text(json.dumps({'data': changed}))
        return folder / 'p.swproj'

    return write


def bring(project, data, anatomy='la'):
    return run_command('shapeworks', ['import', str(project), str(data), '--anatomy', anatomy])


def stats(path, capsys):
    capsys.readouterr()
    assert run_command('shape_stats', [str(path)]) == 0
    return json.loads(capsys.readouterr().out)


def of(project, names):
    folder = project.parent
    world = [read_particles(folder / f'{name}_world.particles') for name in names]
    return shape_statistics(np.stack(world))


@pytest.mark.parametrize(
    'name', ['../../../../escaped', '/tmp/escaped', 'site1/LA_04', '..', '.hidden', 'a\\b', 'a\nb']
)
def test_a_name_that_is_no_file_name_is_refused(project, tmp_path, capsys, name):
    path = project({'a': {'name': name}})
    before = sorted(tmp_path.rglob('*'))
    assert bring(path, tmp_path / 'x/y/data') == 1
    assert 'cannot be the name of a file' in capsys.readouterr().err
    assert bring(project({}), tmp_path / 'x/y/data', f'{name}x/..') == 1
    assert sorted(tmp_path.rglob('*')) == before


def test_nothing_is_written_of_a_project_with_one_broken_subject(project, tmp_path):
    assert bring(project({'d': {'world_particles_1': 'gone'}}), tmp_path / 'data') == 1
    assert not (tmp_path / 'data').exists()


def test_an_excluded_subject_is_left_out_everywhere(project, tmp_path, capsys):
    path = project({'b': {'excluded': 'true'}, 'c': {'excluded': 'false'}})
    assert bring(path, tmp_path / 'data') == 0
    assert 'left out: b' in capsys.readouterr().out
    assert [s.id for s in load_manifest(tmp_path / 'data').subjects] == ['a', 'c', 'd']
    expected = of(path, 'acd')
    assert stats(path, capsys) == stats(tmp_path / 'data/shapes/la', capsys) == expected


def test_a_subject_excluded_later_leaves_the_dataset(project, tmp_path, capsys):
    assert bring(project({}), tmp_path / 'data') == 0
    path = project({'b': {'excluded': True}})
    assert bring(path, tmp_path / 'data') == 0
    assert 'removed, no longer in the project: b' in capsys.readouterr().out
    assert [s.id for s in load_manifest(tmp_path / 'data').subjects] == ['a', 'c', 'd']
    assert not list((tmp_path / 'data').rglob('b.*'))
    assert stats(tmp_path / 'data/shapes/la', capsys) == of(path, 'acd')


def test_splits_go_to_shapeworks_and_come_back(project, tmp_path, capsys):
    path = project({'b': {'group_split': 'test'}, 'c': {'group_split': 'Val'}})
    assert bring(path, tmp_path / 'data') == 0
    splits = {'a': 'train', 'b': 'test', 'c': 'val', 'd': 'train'}
    assert {s.id: s.split for s in load_manifest(tmp_path / 'data').subjects} == splits
    out = tmp_path / 'out/p.swproj'
    assert (
        run_command('shapeworks', ['export', str(tmp_path / 'data'), '--anatomy', 'la', str(out)])
        == 0
    )
    assert bring(out, tmp_path / 'again') == 0
    assert {s.id: s.split for s in load_manifest(tmp_path / 'again').subjects} == splits
    expected = of(path, 'ad')
    for place in (
        path,
        out,
        tmp_path / 'data/shapes/la',
        tmp_path / 'again/shapes/la/project.swproj',
    ):
        assert stats(place, capsys) == expected


def test_splits_have_synonyms_and_no_other_word_counts_as_training(project, tmp_path, capsys):
    words = {'a': 'Training', 'b': 'validation', 'c': 'TESTING', 'd': ' '}
    path = project({name: {'group_split': word} for name, word in words.items()})
    assert bring(path, tmp_path / 'data') == 0
    splits = {s.id: s.split for s in load_manifest(tmp_path / 'data').subjects}
    assert splits == {'a': 'train', 'b': 'val', 'c': 'test', 'd': 'train'}
    assert stats(path, capsys) == of(path, 'ad')
    path = project({'b': {'group_split': 'holdout'}})
    for code in (bring(path, tmp_path / 'other'), run_command('shape_stats', [str(path)])):
        assert code == 1
    assert capsys.readouterr().err.count("b has group_split 'holdout'; use one of train, val") == 2
    assert not (tmp_path / 'other').exists()


def test_shapes_laid_on_a_fixed_model_do_not_make_it(project, tmp_path, capsys):
    path = project({'a': {'fixed': 'true'}, 'b': {'fixed': 'true'}})
    assert bring(path, tmp_path / 'data') == 0
    assert {s.id: s.split for s in load_manifest(tmp_path / 'data').subjects} == {
        'a': 'train', 'b': 'train', 'c': 'test', 'd': 'test',
    }  # fmt: skip
    assert stats(path, capsys) == of(path, 'ab')


def test_imported_particles_are_built_anew_only_where_asked(project, tmp_path, capsys):
    data = tmp_path / 'data'
    assert bring(project({}), data) == 0
    files = sorted((data / 'shapes/la').rglob('*'))
    before = [f.read_bytes() for f in files if f.is_file()]
    capsys.readouterr()
    command = [str(data), '--particles', '16', '--jobs', '1']
    assert run_command('build_pdm', command) == 0
    assert 'kept: la: its particles were imported' in capsys.readouterr().out
    assert before == [f.read_bytes() for f in files if f.is_file()]
    # Over what was built, an import counts as one again.
    built = [data / 'shapes/la' / n for n in ('correspondence.npz', '.model.json')]
    others = [data / f'shapes/{name}/mirror.particles' for name in ('la',)]
    for file in (*built, *others):
        file.write_bytes(b'')
    assert bring(project({}), data) == 0
    assert not any(file.exists() for file in (*built, *others))
    assert run_command('build_pdm', command) == 0
    assert 'kept: la' in capsys.readouterr().out


@pytest.mark.parametrize('spacing', ['-1', '0', 'nan'])
def test_a_spacing_that_none_can_be_is_refused(project, tmp_path, capsys, spacing):
    command = ['import', str(project({})), str(tmp_path / 'data'), '--anatomy', 'la']
    assert run_command('shapeworks', [*command, '--spacing', spacing]) == 1
    assert f'--spacing is in mm, 0.2 to 20; got {spacing}' in capsys.readouterr().err
    assert not (tmp_path / 'data').exists()


def test_columns_with_another_meaning_are_named(project, tmp_path, capsys):
    assert bring(project({'a': {'constraints_1': 'c.json', 'notes': ''}}), tmp_path / 'd') == 0
    assert 'columns not taken over: constraints_1' in capsys.readouterr().out


@pytest.mark.parametrize('with_matrix', [True, False])
def test_reflected_shapes_are_refused(project, tmp_path, capsys, with_matrix, blob):
    flip = np.diag([-1.0, 1, 1, 1])
    row = {'alignment_1': ' '.join(map(str, flip.ravel()))} if with_matrix else {}
    path = project({'a': row})
    local = blob.vertices[::20]
    write_particles(path.parent / 'a_local.particles', local)
    write_particles(path.parent / 'a_world.particles', local * (-1, 1, 1))
    assert bring(path, tmp_path / 'data') == 1
    assert 'a is reflected' in capsys.readouterr().err
    assert not (tmp_path / 'data').exists()


def test_a_dataset_with_such_names_is_refused(project, tmp_path, capsys):
    assert bring(project({}), tmp_path / 'data') == 0
    file = tmp_path / 'data/dataset.json'
    content = json.loads(file.read_text())
    content['data_list'][0]['id'] = '../../evil'
    file.write_text(json.dumps(content))
    assert run_command('build_pdm', [str(tmp_path / 'data'), '--particles', '16']) == 1
    assert 'cannot be the name of a file' in capsys.readouterr().err
    assert read_project(tmp_path / 'data/shapes/la/project.swproj').subjects


def test_groups_of_a_table_name_who_has_none_and_refuse_two_values(project, tmp_path, capsys):
    table = tmp_path / 't.csv'
    command = [str(project({})), '--group', 'arm', '--csv', str(table), '--permutations', '50']
    table.write_text('id,arm\na,x\nb,y\nc,\na,x\n')
    assert run_command('shape_stats', command) == 1  # groups of one
    assert 'without arm, left out: c, d (2)' in capsys.readouterr().err
    table.write_text('id,arm\na,x\nb,y\na,y\n')
    assert run_command('shape_stats', command) == 1
    assert 'a has arm x and y; keep one row of it' in capsys.readouterr().err


def test_statistics_lose_no_subject_to_a_name_that_two_have(project, capsys):
    path = project({'b': {'name': 'a'}})
    assert run_command('shape_stats', [str(path)]) == 1
    assert 'several subjects are called a; rename them' in capsys.readouterr().err
    excluded = project({'b': {'name': 'a', 'excluded': 'yes', 'group_sex': 'M'}})
    assert read_project(excluded).group_columns()['sex'] == dict.fromkeys('acd', 'F')
    assert stats(excluded, capsys) == of(excluded, 'acd')


def test_subjects_without_a_name_are_called_after_their_files_and_folders(project, tmp_path):
    files = {'a': 'one/s1/m.vtk', 'b': 'one/s2/m.vtk', 'c': 'two/s1/m.vtk'}
    path = project({n: {'name': '', 'groomed_1': file} for n, file in files.items()})
    names = [subject.name for subject in read_project(path).subjects]
    assert names == ['one_s1_m', 'one_s2_m', 'two_s1_m', 'd']
    path = project({'a': {'name': ''}, 'b': {'name': '', 'groomed_1': 'n.vtk'}})
    assert [s.name for s in read_project(path).subjects] == ['m', 'n', 'c', 'd']


def test_statistics_leave_out_and_name_who_lacks_a_domain(project, capsys):
    files = {n: {'world_particles_femur': f'{n}_world.particles'} for n in 'abc'}
    path = project(files)
    assert run_command('shape_stats', [str(path)]) == 0
    assert 'world particles of every domain, left out: d (1)' in capsys.readouterr().err
    path = project({'a': files['a'] | {'world_particles_1': None}})
    assert run_command('shape_stats', [str(path)]) == 1
    error = capsys.readouterr().err
    assert 'no subject has world particles of every domain (' in error and 'leave domains' in error


@pytest.mark.parametrize('count', ['0', '-1'])
def test_a_test_by_no_permutation_is_refused(project, tmp_path, capsys, count):
    table = tmp_path / 't.csv'
    table.write_text('id,arm\na,x\nb,y\nc,x\nd,y\n')
    command = [str(project({})), '--group', 'arm', '--csv', str(table), '--permutations', count]
    assert run_command('shape_stats', command) == 1
    assert f'by {count} permutations says nothing' in capsys.readouterr().err
