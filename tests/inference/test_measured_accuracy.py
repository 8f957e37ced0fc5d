"""What a test measured goes into the model's card with its spread over patients."""

import csv
import json
import shutil

import pytest

from massm.inference.measured_accuracy import accuracy_of, measured_accuracy
from massm.io.digest import content_digest
from tests.inference.cards import card_of

VALUES = {'spleen': [1.0, 2.0, 3.0, 6.0], 'liver': [5.0, 7.0]}


@pytest.fixture
def tested(tmp_path):
    metrics = {'anatomies': {name: {'found': 4} for name in VALUES}, 'mean': {'found': 8}}
    (tmp_path / 'metrics.json').write_text(json.dumps(metrics))
    with (tmp_path / 'cases.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['id', 'anatomy', 's2s_mask_mm', 'dice'])
        for name, values in VALUES.items():
            writer.writerows([f'p{n}', name, value, ''] for n, value in enumerate(values))
    return tmp_path


def test_means_of_patients_and_of_anatomies_lie_in_their_intervals(tested):
    found = measured_accuracy(tested)
    surface = found['intervals']['s2s_mask_mm']
    assert {n: (v['patients'], v['mean']) for n, v in surface.items()} == {
        'spleen': (4, pytest.approx(3.0)),
        'liver': (2, pytest.approx(6.0)),
        'all': (4, pytest.approx(4.5)),
    }
    assert all(v['low'] < v['mean'] < v['high'] for v in surface.values())
    # What nobody has is not told.
    assert found['intervals']['dice'].keys() <= {'all'} and found['mean'] == {'found': 8}


def test_without_a_test_there_is_nothing_and_without_cases_no_interval(tested):
    assert measured_accuracy(tested / 'elsewhere') is None
    (tested / 'cases.csv').unlink()
    assert 'intervals' not in measured_accuracy(tested)


def test_a_checkpoint_is_credited_with_its_own_test_alone(tmp_path, tested, capsys):
    folder = tmp_path / 'work/test'
    shutil.copytree(tested, folder, ignore=lambda *_: ['work'])
    checkpoint, file = tmp_path / 'work/best.pth', folder / 'tested.json'
    checkpoint.write_bytes(b'weights')

    def quoted(**told):
        file.write_text(json.dumps(told))
        return accuracy_of(checkpoint), capsys.readouterr().out

    digest = content_digest(checkpoint)
    accuracy, said = quoted(checkpoint=digest, split='test')
    assert accuracy == measured_accuracy(folder) and not said
    for told, reason in (
        ({'checkpoint': digest, 'split': 'train'}, 'is of training subjects'),
        ({'checkpoint': 'another', 'split': 'test'}, 'is of another checkpoint than best.pth'),
        ({}, 'does not say which checkpoint was tested'),
    ):
        accuracy, said = quoted(**told)
        assert accuracy is None and reason in said and said.count('\n') == 1
    file.unlink()
    assert accuracy_of(checkpoint) is None and 'does not say' in capsys.readouterr().out
    shutil.rmtree(folder)
    assert accuracy_of(checkpoint) is None and not capsys.readouterr().out


def test_the_card_tells_them_and_known_failures(tested):
    accuracy = measured_accuracy(tested)
    card = card_of(VALUES, accuracy, limits='patients lying prone.')
    assert '| spleen | 4 | 3.00 (' in card and '| all | 4 | 4.50 (' in card
    assert 'Known failures: patients lying prone.' in card
    assert 'Known failures' not in card_of(VALUES, accuracy, limits='')
