"""Runs of the real training loop on the tiny dataset."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from massm.apis.test import test as run_test
from massm.apis.test import unmeasured
from massm.apis.train import train
from massm.cli import run_command
from massm.engine.checkpoint import load_checkpoint
from massm.engine.hooks import CVAEPretrainHook
from massm.errors import CheckpointError, ConfigError
from massm.io.digest import content_digest
from massm.io.meshes import read_mesh, write_mesh
from massm.io.particles import read_particles, write_particles
from massm.io.templates import read_template
from tests.conftest import ROOT, TINY_PARTICLES


def weights(folder, epoch):
    return load_checkpoint(folder / f'epoch_{epoch}.pth')['state_dict']


@pytest.mark.slow
def test_resuming_equals_never_having_stopped_bit_for_bit(tiny_config, tmp_path):
    options = {
        'train_cfg.val_interval': 10,
        'default_hooks.checkpoint.save_best': None,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
        'train_cfg.max_epochs': 4,
    }
    train(tiny_config(**options), str(tmp_path / 'straight'))
    train(
        tiny_config(**options),
        str(tmp_path / 'halves'),
        resume=str(tmp_path / 'straight/epoch_2.pth'),
    )
    straight, halves = weights(tmp_path / 'straight', 4), weights(tmp_path / 'halves', 4)
    assert straight.keys() == halves.keys()
    assert all(torch.equal(straight[k], halves[k]) for k in straight)
    assert not torch.equal(
        straight['backbone.conv1.weight'],
        weights(tmp_path / 'straight', 2)['backbone.conv1.weight'],
    )


def test_training_does_not_move_the_pretrained_shape_decoder(tiny_config, tmp_path, monkeypatch):
    """Not by a gradient left over from its pretraining, and not by weight decay."""
    pretrained = {}

    def pretrain_and_keep(hook, runner):
        pretrain(hook, runner)
        vae = runner.model.world_head.shape_vae
        pretrained.update({k: v.clone() for k, v in vae.state_dict().items()})

    pretrain = CVAEPretrainHook.before_train
    monkeypatch.setattr(CVAEPretrainHook, 'before_train', pretrain_and_keep)
    runner = train(
        tiny_config(
            **{
                'train_cfg.max_epochs': 1,
                'train_cfg.val_interval': 10,
                'default_hooks.checkpoint.save_best': None,
                'optim_wrapper.optimizer.weight_decay': 0.5,
            }
        ),
        str(tmp_path),
    )
    trained = runner.model.world_head.shape_vae.state_dict()
    assert trained.keys() == pretrained.keys() and len(trained) > 10
    assert all(torch.equal(trained[k], pretrained[k]) for k in trained)
    in_optimiser = {id(p) for group in runner.optim_wrapper.param_groups for p in group['params']}
    wanted = {id(p) for p in runner.model.parameters() if p.requires_grad}
    assert in_optimiser == wanted


def _logged_losses(folder):
    log = next(folder.glob('2*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row['loss'] for row in rows if 'loss' in row]


@pytest.mark.slow
def test_two_processes_equal_one_with_the_same_global_batch(tiny_dataset, tmp_path):
    """dist_train.sh with gloo against a single process: the same losses, step by step, and the
    same weights at the end (to float32 accumulation)."""
    common = [
        f'data_root={tiny_dataset}',
        'spacing=8.0',
        f'num_particles={TINY_PARTICLES}',
        'model.backbone.base_channels=8',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'model.data_preprocessor.size_divisor=64',
        'train_dataloader.dataset.indices=6',
        'val_cfg=None',
        'val_dataloader=None',
        'val_evaluator=None',
        'default_hooks.checkpoint.save_best=None',
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
        'train_cfg.max_epochs=2',
        'custom_hooks.CVAEPretrainHook.steps=5',
        # Adam divides by the gradient's size, and so makes much of rounding in tiny ones.
        'optim_wrapper.optimizer.type=SGD',
        'optim_wrapper.optimizer.fused=False',
    ]
    config = str(ROOT / 'configs/massm_r18_paper.py')
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        environment['PORT'] = str(free.getsockname()[1])
    environment['PATH'] = f'{Path(sys.executable).parent}:{environment["PATH"]}'

    def arguments(batch):
        folder = str(tmp_path / f'batch{batch}')
        batches = f'train_dataloader.batch_size={batch}'
        return ['--work-dir', folder, '--cfg-options', *common, batches]

    subprocess.run(
        ['bash', str(ROOT / 'tools/dist_train.sh'), config, '2', *arguments(batch=1)],
        check=True,
        env=environment,
        timeout=400,
        stdout=subprocess.DEVNULL,
    )
    assert run_command('train', [config, *arguments(batch=2)]) == 0
    one, two = _logged_losses(tmp_path / 'batch2'), _logged_losses(tmp_path / 'batch1')
    assert two == pytest.approx(one, rel=2e-3)
    a, b = weights(tmp_path / 'batch2', 2), weights(tmp_path / 'batch1', 2)
    for key in a:
        if a[key].is_floating_point() and a[key].numel():
            assert torch.allclose(a[key], b[key], atol=1e-5, rtol=1e-3), key


def test_the_network_overfits_a_few_subjects(fitted):
    """Without augmentation, training error falls far below the mean shape's."""
    config, folder = fitted
    metrics = run_test(config, None, str(folder)).metrics['mean']
    assert metrics['missed'] == 0
    assert metrics['local_rmse_mm'] < 0.7 * metrics['local_rmse_mm_mean_shape_true_center']
    assert metrics['s2s_mask_mm'] < 8


