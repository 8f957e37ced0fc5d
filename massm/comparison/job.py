"""One method trained and tested once, in a process of its own."""

import copy
import fcntl
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

import massm
from massm.apis.config import load_config
from massm.apis.config_options import ConfigOptions
from massm.apis.test import test
from massm.apis.train import train
from massm.comparison.cohort import ComparedCohort
from massm.comparison.methods import Method, repository
from massm.engine.model_settings import model_settings
from massm.errors import ConfigError, MassmError
from massm.io.atomic import write_text

# In a training: so many looks at the patients who choose, and checkpoints to resume from.
VALIDATIONS, CHECKPOINTS = 4, 8
FAILURE, RUN, TRAINED, LOG = 'failure.txt', 'run.json', 'trained.json', 'log.txt'
# Settings of the network, and the versions of the code that trained it.
ORIGIN = 'origin.json'
# Exit code: another process holds the folder.
BUSY = 75


@dataclass(frozen=True)
class Job:
    """What to run: a method with a seed for ``budget_s`` seconds of training, in ``folder``;
    ``options`` are of ``--cfg-options``."""

    method: Method
    seed: int
    cohort: ComparedCohort
    budget_s: float
    folder: Path
    options: ConfigOptions

    @property
    def label(self) -> str:
        """Its name for people."""
        return f'{self.method.name}, seed {self.seed}'


def jobs_of(
    methods: Sequence[Method],
    seeds: int,
    cohort: ComparedCohort,
    budget_s: float,
    out: Path,
    options: ConfigOptions,
) -> list[Job]:
    """Each method once with each of ``seeds`` seeds, in folders of ``out``."""
    return [
        Job(method, seed, cohort, budget_s, out / f'{method.name}_{seed}', options)
        for seed in range(seeds)
        for method in methods
    ]


def work(job: Job) -> None:
    """Runs ``job`` with its output in ``log.txt``; leaves ``run.json``, or ``failure.txt`` with one
    sentence. The entry of a process; it ends with :data:`BUSY` where another is at the same job, as
    one whose command was killed may be."""
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(BUSY)
    (job.folder / FAILURE).unlink(missing_ok=True)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        train_and_test(job)
    except BaseException as error:  # whatever it was, the others go on and the table says it
        known = isinstance(error, MassmError | OSError)
        words = ' '.join(str(error).split()) or 'no words'
        sentence = words if known else f'{type(error).__name__}: {words}'
        write_text(job.folder / FAILURE, sentence + '\n')
        raise


def train_and_test(job: Job) -> None:
    """Trains, or goes on training, and tests."""
    trained = read_json(job.folder / TRAINED)
    config = job_config(job)
    if trained is None:
        versions = note_origin(job.folder, config)
        runner = train(copy.deepcopy(config), str(job.folder), resume=True)
        loop = runner.train_loop
        if loop.iter == 0:
            raise ConfigError(
                f'{job.method.name} took no step in {job.budget_s:.0f} s, of which preparing took '
                f'{loop.preparation_s:.0f}; give a larger --budget'
            )
        trained = {
            'training_s': loop.spent_s,
            'preparation_s': loop.preparation_s,
            'cpu_s': loop.cpu_s,
            'code': ', '.join(versions),
            'steps': loop.iter,
            'passes': loop.passes,
            **peak_memory(),
        }
        write_text(job.folder / TRAINED, json.dumps(trained) + '\n')
    began = time.monotonic()
    test(config, work_dir=str(job.folder), report=True)
    tested = {'test_s': time.monotonic() - began, 'test_patients': len(job.cohort.table)}
    write_text(job.folder / RUN, json.dumps({**trained, **tested}) + '\n')
    for checkpoint in job.folder.glob('epoch_*.pth'):  # only to resume from
        checkpoint.unlink()


def note_origin(folder: Path, config: Config) -> list[str]:
    """Writes down which network is trained in ``folder``, before it is.

    Returns:
        The versions of the code in all sessions of its training.
    """
    earlier = (read_json(folder / ORIGIN) or {}).get('code', [])
    versions = list(dict.fromkeys([*earlier, code_version()]))
    origin = {'model': model_settings(config.model), 'code': versions}
    write_text(folder / ORIGIN, json.dumps(origin, indent=1) + '\n')
    return versions


def code_version() -> str:
    """The commit of the checkout, ``+`` after it where files differ from it; else the package's
    version."""
    try:
        commit = _git('rev-parse', '--short', 'HEAD')
        changed = _git('status', '--porcelain', '-uno')
    except (OSError, subprocess.CalledProcessError):
        return massm.__version__
    return commit + '+' * bool(changed)


def _git(*words: str) -> str:
    command = ['git', '-C', str(repository()), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def job_config(job: Job) -> Config:
    """The method's config on the cohort, with the budget and the seed."""
    root = repository()
    if str(root) not in sys.path:
        sys.path.append(str(root))  # where custom_imports finds projects/
    cohort = job.cohort
    shared = {
        'data_root': cohort.root,
        'anatomies': list(cohort.anatomies),
        'num_particles': cohort.num_particles,
        'spacing': cohort.spacing,
    }
    options = ConfigOptions({**job.options, **shared})
    options.text = dict(getattr(job.options, 'text', {}))
    config = load_config(root / job.method.config, options)
    epochs = config.train_cfg.max_epochs
    config.train_cfg = {
        'type': 'BudgetedTrainLoop',
        'max_epochs': epochs,
        'budget_s': job.budget_s,
        'val_interval': math.ceil(epochs / VALIDATIONS),
    }
    config.default_hooks.checkpoint.interval = math.ceil(epochs / CHECKPOINTS)
    config.randomness.seed = job.seed
    config.train_dataloader.dataset.seed = job.seed
    config.train_dataloader.sampler.seed = job.seed
    config.val_dataloader.dataset.update(split='val', indices=list(cohort.select))
    config.test_dataloader.dataset.update(split=cohort.table_split, indices=list(cohort.table))
    return config


def peak_memory() -> dict[str, float]:
    """``memory_mb`` of this process at its highest, and ``gpu_memory_mb`` where there is one."""
    peak = {'memory_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if torch.cuda.is_available():
        peak['gpu_memory_mb'] = torch.cuda.max_memory_allocated() / 2**20
    return peak


def read_json(path: Path) -> dict[str, Any] | None:
    """What an earlier run wrote; None where it wrote nothing whole."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
