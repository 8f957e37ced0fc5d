"""prepare, once more, in the folder of an earlier dataset."""

import json
import os
import shutil
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort import shape_folder
from massm.cohort.correspondences import check_built, enter_shapes
from massm.cohort.manifest import AnatomyEntry, load_manifest
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