@pytest.fixture(scope='module')
def trained(tiny_dataset, tmp_path_factory):
    """A work dir of one epoch, through the command line."""
    folder = tmp_path_factory.mktemp('work')
    options = [
        f'data_root={tiny_dataset}',
        'spacing=8.0',
        f'num_particles={TINY_PARTICLES}',
        'model.backbone.base_channels=8',
        'train_dataloader.num_workers=1',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        'custom_hooks.CVAEPretrainHook.steps=5',
    ]
    config = str(ROOT / 'configs/massm_r18_paper.py')
    command = [config, '--work-dir', str(folder), '--cfg-options', *options]
    assert run_command('train', command) == 0
    return folder, config, options


def test_the_best_checkpoint_is_tested_and_everything_is_written(trained):
    folder, config, options = trained
    assert list(folder.glob('best_local_rmse_mm_epoch_1.pth'))
    assert list(folder.glob('*/vis_data/events.out.tfevents*'))
    assert run_command('test', [config, '--work-dir', str(folder), '--cfg-options', *options]) == 0
    metrics = json.loads((folder / 'test/metrics.json').read_text())
    assert set(metrics) == {'mean', 'anatomies', 'unmeasured'} and len(metrics['anatomies']) == 7
    tested = json.loads((folder / 'test/tested.json').read_text())
    best = next(folder.glob('best_local_rmse_mm_epoch_1.pth'))
    assert tested['checkpoint'] == content_digest(best) and tested['split'] == 'test'
    for key in ('found', 'missed', 'false', 'local_rmse_mm', 's2s_mask_mm', 'hd95_mm', 'dice'):
        assert key in metrics['mean']
    lines = (folder / 'test/cases.csv').read_text().splitlines()
    assert lines[0].startswith('id,anatomy,status,score,found') and len(lines) == 1 + 7
    assert {p.name for p in (folder / 'report').glob('*.png')} >= {'rmse.png', 'surface.png'}
    assert not (folder / 'report/report.html').exists(), 'which only --report writes'


def test_a_test_leaves_nothing_of_an_earlier_one(trained, tmp_path):
    folder, config, options = trained
    work = shutil.copytree(folder, tmp_path / 'work')
    stale = [work / 'report/report.html', work / 'test/particles/gone/spleen_local.particles']
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('of another checkpoint')
    assert run_command('test', [config, '--work-dir', str(work), '--cfg-options', *options]) == 0
    assert not any(path.exists() for path in stale)


def test_whole_anatomies_without_particles_are_told(tiny_dataset, tmp_path):
    root = shutil.copytree(tiny_dataset, tmp_path / 'dataset')
    content = json.loads((root / 'dataset.json').read_text())
    subject = next(e for e in content['data_list'] if e['split'] == 'test')
    for key in ('local', 'world', 'patient_to_world'):
        subject['anatomies']['spleen'].pop(key)
    (root / 'dataset.json').write_text(json.dumps(content))
    names = ['spleen', 'heart_ventricle_left']
    assert unmeasured(root, [subject['id']], names) == {'spleen': [subject['id']]}
    assert unmeasured(tiny_dataset, [subject['id']], names) == {}


