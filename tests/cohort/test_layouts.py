"""One cohort in every layout is one dataset; what a layout leaves unsaid is asked for."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.manifest import load_manifest
from massm.cohort.sources.find import find_source
from massm.cohort.sources.label_table import read_label_table
from massm.cohort.sources.request import Request
from massm.errors import DatasetError
from massm.structures import AnatomyStatus
from tests.mr_cohort import AFFINE, SHAPE, VALUES, describe, save, subject, write_cohort


def prepare(source, out, *more):
    command = [source, out, '--anatomies', *VALUES, '--spacing', '2', '--jobs', '1', *more]
    return run_command('prepare_dataset', [str(word) for word in command])


def contents(folder):
    files = (p for p in folder.rglob('*') if p.is_file() and '.prepare' not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def statuses(out, anatomy='pea'):
    return {s.id: s.anatomies[anatomy].status.value for s in load_manifest(out).subjects}


def refused(capsys, *command):
    assert prepare(*command) == 1
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.startswith('error: ')
    return said


def test_all_layouts_give_one_dataset_to_the_last_byte(tmp_path, capsys):
    layouts = {'totalseg': [], 'multilabel': [], 'nnunet': [], 'decathlon': [], 'flat': ['mr']}
    found = {}
    for layout, modality in layouts.items():
        source = write_cohort(tmp_path / layout, layout, 2)
        more = ['--modality', *modality] if modality else []
        assert prepare(source, tmp_path / 'out' / layout, *more) == 0, layout
        found[layout] = contents(tmp_path / 'out' / layout)
    first = found['totalseg']
    assert all(other == first for other in found.values())
    kinds = [name.split('/')[0] for name in first]
    assert kinds.count('masks') == kinds.count('shapes') == 4
    assert statuses(tmp_path / 'out/nnunet') == {'p0': 'ok', 'p1': 'ok'}
    assert load_manifest(tmp_path / 'out/nnunet').modality == 'mr'
    total = sum(map(len, first.values()))
    print(f'{len(first)} files, {total} bytes, alike in {len(found)} layouts')


def test_a_value_that_is_nowhere_says_no_more_than_a_missing_file(tmp_path):
    labels, image = subject(0)
    source, out = tmp_path / 'src', tmp_path / 'out'
    save(source / 'a/mr.nii.gz', image)
    save(source / 'a/labels.nii.gz', np.where(labels == 2, 0, labels))
    (source / 'labels.json').write_text(json.dumps(VALUES))
    assert prepare(source, out) == 0 and statuses(out) == {'a': 'unlabelled'}
    assert prepare(source, out, '--missing', 'absent') == 0 and statuses(out) == {'a': 'absent'}


def test_in_an_image_that_nobody_labelled_nothing_is_absent(tmp_path):
    """Without a label map, or a folder of masks, as opposed to a folder without one of them."""
    kinds = {'nnunet': 'labelsTr/p1.nii.gz', 'totalseg': 'p1/segmentations'}
    for layout, labels in kinds.items():
        source, out = write_cohort(tmp_path / layout, layout, 2), tmp_path / 'out' / layout
        lost = source / labels
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        assert prepare(source, out, '--missing', 'absent') == 0
        assert statuses(out) == {'p0': 'ok', 'p1': 'unlabelled'}
    lost.mkdir()
    assert prepare(source, out, '--missing', 'absent') == 0
    assert statuses(out) == {'p0': 'ok', 'p1': 'absent'}


def test_what_nobody_looked_at_makes_nothing_absent_and_nothing_whole(tmp_path):
    """nnU-Net's label ignore, in a part of the volume: beside the pea of one case, elsewhere in
    another, in which nobody can say that there is none."""
    source, out = write_cohort(tmp_path / 'src', 'nnunet', 2), tmp_path / 'out'
    labels, _ = subject(0)
    x = int(np.argwhere(labels == 2)[:, 0].max())
    save(source / 'labelsTr/p0.nii.gz', np.where(np.arange(44)[:, None, None] > x, 3, labels))
    labels, _ = subject(1)
    labels[labels == 2], labels[:2] = 0, 3
    save(source / 'labelsTr/p1.nii.gz', labels)
    table = {'background': 0, **VALUES, 'ignore': 3}
    describe(source, channel_names={'0': 'T1'}, labels=table)
    assert prepare(source, out, '--missing', 'absent') == 0
    assert statuses(out) == {'p0': 'truncated', 'p1': 'unlabelled'}
    assert statuses(out, 'bean') == {'p0': 'ok', 'p1': 'ok'}


def test_a_region_of_several_labels_is_one_anatomy(tmp_path):
    source, out = write_cohort(tmp_path / 'src', 'nnunet', 1), tmp_path / 'out'
    labels, _ = subject(0)
    halves = labels + 2 * (labels == 1) * (np.arange(40) > 20)[None, :, None]
    save(source / 'labelsTr/p0.nii.gz', halves.astype(np.uint8))
    describe(source, channel_names={'0': 'T1'}, labels={'background': 0, 'bean': [1, 3], 'pea': 2})
    assert prepare(source, out) == 0
    whole = tmp_path / 'whole'
    assert prepare(write_cohort(tmp_path / 'other', 'totalseg', 1), whole) == 0
    mask = 'masks/bean/p0.nii.gz'
    assert (out / mask).read_bytes() == (whole / mask).read_bytes()


def test_nested_regions_may_be_alike_in_one_patient(tmp_path, capsys):
    """Who has one kidney has the same mask of it and of both; one value of two names is none of
    that."""
    source, out = write_cohort(tmp_path / 'src', 'multilabel', 1), tmp_path / 'out'
    (source / 'labels.json').write_text('{"bean": [1, 3], "pea": 1}')
    assert prepare(source, out) == 0
    assert statuses(out) == statuses(out, 'bean') == {'p0': 'ok'}
    (source / 'labels.json').write_text('{"bean": 1, "pea": [1]}')
    assert prepare(source, tmp_path / 'other') == 1
    assert 'p0/labels.nii.gz (value 1): is the same mask as bean' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['clear', 'Unknown', 'unlabeled', '???'])
def test_the_value_0_is_the_background_by_any_name(tmp_path, name):
    content = {'0': name, '1': 'bean', '2': 'pea'}
    (tmp_path / 'table.json').write_text(json.dumps(content))
    assert read_label_table(tmp_path / 'table.json', ['bean']) == (('bean', (1,)), ('pea', (2,)))
    for table, asked in ((content, [name]), ({name: [0, 1]}, [])):
        (tmp_path / 'table.json').write_text(json.dumps(table))
        with pytest.raises(DatasetError, match='value 0, which is the background'):
            read_label_table(tmp_path / 'table.json', asked)


def test_a_description_that_is_no_table_leaves_the_subjects_theirs(tmp_path):
    """As MONAI's list of data, which has that name too."""
    source = write_cohort(tmp_path, 'multilabel', 1)
    (source / 'labels.json').rename(source / 'p0/labels.json')
    training = [{'image': f'p{i}/mr.nii.gz', 'label': f'p{i}/labels.nii.gz'} for i in range(99)]
    (source / 'dataset.json').write_text(json.dumps({'training': training}))
    (found,) = find_source(source, Request()).subjects
    assert found.masks.names() == VALUES.keys()
    describe(source, labels={'liver': 1})
    (found,) = find_source(source, Request()).subjects
    assert found.masks.names() == {'liver'}
    (source / 'list.json').write_text(json.dumps({'training': training}))
    with pytest.raises(DatasetError, match=r'does not give a name') as error:
        find_source(source, Request(labels=source / 'list.json'))
    assert len(str(error.value)) < len(str(source)) + 160


