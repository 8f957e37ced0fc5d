"""Running the tasks of a stage: in this process, on all cores, or on a dask cluster."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed, parallel_config
from rich.console import Console
from rich.progress import Progress, TaskID

from massm.cohort.workers import telling_killed
from massm.errors import ConfigError

if TYPE_CHECKING:
    from massm.shape.population import TaskRunner

# Starting processes and importing the geometry libraries in them costs about as much as this many
# tasks of a population stage.
WORTH_PROCESSES = 8


@contextlib.contextmanager
def task_runner(jobs: int, dask: str | None = None) -> Iterator['TaskRunner']:
    """A runner with a progress bar per stage (nothing in a log file).

    Args:
        jobs: processes, -1 for one a core.
        dask: address of a dask.distributed scheduler to hand the tasks to.

    Raises:
        ConfigError: the cluster cannot be reached.
        DatasetError: a process was killed.
    """
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        shown: dict[str, TaskID] = {}

        def run(label: str, function: Callable[..., Any], tasks: Sequence[tuple]) -> list[Any]:
            few = len(tasks) < WORTH_PROCESSES and dask is None
            parallel = Parallel(n_jobs=1 if few else jobs, return_as='generator')
            bar = shown.setdefault(label, progress.add_task(label, total=len(tasks)))
            progress.reset(bar, total=len(tasks))
            results = []
            with telling_killed(jobs):
                for result in parallel(delayed(function)(*task) for task in tasks):
                    results.append(result)
                    progress.advance(bar)
            return results

        with _backend(dask):
            yield run


@contextlib.contextmanager
def _backend(address: str | None) -> Iterator[None]:
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError('--dask needs dask.distributed; pip install distributed') from error
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ConfigError(f'--dask {address}: no scheduler answers ({error})') from error
    with client, parallel_config(backend='dask'):
        yield