@pytest.mark.parametrize(
    'change, message',
    [
        ("anatomies=['spleen','heart_atrium_left']", 'was trained with anatomies'),
        ('num_particles=32', 'was trained with num_particles'),
        ('model.backbone.base_channels=16', 'was trained with model.backbone.base_channels = 8'),
    ],
)
def test_a_checkpoint_of_another_config_is_refused(trained, capsys, change, message):
    folder, config, options = trained
    checkpoint = next(folder.glob('best_*.pth'))
    command = [config, str(checkpoint), '--work-dir', str(folder), '--cfg-options']
    assert run_command('test', [*command, *options, change]) == 1
    error = capsys.readouterr().err
    assert message in error and len([x for x in error.splitlines() if x.startswith('error')]) == 1


def test_weights_to_start_from_leave_the_dataset_its_own_templates(
    trained, tiny_config, tiny_dataset, tmp_path
):
    """``load_from`` without ``--resume``: what was learnt is taken over, the shapes are not, and
    the shape decoder is trained on the new ones."""
    checkpoint = next(trained[0].glob('best_*.pth'))
    root = shutil.copytree(tiny_dataset, tmp_path / 'dataset')
    template = root / 'shapes/spleen/template.particles'
    write_particles(template, np.roll(read_particles(template), 1, axis=0))
    options = {'data_root': str(root), 'load_from': str(checkpoint), 'train_cfg.max_epochs': 1}
    runner = tiny_config(
        **options,
        **{
            'model.neck.out_channels': 32,
            'model.dense_head.feat_channels': 32,
            'model.local_head.hidden_channels': (256, 256),
            'optim_wrapper.optimizer.lr': 0.0,
            'optim_wrapper.optimizer.weight_decay': 0.0,
            'val_cfg': None,
            'val_dataloader': None,
            'val_evaluator': None,
            'default_hooks.checkpoint.save_best': None,
        },
    )
    model = train(runner, str(tmp_path / 'work')).model
    stored = load_checkpoint(checkpoint)['state_dict']
    own = model.state_dict()
    spleen = model.anatomies.index('spleen')
    expected = read_template(root, 'spleen', TINY_PARTICLES).world
    assert np.allclose(own['templates.world_mm'][spleen], expected, atol=1e-4)
    assert not torch.equal(own['templates.world_mm'], stored['templates.world_mm'])
    assert torch.equal(own['backbone.conv1.weight'], stored['backbone.conv1.weight'])
    decoder = next(k for k in own if 'shape_vae' in k and k.endswith('weight'))
    assert model.world_head.shape_vae.is_trained and not torch.equal(own[decoder], stored[decoder])
    with pytest.raises(CheckpointError, match='was trained with anatomies'):
        train(tiny_config(**options, anatomies=['spleen']), str(tmp_path / 'work'))


def _commands(trained, checkpoint, tmp_path, *changes):
    """Test, resumed training and export with a checkpoint."""
    _, config, options = trained
    end = ['--cfg-options', *options, *changes]
    work = ['--work-dir', str(tmp_path / 'work')]
    yield 'test', [config, str(checkpoint), *work, *end]
    yield 'train', [config, '--resume', str(checkpoint), *work, *end]
    yield 'export_model', [config, str(checkpoint), '--out', str(tmp_path / 'model'), *end]


def _refusals(commands, capsys):
    for name, command in commands:
        assert run_command(name, command) == 1, name
        yield [x for x in capsys.readouterr().err.splitlines() if x.startswith('error')]


def test_correspondences_built_again_since_the_training_are_noticed(
    trained, tiny_dataset, tmp_path, capsys
):
    """Of any anatomy, by its particles as by its surface."""
    checkpoint = next(trained[0].glob('best_*.pth'))
    for file in ('heart_atrium_left/template.particles', 'spleen/template.ply'):
        again = tmp_path / file.replace('/', '_') / 'dataset'
        shutil.copytree(tiny_dataset, again)
        template = again / 'shapes' / file
        if file.endswith('ply'):
            mesh = read_mesh(template)
            write_mesh(template, mesh.with_vertices(1.01 * mesh.vertices))
        else:
            write_particles(template, np.roll(read_particles(template), 1, axis=0))
        commands = _commands(trained, checkpoint, tmp_path, f'data_root={again}')
        for error in _refusals(commands, capsys):
            assert (
                len(error) == 1 and str(again / 'shapes') in error[0] and 'train again' in error[0]
            )