def test_the_table_in_totalsegmentators_own_header_is_read(tmp_path):
    source, out = tmp_path / 'src', tmp_path / 'out'
    labels, image = subject(0)
    save(source / 'a/mr.nii.gz', image)
    entries = ''.join(f'<Label Key="{v}" Red="1">{n}</Label>' for n, v in VALUES.items())
    extended = nibabel.Nifti1Image(labels, AFFINE)
    table = f'<CaretExtension><LabelTable>{entries}</LabelTable></CaretExtension>'
    extended.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, table.encode()))
    nibabel.save(extended, source / 'a/segmentations.nii.gz')
    assert prepare(source, out) == 0 and statuses(out) == {'a': 'ok'}


def test_another_table_is_another_dataset(tmp_path, capsys):
    source, out = write_cohort(tmp_path / 'src', 'multilabel', 1), tmp_path / 'out'
    assert prepare(source, out) == 0
    before = (out / 'masks/pea/p0.nii.gz').read_bytes()
    (tmp_path / 'swapped.json').write_text('{"bean": 2, "pea": 1}')
    assert prepare(source, out, '--labels', tmp_path / 'swapped.json') == 0
    assert capsys.readouterr().out.count('(0 unchanged') == 2
    assert (out / 'masks/bean/p0.nii.gz').read_bytes() == before


def test_values_without_a_name_are_told(tmp_path, capsys):
    source = write_cohort(tmp_path / 'src', 'multilabel', 1)
    labels, _ = subject(0)
    labels[30:32, 5:7, 5:7] = 9
    save(source / 'p0/labels.nii.gz', labels)
    assert prepare(source, tmp_path / 'out') == 0
    assert 'p0: labels.nii.gz: values 9 are in no table' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda labels: labels * 0.5, 'whole numbers from 0 up'),
        (lambda labels: labels - 1.0, 'whole numbers from 0 up'),
        (lambda labels: labels + 1, 'no voxel is 0'),
        (lambda labels: labels[:-1], 'resample the mask'),
    ],
)
def test_a_label_map_that_is_none_leaves_its_subject_out(tmp_path, capsys, change, words):
    source = write_cohort(tmp_path / 'src', 'nnunet', 2)
    save(source / 'labelsTr/p0.nii.gz', change(subject(0)[0]).astype(np.float32))
    assert prepare(source, tmp_path / 'out') == 1
    said = capsys.readouterr().out
    assert 'left out: p0:' in said and words in said
    assert [s.id for s in load_manifest(tmp_path / 'out').subjects] == ['p1']


