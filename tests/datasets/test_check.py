"""What is wrong with any subject is told before a training's first step, all of it at once."""

import gzip
import json
import shutil

import numpy as np
import pytest

from massm.apis.train import train
from massm.datasets import check
from massm.datasets.transforms import RandomFlip
from massm.errors import ConfigError, DatasetError
from massm.io.names import partner_name
from massm.io.particles import read_particles, write_particles
from massm.registry import DATASETS


@pytest.fixture
def spoilt(tiny_dataset, tmp_path):
    """A copy of the dataset in which three training subjects are broken, each in another way."""
    root = tmp_path / 'spoilt'
    shutil.copytree(tiny_dataset, root)
    rows = json.loads((root / 'dataset.json').read_text())['data_list']
    train_rows = [row for row in rows if row['split'] == 'train']
    cut, moved, torn = train_rows[:3]
    image = root / cut['image']
    image.write_bytes(image.read_bytes()[:-1000])
    local = next(root / e['local'] for e in moved['anatomies'].values() if 'local' in e)
    write_particles(local, read_particles(local) + np.array([900.0, 0, 0]))
    mask = next(root / e['mask'] for e in torn['anatomies'].values() if 'mask' in e)
    content = bytearray(mask.read_bytes())
    content[-6] ^= 0xFF  # the checksum
    mask.write_bytes(content)
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(content)
    used = [row for row in rows if row['split'] != 'test']
    return root, [row['id'] for row in (cut, moved, torn)], len(used)


def test_every_broken_subject_is_named_before_the_first_step(spoilt, tiny_config, tmp_path):
    root, broken, count = spoilt
    work = tmp_path / 'work'
    with pytest.raises(DatasetError) as caught:
        train(tiny_config(data_root=str(root)), str(work))
    text = str(caught.value)
    assert f'3 of {count} subjects cannot be used' in text
    assert all(f'{subject}: ' in text for subject in broken)
    assert 'particles lie outside of the volume' in text
    assert not list(work.glob('*.pth'))


def test_what_mirroring_lacks_is_told_before_the_first_step(tiny_config, tmp_path):
    config = tiny_config().train_dataloader.dataset
    dataset = DATASETS.build(config)
    dataset.pipeline.transforms.insert(2, RandomFlip(midline=['spleen']))
    with pytest.raises(ConfigError, match='has no mirror image among the anatomies'):
        check.check_subjects([dataset])
    names = dataset.metainfo['anatomies']
    pairs = [(n, partner_name(n)) for n in names if 'left' in n]
    midline = [n for n in names if partner_name(n) == n]
    dataset.pipeline.transforms[2] = RandomFlip(pairs, midline)
    check.check_subjects([dataset])
    dataset.mirror_places = {}
    with pytest.raises(DatasetError, match='lie on a mirror image; run massm pdm on it again'):
        check.check_subjects([dataset])


def test_checkpoints_are_chosen_by_what_can_be_measured(tiny_config):
    dataset = DATASETS.build(tiny_config().train_dataloader.dataset)
    check.check_selection(dataset, ['local_rmse_mm', 's2s_mask_mm', 'center_error_mm'])
    for record in dataset.data_list:
        record['mask'] = [None] * len(record['mask'])
    check.check_selection(dataset, ['local_rmse_mm', 's2s_world_mm', 'center_error_mm'])
    with pytest.raises(ConfigError, match='save_best=dice: no validation subject has a mask of a'):
        check.check_selection(dataset, ['dice'])
    for record in dataset.data_list:
        record['local'] = [None] * len(record['local'])
    with pytest.raises(ConfigError, match='no validation subject has a shape to measure it by'):
        check.check_selection(dataset, ['local_rmse_mm'])


def test_processes_share_the_subjects_and_find_the_same(monkeypatch):
    monkeypatch.setattr(check, 'problem', lambda record: record['id'] if record['id'] % 3 else None)
    records = [{'id': n} for n in range(7)]
    alone = check._problems(records)
    monkeypatch.setattr(check, 'get_world_size', lambda: 2)
    shares = []
    monkeypatch.setattr(
        check, 'all_gather_object', lambda own: shares.append(own) or 2 * [[*own, None]]
    )
    for rank in (0, 1):
        monkeypatch.setattr(check, 'get_rank', lambda rank=rank: rank)
        check._problems(records)
    assert [len(share) for share in shares] == [4, 3]
    monkeypatch.setattr(check, 'all_gather_object', lambda own: shares)
    assert check._problems(records) == alone == [None, 1, 2, None, 4, 5, None]
