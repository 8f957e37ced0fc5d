"""Every odd input: the right result, or one sentence, exit code 1 and nothing written."""

import json

import pytest

from massm.cli import run_command
from tests.robustness.cases import BAD, OK
from tests.robustness.scans import load


@pytest.fixture(scope='module')
def phantom(tiny_source):
    return load(tiny_source / 's0001/ct.nii.gz')


@pytest.mark.parametrize('name', OK)
def test_unusual_scans_give_a_result(name, phantom, model_directory, tmp_path, capsys, tell):
    case, expected = OK[name]
    image, out = case(tmp_path, *phantom), tmp_path / 'out'
    code = run_command('infer', [str(image), '--model', str(model_directory), '--out', str(out)])
    assert code == 0, capsys.readouterr().err
    warnings = json.loads(next(out.glob('*/result.json')).read_text())['warnings']
    assert [sum(part in said for said in warnings) for part in expected] == [1] * len(warnings)
    tell('; '.join(['a result', *warnings]))


@pytest.mark.parametrize('name', BAD)
def test_what_cannot_be_used_is_one_sentence(
    name, phantom, model_directory, tmp_path, capsys, tell
):
    case, message = BAD[name]
    image, out = case(tmp_path, *phantom), tmp_path / 'out'
    code = run_command('infer', [str(image), '--model', str(model_directory), '--out', str(out)])
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert code == 1
    assert len(said) == 1 and said[0].startswith('error: ') and message in said[0], said
    assert image.name in said[0]
    assert not list(out.iterdir())
    assert not (tmp_path.parent / 'outside.dcm').exists()
    tell(f'refused: {said[0][7:]}')


def test_there_are_enough_cases():
    assert len(OK) + len(BAD) >= 60
