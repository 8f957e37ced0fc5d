"""A build that was killed leaves torch's lock behind."""

import logging
import os
import time

from massm.ops import extension


def test_an_old_lock_is_removed_and_told(tmp_path, caplog):
    lock = tmp_path / 'lock'
    lock.touch()
    before = time.time() - 2 * extension.STALE_S
    os.utime(lock, (before, before))
    assert extension._is_free(lock) and not lock.exists()
    assert 'left behind' in caplog.text


def test_a_young_lock_is_waited_for_and_then_left_alone(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(extension, 'START_S', 0.3)
    lock = tmp_path / 'lock'
    lock.touch()
    with caplog.at_level(logging.WARNING):
        assert not extension._is_free(lock)
    assert lock.exists() and 'using the torch reference' in caplog.text
    assert extension._is_free(tmp_path / 'none')
