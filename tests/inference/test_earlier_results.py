"""What an inference may replace, and what it must leave alone; a tiny result made by hand."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from massm.cli import run_command
from massm.commands.infer import unique_names
from massm.errors import ConfigError
from massm.inference import earlier_results
from massm.inference.cohort_files import write_cohort_files
from massm.inference.earlier_results import (
    check_out,
    check_replaceable,
    has_result_of,
    named_before,
)
from massm.inference.model_directory import export_model
from massm.inference.model_identity import ModelIdentity
from massm.inference.result_files import write_result
from massm.inference.results import InferenceResult, ShapeResult
from massm.io.digest import content_digest
from massm.io.shapeworks import read_project
from massm.models.template_bank import TemplateBank
from massm.structures import AnatomyStatus, Grid
from tests.conftest import ball


def result(*names):
    mesh = ball(10, 6)
    shapes = [
        ShapeResult(
            anatomy=name,
            status=AnatomyStatus.OK,
            reason='',
            score=0.9,
            local_mm=mesh.vertices,
            world_mm=mesh.vertices,
            seen=np.ones(len(mesh.vertices), bool),
            mesh=mesh,
            seen_vertices=np.ones(len(mesh.vertices), bool),
            box_mm=np.zeros((8, 3)),
        )
        for name in names
    ]
    return InferenceResult('scan.nii', Grid((4, 4, 4), np.eye(4)), shapes)


def everything(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()}


def test_a_folder_of_somebody_elses_is_not_touched(tmp_path):
    (tmp_path / 'p1/meshes').mkdir(parents=True)
    (tmp_path / 'p1/meshes/manual_edit.stl').write_text('mine')
    with pytest.raises(ConfigError, match='nothing of yours is replaced'):
        check_replaceable(tmp_path / 'p1', 'scan.nii')
    with pytest.raises(ConfigError, match='nothing of yours is replaced'):
        write_result(tmp_path / 'p1', result('spleen'))
    assert everything(tmp_path) == {'p1/meshes/manual_edit.stl'}


def test_a_second_result_replaces_the_first_ones_files_alone(tmp_path):
    folder = tmp_path / 'p1'
    write_result(folder, result('spleen', 'liver'), ('particles', 'stl', 'markups'))
    (folder / 'report.html').write_text('of the first result')
    (folder / 'meshes/manual_edit.stl').write_text('mine')
    (folder / 'notes.txt').write_text('mine')
    write_result(folder, result('spleen'), ('particles', 'ply'))
    assert everything(folder) == {
        'result.json', 'notes.txt', 'meshes/manual_edit.stl', 'meshes/spleen.ply',
        'local/spleen.particles', 'world/spleen.particles',
    }  # fmt: skip
    assert not (folder / 'markups').exists()
    (folder / 'meshes/liver.ply').write_text('mine')
    with pytest.raises(ConfigError, match=r'liver\.ply: is of no earlier result'):
        write_result(folder, result('liver'))
    assert (folder / 'meshes/liver.ply').read_text() == 'mine'
    assert list(json.loads((folder / 'result.json').read_text())['anatomies']) == ['spleen']


def test_two_patients_never_share_a_folder_and_a_copy_is_the_same_scan(tmp_path, monkeypatch):
    for name in ('s1', 's2'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'ct.nii').write_text(f'voxels of {name}')
    out, scan = tmp_path / 'out/ct', tmp_path / 's1/ct.nii'
    write_result(out, replace(result('spleen'), source=str(scan)))
    before = (out / 'result.json').read_bytes()
    for refused in (
        lambda: check_replaceable(out, tmp_path / 's2/ct.nii'),
        lambda: write_result(out, replace(result(), source=str(tmp_path / 's2/ct.nii'))),
    ):
        with pytest.raises(ConfigError, match=r'is the result of another image \(.*s1/ct\.nii\)'):
            refused()
    assert (out / 'result.json').read_bytes() == before
    monkeypatch.chdir(tmp_path / 's1')
    check_replaceable(out, 'ct.nii')
    check_replaceable(out, scan.rename(tmp_path / 'moved.nii'))
    scan.write_text('exported again')  # to the place that the result tells
    check_replaceable(out, scan)
    scan.rename(tmp_path / 'ct.nii')
    with pytest.raises(ConfigError, match='is the result of another image'):
        check_replaceable(out, tmp_path / 'ct.nii')


def test_a_scan_keeps_its_name_whatever_it_is_named_with(tmp_path, monkeypatch):
    """In a run beside another ``ct.nii.gz`` it was ``p1_ct``; alone it would be ``ct``."""
    out, scans = tmp_path / 'out', [tmp_path / f'p{i}/ct.nii.gz' for i in (1, 2)]
    for i, scan in enumerate(scans):
        scan.parent.mkdir()
        scan.write_bytes(bytes([i]) * 100)
        write_result(out / f'p{i + 1}_ct', replace(result('spleen'), source=str(scan)))
    assert named_before(out, scans[:1], ['ct']) == ['p1_ct']
    assert named_before(out, scans, ['p1_ct', 'p2_ct']) == ['p1_ct', 'p2_ct']
    assert named_before(tmp_path / 'elsewhere', scans[:1], ['ct']) == ['ct']
    read = []
    monkeypatch.setattr(
        earlier_results, 'content_digest', lambda path: read.append(path) or content_digest(path)
    )
    copies = [tmp_path / 'copy.nii.gz', tmp_path / 'other.nii.gz']
    for copy in copies:
        shutil.copy(scans[1], copy)
    assert named_before(out, copies, ['copy', 'other']) == ['p2_ct', 'other']
    assert read == copies, 'each is read once, whatever results there are'
    (out / 'p1_ct').rename(out / '.partial-abc')  # left by a run that was killed
    assert earlier_results.result_folders(out) == ['p2_ct']
    assert named_before(out, scans[:1], ['ct']) == ['ct']


def test_another_series_of_the_same_folder_is_another_image(tmp_path, monkeypatch):
    study, out = tmp_path / 'study', tmp_path / 'out/study'
    study.mkdir()
    first = replace(result('spleen'), source=str(study), series='1.2.840.71')
    write_result(out, first)
    before = (out / 'result.json').read_bytes()
    assert json.loads(before)['series'] == '1.2.840.71'
    with pytest.raises(
        ConfigError, match=r'another series \(1\.2\.840\.71\) of .* than 1\.2\.840\.9'
    ):
        write_result(out, replace(first, series='1.2.840.9'))
    with pytest.raises(ConfigError, match=r'out/SERIES'):
        check_replaceable(out, study, '.9')
    assert (out / 'result.json').read_bytes() == before
    assert has_result_of(out, study, '71') and not has_result_of(out, study, '.9')
    with monkeypatch.context() as patch:
        patch.setattr(earlier_results, 'content_digest', lambda path: path.stat())
        assert not has_result_of(out, tmp_path / 'moved', '71')
    check_replaceable(out, study, '40.71')
    check_replaceable(out, study)
    content = json.loads(before)
    del content['series']  # as an earlier version wrote it
    (out / 'result.json').write_text(json.dumps(content))
    write_result(out, replace(first, series='1.2.840.9'))


def test_a_file_in_a_results_place_is_refused_and_kept(tmp_path):
    (tmp_path / 'p1').write_text('mine')
    for refused in (check_replaceable, lambda *_: write_result(tmp_path / 'p1', result('spleen'))):
        with pytest.raises(ConfigError, match='p1: is a file'):
            refused(tmp_path / 'p1', 'scan.nii')
    assert (tmp_path / 'p1').read_text() == 'mine'


def test_images_are_told_apart_by_all_their_files(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name / 'slices').mkdir(parents=True)
        (tmp_path / name / 'ct.mhd').write_text('ElementDataFile = ct.raw')
        (tmp_path / name / 'ct.raw').write_text(f'voxels of {name}')
        (tmp_path / name / 'slices/1.dcm').write_text('alike')
        (tmp_path / name / 'slices/2.dcm').write_text(f'slice of {name}')
    for kind in ('ct.mhd', 'slices'):
        one, other = (content_digest(tmp_path / name / kind) for name in ('a', 'b'))
        assert one != other
        copy = shutil.copytree(tmp_path / 'a', tmp_path / f'of_{kind}') / kind
        (tmp_path / f'of_{kind}/slices/.DS_Store').write_text('hidden')
        assert content_digest(copy) == one
    assert content_digest(tmp_path / 'array') is None


def test_where_nothing_is_found_there_is_a_result_without_a_segmentation(tmp_path):
    pytest.importorskip('highdicom')
    write_result(tmp_path / 'p', result('spleen'), ('ply',))
    (tmp_path / 'p/labels.dcm').write_text('of an earlier result')
    told = write_result(tmp_path / 'p', result(), ('ply', 'dicomseg'))
    assert told.warnings and everything(tmp_path / 'p') == {'result.json'}
    content = json.loads((tmp_path / 'p/result.json').read_text())
    assert content['warnings'] == list(told.warnings) and 'labels.dcm' in told.warnings[0]


def test_a_label_map_that_some_programs_refuse_is_told(tmp_path):
    tilted = np.diag([1.0, 1, 3, 1])
    tilted[1, 2] = 0.8
    scan = replace(result('spleen'), grid=Grid((4, 4, 9), tilted))
    told = write_result(tmp_path / 'p', scan, ('ply', 'labels')).warnings
    assert 'refuse' in told[0] and 'dicomseg' in told[0]
    assert json.loads((tmp_path / 'p/result.json').read_text())['warnings'] == list(told)
    assert not write_result(tmp_path / 'p', scan, ('ply',)).warnings
    assert not write_result(tmp_path / 'q', result('spleen'), ('ply', 'labels')).warnings


def test_files_that_a_foreign_result_names_are_not_removed(tmp_path):
    (tmp_path / 'victim').write_text('mine')
    write_result(tmp_path / 'p', result('spleen'))
    file = tmp_path / 'p/result.json'
    content = json.loads(file.read_text())
    content['anatomies']['spleen']['local'] = '../victim'
    file.write_text(json.dumps(content))
    write_result(tmp_path / 'p', result('spleen'), ('ply',))
    assert (tmp_path / 'victim').exists()


def test_a_table_of_somebody_elses_is_not_replaced(tmp_path):
    (tmp_path / 'summary.csv').write_text('mine')
    with pytest.raises(ConfigError, match=r'holds summary\.csv'):
        check_out(tmp_path)
    write_cohort_files(tmp_path)  # our own, of which the results were removed
    check_out(tmp_path)


def test_the_cohorts_files_are_about_all_results(tmp_path):
    for name in ('p1', 'p2', 'p3'):
        write_result(tmp_path / name, result('spleen'))
    (tmp_path / 'p2/local/spleen.particles').unlink()
    (tmp_path / 'other').mkdir()
    assert write_cohort_files(tmp_path) == []
    rows = list(csv.DictReader((tmp_path / 'summary.csv').open()))
    assert [row['subject'] for row in rows] == ['p1', 'p2', 'p3']
    assert [s.name for s in read_project(tmp_path / 'project.swproj').subjects] == ['p1', 'p3']
    for name in ('p1', 'p2', 'p3'):
        write_result(tmp_path / name, result('spleen'), ('stl',))
    write_cohort_files(tmp_path)
    assert not (tmp_path / 'project.swproj').exists()


def test_a_project_is_of_one_model_and_the_table_says_which(tmp_path):
    one, other = ModelIdentity('thorax', 'a' * 64), ModelIdentity('pelvis', 'b' * 64)
    again = ModelIdentity('thorax_small', one.correspondences)
    for name, model in (('p1', one), ('p2', other), ('p3', again), ('p4', None)):
        write_result(tmp_path / name, replace(result('spleen'), model=model))
    (told,) = write_cohort_files(tmp_path, one.correspondences)
    assert told.endswith(
        'project.swproj: left out, of another model, or not told of which: p2, p4 (2)'
    )
    assert [s.name for s in read_project(tmp_path / 'project.swproj').subjects] == ['p1', 'p3']
    rows = list(csv.DictReader((tmp_path / 'summary.csv').open()))
    assert [row['model'] for row in rows] == ['thorax', 'pelvis', 'thorax_small', '']
    content = json.loads((tmp_path / 'p1/result.json').read_text())
    assert content['model'] == {'name': 'thorax', 'correspondences': 'a' * 64}
    content = json.loads((tmp_path / 'p4/result.json').read_text())
    del content['model']  # as an earlier version wrote it
    (tmp_path / 'p4/result.json').write_text(json.dumps(content))
    assert 'p1, p2, p3 (3)' in write_cohort_files(tmp_path)[0]
    assert [s.name for s in read_project(tmp_path / 'project.swproj').subjects] == ['p4']


def test_extrapolated_shapes_are_in_the_table_and_not_in_the_project(tmp_path):
    whole = result('spleen', 'liver')
    cut = replace(whole.shapes[1], status=AnatomyStatus.TRUNCATED)
    write_result(tmp_path / 'p1', replace(whole, shapes=[whole.shapes[0], cut]))
    write_result(tmp_path / 'p2', replace(whole, shapes=[cut]))
    (told,) = write_cohort_files(tmp_path)
    assert 'extrapolated in part (truncated): p1 liver, p2 liver (2)' in told
    (subject,) = read_project(tmp_path / 'project.swproj').subjects
    assert subject.name == 'p1' and len(subject.domains) == 1
    rows = list(csv.DictReader((tmp_path / 'summary.csv').open()))
    assert [row['anatomy'] for row in rows] == ['spleen', 'liver', 'liver']


def test_models_are_told_apart_by_their_correspondences_alone():
    def identity(name, places):
        bank = TemplateBank(2, 5, 3.0)
        bank.world_mm += places
        return ModelIdentity.of(SimpleNamespace(templates=bank, anatomies=['a', 'b']), name)

    one, again, other = identity('one', 1.0), identity('again', 1.0), identity('other', 1.001)
    assert one.correspondences == again.correspondences != other.correspondences


@pytest.mark.parametrize(
    ('images', 'names'),
    [
        (['/d/p1.nii.gz', '/d/p1.nii'], ['p1.nii.gz', 'p1.nii']),
        (['/d/p1.nii.gz', '/d/p1.nii', '/d/p2.nii'], ['p1.nii.gz', 'p1.nii', 'p2']),
        (['/d/P1.nii', '/d/p1.nii'], ['P1', 'p1_2']),
        (['/x/summary.csv.nii'], ['summary.csv_2']),
        (['/a/s1/ct.nii', '/b/s1/ct.nii'], ['a_s1_ct', 'b_s1_ct']),
        (['/d/p1', '/d/p1.zip'], None),
        (['/a/b_c.nii', '/a_b/c.nii', '/a/b/c.nii'], None),
        (['/a_b/c.nii.gz', '/a/b_c.nii.gz', '/a/b/c.nii', '/a/b/c.nii.gz'], None),
    ],
)
def test_no_two_images_share_a_folder(images, names):
    found = unique_names(images)
    assert len({name.casefold() for name in found}) == len(images)
    assert names is None or [n.split('_')[-1] for n in names] == [n.split('_')[-1] for n in found]


def test_a_folder_named_by_dots_is_called_as_it_is(tmp_path, monkeypatch):
    (tmp_path / 'series/out').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'series/out')
    assert unique_names([Path('..')]) == ['series']
    assert unique_names([Path()]) == ['out']
    (tmp_path / 'patient.nii').symlink_to(tmp_path / 'SHA256E-s1')
    assert unique_names([Path('../../patient.nii')]) == ['patient']


def test_no_command_writes_over_what_another_made(tmp_path, capsys):
    """A phantom's subjects are called as TotalSegmentator's are."""
    (tmp_path / 's0001').mkdir()
    (tmp_path / 's0001/ct.nii.gz').write_text('mine')
    assert run_command('make_phantom', [str(tmp_path), '--subjects', '3']) == 1
    assert 'no phantom cohort' in capsys.readouterr().err
    with pytest.raises(ConfigError, match='no model directory'):
        export_model(None, tmp_path / 'a.pth', tmp_path)
    assert everything(tmp_path) == {'s0001/ct.nii.gz'}
    (tmp_path / 'a.pth').write_text('weights')
    with pytest.raises(ConfigError, match='is a file, and a model is a folder'):
        export_model(None, tmp_path / 'a.pth', tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_text() == 'weights'