def test_training_does_not_go_on_with_the_anatomies_in_another_order(trained, tmp_path, capsys):
    folder, config, options = trained
    for name in ('best_local_rmse_mm_epoch_1.pth', 'epoch_1.pth'):
        shutil.copy(folder / name, tmp_path / name)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    anatomies = load_checkpoint(folder / 'epoch_1.pth')['meta']['dataset_meta']['anatomies']
    turned = f'anatomies={json.dumps(anatomies[::-1]).replace(" ", "")}'
    command = [config, '--work-dir', str(tmp_path), '--resume', '--cfg-options', *options, turned]
    (error,) = _refusals([('train', command)], capsys)
    assert len(error) == 1 and 'was trained with anatomies' in error[0]


def test_a_checkpoint_that_names_no_correspondences_is_refused(trained, tmp_path, capsys):
    stored = load_checkpoint(next(trained[0].glob('best_*.pth')))
    del stored['meta']['dataset_meta']['shape_model']
    torch.save(stored, tmp_path / 'older.pth')
    for error in _refusals(_commands(trained, tmp_path / 'older.pth', tmp_path), capsys):
        assert len(error) == 1 and 'older version; train again' in error[0]


def test_no_checkpoint_and_no_place_to_write_are_named(tiny_config, tmp_path):
    with pytest.raises(CheckpointError, match='no checkpoint'):
        run_test(tiny_config(), None, str(tmp_path / 'empty'))
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='cannot be written'):
        train(tiny_config(), str(tmp_path / 'file' / 'work'))


def test_dataset_and_config_must_agree(tiny_dataset, capsys, tmp_path):
    config = str(ROOT / 'configs/massm_r18_paper.py')
    for change, message in {
        'spacing=3.0': 'prepared at 8 mm but the config says 3',
        'spacing=8.0': 'correspondences have 64 particles, the config asks for 512',
    }.items():
        command = [
            config,
            '--work-dir',
            str(tmp_path),
            '--cfg-options',
            f'data_root={tiny_dataset}',
        ]
        assert run_command('train', [*command, change]) == 1
        assert message in capsys.readouterr().err


def test_inference_in_any_axis_order_gives_the_same_patient(trained, tiny_source, tmp_path):
    """The same scan stored in other axis orders, and cut from its file's geometry."""
    import nibabel

    from massm.io.nifti import read_volume

    folder, config, options = trained
    checkpoint = str(next(folder.glob('best_*.pth')))
    image = nibabel.load(tiny_source / 's0001/ct.nii.gz')
    results = {}
    for order in ('RAS', 'PIR', 'LSA'):
        start = nibabel.orientations.io_orientation(image.affine)
        goal = nibabel.orientations.axcodes2ornt(order)
        turned = image.as_reoriented(nibabel.orientations.ornt_transform(start, goal))
        path = tmp_path / f'{order}.nii.gz'
        nibabel.save(turned, path)
        out = tmp_path / order
        command = [str(path), '--model', checkpoint, '--config', config, '--out', str(tmp_path)]
        shown = ['--score-threshold', '0', '--cfg-options', *options]
        assert run_command('infer', [*command, *shown]) == 0
        labels, grid = read_volume(out / 'labels.nii.gz')
        assert grid.is_close(read_volume(path)[1])
        written = json.loads((out / 'result.json').read_text())
        assert set(written['anatomies']) == set(results.get('names', written['anatomies']))
        results['names'] = list(written['anatomies'])
        results[order] = np.stack(
            [read_particles(out / 'local' / f'{n}.particles') for n in results['names']]
        )
        centers = grid.to_patient(np.argwhere(labels > 0).astype(float)).mean(0)
        results[f'{order} labels'] = centers
    for order in ('PIR', 'LSA'):
        assert np.abs(results[order] - results['RAS']).max() < 0.1
        assert np.abs(results[f'{order} labels'] - results['RAS labels']).max() < 0.5


@pytest.mark.parametrize('name', ['missing.nii.gz', 'broken.nii.gz'])
def test_a_bad_image_is_one_sentence_and_leaves_nothing(trained, tmp_path, capsys, name):
    folder, config, options = trained
    (tmp_path / 'broken.nii.gz').write_bytes(b'\x1f\x8bnonsense')
    checkpoint, out = str(next(folder.glob('best_*.pth'))), tmp_path / 'out'
    command = [str(tmp_path / name), '--model', checkpoint, '--config', config, '--out', str(out)]
    assert run_command('infer', [*command, '--cfg-options', *options]) == 1
    assert name in capsys.readouterr().err and not list(out.iterdir())
