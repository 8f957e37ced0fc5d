"""Processes that the system kills."""

import contextlib
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

from joblib import effective_n_jobs

from massm.errors import DatasetError


@contextlib.contextmanager
def telling_killed(jobs: int) -> Iterator[None]:
    """Says what to do where one of ``jobs`` processes was killed within.

    Raises:
        DatasetError: see above.
    """
    try:
        yield
    except BrokenProcessPool as error:
        fewer = max(1, effective_n_jobs(jobs) // 2)
        raise DatasetError(
            'a process was killed, most likely for lack of memory; run again with '
            f'--jobs {fewer}, what was finished is kept'
        ) from error