def test_cases_with_labels_in_the_test_folder_are_for_testing(tmp_path):
    source = write_cohort(tmp_path / 'src', 'nnunet', 3)
    (source / 'meta.csv').unlink()
    for kind in ('images', 'labels'):
        (source / f'{kind}Ts').mkdir()
        for file in (source / f'{kind}Tr').glob('p2*'):
            file.rename(source / f'{kind}Ts' / file.name)
    (source / 'imagesTs/p9_0000.nii.gz').write_bytes(b'no labels, so not looked at')
    (source / 'imagesTr/._p0_0000.nii.gz').write_bytes(b'what a Mac leaves')
    assert prepare(source, tmp_path / 'out') == 0
    splits = {s.id: s.split for s in load_manifest(tmp_path / 'out').subjects}
    assert splits.keys() == {'p0', 'p1', 'p2'} and splits['p2'] == 'test'
    assert 'test' not in (splits['p0'], splits['p1'])


def test_a_channel_is_chosen_by_number_or_name(tmp_path, capsys):
    source, out = write_cohort(tmp_path / 'src', 'nnunet', 1), tmp_path / 'out'
    save(source / 'imagesTr/p0_0001.nii.gz', 3 * subject(0)[1].astype(np.float32) + 1)
    describe(source, channel_names={'0': 'T2', '1': 'CT'}, labels={'background': 0, **VALUES})
    said = refused(capsys, source, out)
    assert 'name one with --channel: 0 (T2), 1 (CT)' in said
    assert prepare(source, out, '--channel', 'T2') == 0
    assert load_manifest(out).modality == 'mr'
    assert 'no one channel PD' in refused(capsys, source, out, '--channel', 'PD')
    assert prepare(source, tmp_path / 'ct', '--channel', '1') == 0
    assert load_manifest(tmp_path / 'ct').modality == 'ct'


def table(text):
    return lambda source: (source / 'labels.json').write_text(text)


def gone(name):
    return lambda source: (source / name).unlink()


def channel(name):
    return lambda source: describe(source, channel_names={'0': name}, labels=VALUES)


def no_labels(source):
    describe(source, channel_names={'0': 'T1'})


def map_beside_masks(source):
    save(source / 'p0/labels.nii.gz', subject(0)[0])


def nothing(source):
    """The source as it is."""


# Layout, what is done to it, more options, and what is said.
WRONG = [
    ('multilabel', gone('labels.json'), [], 'nothing says what its values mean'),
    ('multilabel', table('x'), [], 'is no JSON'),
    ('multilabel', table('{"bean": "red"}'), [], 'does not give a name and a whole number'),
    ('multilabel', table('{"bean": 0}'), [], 'value 0, which is the background'),
    ('multilabel', table('{"1": "bean", "2": "bean"}'), [], 'names bean twice'),
    ('multilabel', table('{"1": "../a"}'), ['--anatomies', '../a'], 'cannot be the name of a file'),
    ('multilabel', table('{"1": "liver"}'), [], 'no subject has a mask of bean, pea; there are'),
    ('nnunet', gone('dataset.json'), [], 'dataset.json: is missing'),
    ('nnunet', no_labels, [], 'has no labels; write'),
    ('nnunet', channel('noNorm'), [], 'say it with --modality'),
    ('nnunet', nothing, ['--modality', 'ct'], 'is MR as the source tells'),
    ('flat', nothing, [], 'say it with --modality ct or mr'),
    ('totalseg', map_beside_masks, [], 'say which with --layout'),
    ('totalseg', nothing, ['--labels', 'x.json'], 'says nothing in a source of layout totalseg'),
    ('totalseg', nothing, ['--layout', 'nnunet'], 'dataset.json: is missing'),
]


@pytest.mark.parametrize(('layout', 'spoil', 'more', 'words'), WRONG)
def test_what_a_source_leaves_unsaid_is_one_sentence(layout, spoil, more, words, tmp_path, capsys):
    source = write_cohort(tmp_path / 'src', layout, 1)
    spoil(source)
    assert words in refused(capsys, source, tmp_path / 'out', *more)
    assert not (tmp_path / 'out').exists()


def test_a_layout_that_could_be_two_is_prepared_as_told(tmp_path):
    source = write_cohort(tmp_path / 'src', 'totalseg', 1)
    save(source / 'p0/labels.nii.gz', np.zeros(SHAPE, np.uint8))
    assert prepare(source, tmp_path / 'out', '--layout', 'totalseg') == 0
    entry = load_manifest(tmp_path / 'out').subjects[0].anatomies['pea']
    assert entry.status is AnatomyStatus.OK
