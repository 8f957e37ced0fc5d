"""prepare, once more, in the folder of an earlier dataset."""

import json
import os
import shutil
import time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort import prepare as prepare_module
from massm.cohort import shape_folder
from massm.cohort.correspondences import check_built, enter_shapes, without_shapes
from massm.cohort.manifest import AnatomyEntry, load_manifest
from massm.cohort.manifest_update import update_manifest
from massm.cohort.shape_folder import RegisteredShape
from massm.cohort.shape_records import (
    particle_file,
    read_shape_record,
    record_of,
    write_shape_record,
)
from massm.cohort.surface_cohort import ShapeSource
from massm.commands import build_pdm
from massm.errors import DatasetError
from massm.io.particles import write_particles
from massm.structures import AnatomyStatus, RigidTransform
from tests.cohort.test_prepare import AFFINE, ellipsoid, prepare, write_subject

META = 'image_id;split\na;train\nb;train\nc;test\n'


@pytest.fixture
def dataset(tmp_path):
    """Source and dataset of three subjects, with particles as ``pdm`` would have left them."""
    source, out = tmp_path / 'src', tmp_path / 'out'
    for name in 'abc':
        write_subject(source / name, AFFINE)
    (source / 'meta.csv').write_text(META)
    assert prepare(source, out) == 0
    manifest = load_manifest(out)
    folder = out / 'shapes/organ'
    results = []
    for subject in manifest.subjects:
        for frame in ('local', 'world'):
            write_particles(particle_file(folder, frame, subject.id), np.eye(3))
        shape = ShapeSource(subject.id, folder / f'meshes/{subject.id}.ply')
        results.append(RegisteredShape(shape, RigidTransform(np.eye(4))))
    enter_shapes(manifest, {'organ': results}).save()
    return source, out


def entries(out):
    return [s.anatomies['organ'] for s in load_manifest(out).subjects]


def test_what_did_not_change_keeps_its_particles(dataset, capsys):
    source, out = dataset
    before = (out / 'dataset.json').read_text()
    assert prepare(source, out) == 0
    assert (out / 'dataset.json').read_text() == before
    write_subject(source / 'b', AFFINE)  # the same again, later
    assert prepare(source, out) == 0
    assert (out / 'dataset.json').read_text() == before
    assert 'built again' not in capsys.readouterr().out
    check_built(out, ['organ'])


def test_a_surface_written_again_as_it_was_keeps_its_particles(dataset, capsys):
    """Of which the record tells: what a build confirmed before records told needs another."""
    source, out = dataset
    folder, before = out / 'shapes/organ', (out / 'dataset.json').read_text()
    for name in 'abc':
        write_shape_record(folder, name, 'digest', {})
        later = (folder / f'local/{name}.particles').stat().st_mtime + 100
        os.utime(folder / f'meshes/{name}.ply', (later, later))
    assert prepare(source, out) == 0
    assert (out / 'dataset.json').read_text() == before
    assert 'built again' not in capsys.readouterr().out
    record_of(folder, 'b').write_text('{"fingerprint": "digest"}')
    assert read_shape_record(folder, 'b', 'digest') is not None
    assert prepare(source, out) == 0
    assert (out / 'dataset.json').read_text() == before
    record_of(folder, 'b').unlink()
    assert prepare(source, out) == 0
    assert 'built again: organ' in capsys.readouterr().out


def test_what_is_begun_counts_as_not_built_until_it_is_done(dataset, monkeypatch):
    _, out = dataset
    mirror = out / 'shapes/organ/mirror.particles'
    write_particles(mirror, np.eye(3))

    def interrupted(folder, sources, settings, tasks, begin):
        begin()
        raise KeyboardInterrupt

    monkeypatch.setattr(shape_folder, 'register_shapes', interrupted)
    (out / 'shapes/organ/correspondence.npz').touch()
    args = ArgumentParser()
    build_pdm.add_arguments(args)
    with pytest.raises(KeyboardInterrupt):
        build_pdm.run(args.parse_args([str(out), '--particles', '16', '--jobs', '1']))
    assert not mirror.exists() and all(entry.local is None for entry in entries(out))
    with pytest.raises(DatasetError, match='has no correspondences of organ; run massm pdm'):
        check_built(out, ['organ'])


def test_a_subject_that_is_begun_anew_leaves_no_particles_on_another_surface(
    dataset, monkeypatch, capsys
):
    source, out = dataset
    before = (out / 'dataset.json').read_text()

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, 'write_manifest', interrupted)
        assert prepare(source, out) == 130
        assert (out / 'dataset.json').read_text() == before
        write_subject(source / 'b', AFFINE, mask=ellipsoid((20, 18, 18)))
        assert prepare(source, out) == 130
    assert all(entry.local is None for entry in entries(out))
    with pytest.raises(DatasetError, match='has no correspondences of organ; run massm pdm'):
        check_built(out, ['organ'])
    (out / 'shapes/organ/correspondence.npz').touch()
    assert prepare(source, out) == 0
    assert 'built again: organ; run massm pdm' in capsys.readouterr().out


