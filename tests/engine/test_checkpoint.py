import collections
import os
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from massm.engine.checkpoint import load_checkpoint
from massm.errors import CheckpointError


class Bomb:
    def __reduce__(self):
        return os.system, ('touch exploded',)


class AttributeBomb:
    """Reaches for a module through the one getattr that log buffers need."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_what_mmengine_stores_loads(tmp_path):
    hub = MessageHub.get_instance('checkpoint_test')
    hub.update_scalar('train/loss', 1.5)
    content = {
        'meta': {'epoch': 1, 'names': ['a'], 'best': np.float64(2.0)},
        'state_dict': collections.OrderedDict(w=torch.ones(2)),
        'message_hub': hub.state_dict(),
    }
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_checkpoint(tmp_path / 'a.pth')
    assert loaded['message_hub']['log_scalars']['train/loss'].current() == 1.5
    assert loaded['meta']['best'] == 2.0


@pytest.mark.parametrize('written, read', [(b'_core', b'core'), (b'core', b'_core')])
def test_checkpoints_cross_numpys_versions(tmp_path, written, read):
    """Which call the makers of arrays and numbers by different names."""
    content = {'array': np.arange(3.0), 'number': np.float64(2.0)}
    torch.save(content, tmp_path / 'own.pth')
    renamed = f'numpy.{read.decode()}.multiarray'.encode()
    with (
        zipfile.ZipFile(tmp_path / 'own.pth') as own,
        zipfile.ZipFile(tmp_path / 'other.pth', 'w') as other,
    ):
        for name in own.namelist():
            data = own.read(name)
            if name.endswith('data.pkl'):
                assert b'numpy._core.multiarray' in data or b'numpy.core.multiarray' in data
                data = data.replace(b'numpy.' + written + b'.multiarray', renamed)
            other.writestr(name, data)
    loaded = load_checkpoint(tmp_path / 'other.pth')
    assert loaded['array'].tolist() == [0, 1, 2] and loaded['number'] == 2.0


@pytest.mark.parametrize('bomb', [Bomb(), AttributeBomb()])
def test_a_checkpoint_that_could_run_code_is_refused_and_does_not_run(tmp_path, monkeypatch, bomb):
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': {}, 'x': bomb}, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match='refused') as caught:
        load_checkpoint(tmp_path / 'bad.pth')
    assert '--trust-checkpoint' in str(caught.value)
    assert not (tmp_path / 'exploded').exists()


def test_a_config_that_mmengine_would_execute_is_left_out(tmp_path):
    torch.save({'meta': {'epoch': 1, 'config': 'import os'}}, tmp_path / 'a.pth')
    assert load_checkpoint(tmp_path / 'a.pth')['meta'] == {'epoch': 1}
    assert 'config' in load_checkpoint(tmp_path / 'a.pth', trust=True)['meta']


def test_trust_is_the_users_to_give(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'x': Bomb()}, tmp_path / 'mine.pth')
    load_checkpoint(tmp_path / 'mine.pth', trust=True)
    assert (tmp_path / 'exploded').exists()


def test_missing_and_cut_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match='no such checkpoint'):
        load_checkpoint(tmp_path / 'none.pth')
    torch.save({'a': torch.ones(1000)}, tmp_path / 'cut.pth')
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'cut.pth').read_bytes()[:900])
    with pytest.raises(CheckpointError, match='not a readable checkpoint'):
        load_checkpoint(tmp_path / 'cut.pth')
