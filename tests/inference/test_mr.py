"""MR from labels to results: prepared, in correspondence, trained for seconds. That is enough to
tell what a model takes, and that what it sees does not depend on how a file is stored."""

import json

import numpy as np
import pytest

from massm.cli import run_command
from massm.inference.inferencer import MASSMInferencer
from massm.structures import Grid
from tests import mr_cohort
from tests.conftest import ROOT
from tests.mr_cohort import AFFINE, SHAPE, ellipsoid, save, subject
from tests.robustness.scans import dicom

SPACING, PARTICLES, EPOCHS = 3.0, 32, 2
OPTIONS = [
    "anatomies=['bean','pea']",
    f'spacing={SPACING}',
    f'num_particles={PARTICLES}',
    f'train_cfg.max_epochs={EPOCHS}',
    f'train_cfg.val_interval={EPOCHS}',
    'model.backbone.base_channels=8',
    'model.local_head.samples=7',
    'custom_hooks.FilterFitHook.samples=5',
    'custom_hooks.FilterFitHook.starts=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'log_level=WARNING',
]
CONFIG = str(ROOT / 'configs/massm_r18_mr.py')


def run(command, *words):
    return run_command(command, [str(word) for word in words])


@pytest.fixture(scope='module')
def trained(shared):
    """Dataset, work dir and model directory of a network that saw five MRs twice."""

    def make(out):
        source = mr_cohort.write_cohort(out / 'src', 'nnunet')
        names = ['--anatomies', *mr_cohort.VALUES, '--spacing', SPACING, '--jobs', 1]
        assert run('prepare_dataset', source, out / 'data', *names) == 0
        assert run('build_pdm', out / 'data', '--particles', PARTICLES, '--jobs', 1) == 0
        options = ['--cfg-options', f'data_root={out / "data"}', *OPTIONS]
        assert run('train', CONFIG, '--work-dir', out / 'work', *options) == 0
        checkpoint = out / f'work/epoch_{EPOCHS}.pth'
        assert run('export_model', CONFIG, checkpoint, '--out', out / 'model', *options) == 0

    return shared('mr', make)


@pytest.fixture(scope='module')
def inferencer(trained):
    return MASSMInferencer(trained / 'model', score_threshold=0.0)


def particles(inferencer, image, affine=AFFINE):
    result = inferencer((image, Grid(image.shape, affine)))[0]
    return np.stack([shape.local_mm for shape in result.shapes]), result


@pytest.mark.slow
def test_the_numbers_of_the_file_change_nothing(inferencer):
    image = subject(6)[1]
    expected, _ = particles(inferencer, image)
    for factor in (1e-4, 300.0):
        assert np.abs(particles(inferencer, factor * image)[0] - expected).max() < 0.01


@pytest.mark.slow
def test_a_model_says_what_it_is_for_and_refuses_the_rest(trained, tmp_path, capsys):
    model, out = trained / 'model', tmp_path / 'out'
    assert json.loads((model / 'metadata.json').read_text())['modality'] == 'mr'
    assert 'MR in 0 to 1000 for bright tissue' in (model / 'model_card.md').read_text()
    mr = np.round(800 * subject(6)[1] / subject(6)[1].max()).astype(np.int16)
    ct = np.where(ellipsoid((21, 19, 17), (18, 15, 14)), 40, -1000).astype(np.int16)
    save(tmp_path / 'ct.nii.gz', ct + np.random.default_rng(0).integers(-9, 9, SHAPE, np.int16))
    one = dicom(tmp_path / 'mr', mr, AFFINE, modality='MR')
    other = dicom(tmp_path / 'ct', mr, AFFINE)
    assert run('infer', one, '--model', model, '--out', out, '--report') == 0
    assert json.loads((out / 'mr/result.json').read_text())['warnings'] == []
    capsys.readouterr()
    refused = {tmp_path / 'ct.nii.gz': 'is a CT by its values', other: 'modality is CT'}
    for image, words in refused.items():
        assert run('infer', image, '--model', model, '--out', out) == 1
        said = capsys.readouterr().err
        assert words in said and said.count('\n') == 1
    assert {p.name for p in out.iterdir() if p.is_dir()} == {'mr'}


@pytest.mark.slow
def test_a_config_for_ct_is_refused_on_mr_and_an_mr_checkpoint_as_ct(trained, tmp_path, capsys):
    data = ['--cfg-options', f'data_root={trained / "data"}', *OPTIONS[:3]]
    phantom = str(ROOT / 'configs/massm_r18_phantom.py')
    assert run('train', phantom, '--work-dir', tmp_path, *data) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'is a cohort of MR but the config is for CT' in said and 'massm_r18_mr.py' in said
    assert run('train', phantom, '--work-dir', tmp_path, *data, 'modality=mr') == 1
    assert 'the windows are in HU' in capsys.readouterr().err
    checkpoint = trained / f'work/epoch_{EPOCHS}.pth'
    words = [checkpoint, '--config', CONFIG, '--out', tmp_path / 'out', *data, 'modality=ct']
    assert run('infer', subject_file(tmp_path), '--model', *words) == 1
    assert 'was trained with modality = mr' in capsys.readouterr().err


def subject_file(folder):
    save(folder / 'a.nii.gz', subject(6)[1])
    return folder / 'a.nii.gz'