def test_a_shape_that_was_left_out_is_tried_again_when_its_mask_is_mended(dataset, capsys):
    source, out = dataset
    manifest = load_manifest(out)
    bare = replace(manifest.subjects[1].anatomies['organ'], local=None, world=None)
    left_out = replace(manifest.subjects[1], anatomies={'organ': bare})
    manifest.with_subjects([manifest.subjects[0], left_out, manifest.subjects[2]]).save()
    (out / 'shapes/organ/correspondence.npz').touch()
    assert prepare(source, out) == 0
    check_built(out, ['organ'])
    write_subject(source / 'b', AFFINE, mask=ellipsoid(radii=(8, 7, 6)))
    assert prepare(source, out) == 0
    assert 'built again: organ; run massm pdm' in capsys.readouterr().out
    with pytest.raises(DatasetError, match='has no correspondences of organ; run massm pdm'):
        check_built(out, ['organ'])


def built_while(interfere, out, monkeypatch):
    """``pdm`` of the dataset, with ``interfere`` called when the shapes are done."""
    register = shape_folder.register_shapes

    def slowly(*args, **options):
        results = register(*args, **options)
        interfere()
        return results

    monkeypatch.setattr(shape_folder, 'register_shapes', slowly)
    words = [str(out), '--anatomies', 'organ', '--particles', '16', '--jobs', '1']
    return run_command('build_pdm', words)


def test_what_another_command_enters_while_shapes_are_built_stays(dataset, monkeypatch):
    _, out = dataset

    def enter_other():
        manifest = load_manifest(out)
        replace(manifest, templates={**manifest.templates, 'other': 'shapes/other/t.json'}).save()

    assert built_while(enter_other, out, monkeypatch) == 0
    assert set(load_manifest(out).templates) == {'organ', 'other'}
    assert all(entry.has_particles for entry in entries(out))


def test_shapes_of_a_dataset_that_changed_meanwhile_are_not_entered(dataset, monkeypatch, capsys):
    source, out = dataset

    def add_subject():
        write_subject(source / 'd', AFFINE, mask=ellipsoid(radii=(8, 7, 6)))
        (source / 'meta.csv').write_text(META + 'd;train\n')
        assert prepare(source, out) == 0

    assert built_while(add_subject, out, monkeypatch) == 1
    assert 'changed its shapes or their splits meanwhile' in capsys.readouterr().out
    assert [s.id for s in load_manifest(out).subjects] == ['a', 'b', 'c', 'd']
    with pytest.raises(DatasetError, match='has no correspondences of organ'):
        check_built(out, ['organ'])


def test_shapes_that_are_built_while_prepare_runs_stay(dataset, monkeypatch):
    source, out = dataset
    built = (out / 'dataset.json').read_text()
    without_shapes(load_manifest(out), ['organ']).save()
    prepared = prepare_module.prepare_subjects

    def slowly(*args):
        (out / 'dataset.json').write_text(built)
        yield from prepared(*args)

    monkeypatch.setattr(prepare_module, 'prepare_subjects', slowly)
    assert prepare(source, out) == 0
    assert (out / 'dataset.json').read_text() == built


def test_of_changes_at_the_same_time_none_is_lost(dataset):
    _, out = dataset

    def add(name):
        def change(manifest):
            time.sleep(0.02)
            return replace(manifest, templates={**manifest.templates, name: f'{name}.json'})

        update_manifest(out, change)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, 'abcdefgh'))
    assert set(load_manifest(out).templates) == {'organ', *'abcdefgh'}


def test_what_changed_must_be_built_again_and_training_says_so(dataset, capsys):
    source, out = dataset
    write_subject(source / 'b', AFFINE, mask=ellipsoid(radii=(8, 7, 6)))
    assert prepare(source, out) == 0
    assert 'built again: organ; run massm pdm' in capsys.readouterr().out
    assert all(entry.local is None for entry in entries(out))
    with pytest.raises(DatasetError, match='has no correspondences of organ; run massm pdm'):
        check_built(out, ['organ'])


def test_an_anatomy_that_is_whole_in_nobody_is_said_to_be_so(dataset):
    _, out = dataset
    manifest = load_manifest(out)
    entry = AnatomyEntry(AnatomyStatus.TRUNCATED)
    subjects = [replace(s, anatomies={'organ': entry}) for s in manifest.subjects]
    replace(manifest.with_subjects(subjects), templates={}).save()
    with pytest.raises(DatasetError, match='no training subject has a whole organ'):
        check_built(out, ['organ'])


def test_a_withdrawn_subject_leaves_nothing_behind(dataset, capsys):
    source, out = dataset
    shutil.rmtree(source / 'b')
    (out / 'images/mine.txt').write_text('mine')
    assert prepare(source, out) == 0
    assert 'removed: b: not in' in capsys.readouterr().out
    assert [s.id for s in load_manifest(out).subjects] == ['a', 'c']
    assert not [p for p in out.rglob('*') if p.name.lstrip('.').startswith('b.')]
    assert (out / 'images/mine.txt').exists() and (out / 'images/a.nii').exists()
    assert prepare(source, out) == 0
    assert 'removed' not in capsys.readouterr().out


