"""The ways to start the program."""

import subprocess
import sys

from massm import __version__


def test_the_package_runs_as_a_module():
    told = subprocess.run(
        [sys.executable, '-m', 'massm', '--version'], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == f'massm {__version__}'
