"""Whether a folder can be written, found out before the work."""

import tempfile
from pathlib import Path

from massm.errors import ConfigError


def make_writable(folder: Path) -> None:
    """Creates ``folder`` and writes a file in it, so that a run fails now and not after an hour.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f'{folder}: cannot be written ({error.strerror}); choose another folder to write'
        ) from error