def test_a_subject_that_failed_and_was_then_withdrawn_leaves_nothing_behind(dataset, capsys):
    source, out = dataset
    ct = source / 'b/ct.nii.gz'
    ct.write_bytes(ct.read_bytes()[:200])
    assert prepare(source, out) == 1
    assert [s.id for s in load_manifest(out).subjects] == ['a', 'c']
    shutil.rmtree(source / 'b')
    assert prepare(source, out) == 0
    assert 'removed: b: not in' in capsys.readouterr().out
    assert not [p for p in out.rglob('*') if p.name.lstrip('.').startswith('b.')]


def test_other_subjects_in_the_same_folder_are_refused(dataset, tmp_path, capsys):
    _, out = dataset
    write_subject(tmp_path / 'other/x', AFFINE)
    before = (out / 'dataset.json').read_text()
    assert prepare(tmp_path / 'other', out) == 1
    assert 'holds a dataset of other subjects' in capsys.readouterr().err
    assert (out / 'dataset.json').read_text() == before and (out / 'images/a.nii').exists()


@pytest.mark.parametrize(
    'file', ['images/d.nii', 'masks/organ/d.nii.gz', 'shapes/organ/meshes/d.ply']
)
def test_files_that_no_command_wrote_are_not_written_over(file, dataset, tmp_path, capsys):
    """Neither in a folder that is no dataset, nor of a subject that is new to one."""
    source, out = dataset
    write_subject(source / 'd', AFFINE)
    (source / 'meta.csv').write_text(META + 'd;train\n')
    for folder in (tmp_path / 'mine', out):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text('mine')
        before = sorted(folder.rglob('*'))
        assert prepare(source, folder) == 1
        assert f'{folder / file}: is there and would be written over' in capsys.readouterr().err
        assert (folder / file).read_text() == 'mine' and sorted(folder.rglob('*')) == before


@pytest.mark.parametrize('name', ['images', 'masks/organ', 'shapes'])
def test_a_folder_that_leads_out_of_the_dataset_is_refused(name, dataset, tmp_path, capsys):
    source, out = dataset
    shutil.move(out / name, tmp_path / 'elsewhere')
    (out / name).symlink_to(tmp_path / 'elsewhere')
    before = sorted(p.stat().st_mtime_ns for p in (tmp_path / 'elsewhere').rglob('*'))
    write_subject(source / 'b', AFFINE, mask=ellipsoid(radii=(8, 7, 6)))
    assert prepare(source, out) == 1
    assert f'{out / name}: leads out of the dataset' in capsys.readouterr().err
    assert before == sorted(p.stat().st_mtime_ns for p in (tmp_path / 'elsewhere').rglob('*'))
    (tmp_path / 'link').symlink_to(tmp_path / 'whole')
    (tmp_path / 'whole').mkdir()
    assert prepare(source, tmp_path / 'link') == 0


def test_generated_patients_are_not_lost(dataset, capsys):
    source, out = dataset
    manifest = load_manifest(out)
    new = replace(manifest.subjects[0], id='generated_0001', generated_from='a')
    manifest.with_subjects([*manifest.subjects, new]).save()
    before = (out / 'dataset.json').read_text()
    assert prepare(source, out) == 1
    assert 'generated (generated_0001 (1)), who would be lost' in capsys.readouterr().err
    assert (out / 'dataset.json').read_text() == before


def test_a_moved_split_is_told(dataset, capsys):
    source, out = dataset
    (source / 'meta.csv').write_text(META.replace('c;test', 'c;train'))
    assert prepare(source, out) == 0
    assert '1 subjects changed their split: c (test to train)' in capsys.readouterr().out
    assert all(entry.local is None for entry in entries(out))


def test_statistics_know_only_the_models_own_shapes(tmp_path, capsys, rng):
    """Particles that an earlier run left lie in another model's frame."""
    for i in range(5):
        write_particles(
            tmp_path / f'world/s{i}.particles', rng.normal(size=(20, 3)) + 90 * (i == 4)
        )
    command = ['shape_stats', [str(tmp_path)]]
    quality = {f's{i}': {'train': i < 3} for i in range(4)}
    (tmp_path / 'stats.json').write_text(json.dumps({'quality': quality}))
    assert run_command(*command) == 0
    told = capsys.readouterr()
    assert len(json.loads(told.out)['compactness']) == 2
    assert 'left out: s3, s4' in told.err
    quality = {f's{i}': {'train': False} for i in range(4)}
    (tmp_path / 'stats.json').write_text(json.dumps({'quality': quality}))
    assert run_command(*command) == 1
    assert 'were laid on a fixed model' in capsys.readouterr().err
