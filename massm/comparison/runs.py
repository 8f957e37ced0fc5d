"""All methods one after the other; what is done is not done again."""

import json
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from massm.comparison.job import (
    BUSY,
    FAILURE,
    LOG,
    ORIGIN,
    RUN,
    Job,
    job_config,
    read_json,
    work,
)
from massm.comparison.methods import METHODS
from massm.engine.model_settings import first_difference, model_settings
from massm.errors import ConfigError
from massm.io.atomic import write_text

SETTINGS = 'settings.json'
PATIENTS = 'cohort.patients'


def keep_settings(out: Path, settings: dict[str, Any]) -> None:
    """Writes what all runs of the folder share.

    Raises:
        ConfigError: the folder holds runs of other settings.
    """
    path = out / SETTINGS
    earlier = read_json(path)
    if earlier is None:
        if out.is_dir() and any(out.iterdir()):
            raise ConfigError(
                f'{out}: is there and holds no comparison; choose another --out, so that nothing '
                'of yours is replaced'
            )
        write_text(path, json.dumps(settings, indent=1) + '\n')
        return
    settings, earlier = _compared(json.loads(json.dumps(settings))), _compared(earlier)
    if PATIENTS not in earlier:  # of a version that did not tell them
        settings.pop(PATIENTS, None)
    other = [key for key in settings if settings[key] != earlier.get(key)]
    if other:
        raise ConfigError(
            f'{out}: holds runs of another {other[0]} ({_short(earlier.get(other[0]))}, now '
            f'{_short(settings[other[0]])}); choose another --out, or remove this one'
        )


def _compared(settings: dict[str, Any]) -> dict[str, Any]:
    """Without the place of the dataset, which may have been moved: correspondences and patients
    tell it."""
    cohort = {f'cohort.{key}': value for key, value in settings.get('cohort', {}).items()}
    cohort.pop('cohort.root', None)
    return {**{key: value for key, value in settings.items() if key != 'cohort'}, **cohort}


def check_networks(jobs: Sequence[Job]) -> None:
    """Refuses runs whose method has come to mean another network since.

    Raises:
        ConfigError: it names the first of them.
    """
    for job in jobs:
        differs = _other_network(job)
        if differs:
            raise ConfigError(
                f'{differs}; remove that folder to train it again, or choose another --out'
            )


def _other_network(job: Job) -> str | None:
    """In words, where a run's method has come to mean another network since."""
    origin = read_json(job.folder / ORIGIN)
    if origin is None and not (job.folder / RUN).is_file():
        return None
    now = model_settings(job_config(job).model)
    differs = first_difference((origin or {}).get('model'), now)
    if not differs:
        return None
    name, earlier, wanted = differs
    return f'{job.folder}: is of another network ({name} = {_short(earlier)}, now {_short(wanted)})'


def finished_beside(jobs: Sequence[Job], out: Path) -> list[Job]:
    """The runs of other methods and seeds that earlier calls left whole in ``out``, but for those
    of networks that their methods no longer are, which is printed."""
    ours = {job.folder for job in jobs}
    found = []
    for record in sorted(out.glob(f'*/{RUN}')):
        name, _, seed = record.parent.name.rpartition('_')
        if record.parent not in ours and name in METHODS and seed.isdigit():
            own = {'method': METHODS[name], 'seed': int(seed), 'folder': record.parent}
            found.append(replace(jobs[0], **own))
    differs = {job.folder: _other_network(job) for job in found}
    for words in filter(None, differs.values()):
        print(f'left out of the report: {words}')
    return [job for job in found if not differs[job.folder]]


def done_before(jobs: Sequence[Job]) -> list[tuple[Job, dict[str, Any]]]:
    """Those that are done, with their outcomes."""
    return [(job, _outcome(job, 0)) for job in jobs if read_json(job.folder / RUN) is not None]


def run_jobs(jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Runs each job that is not done, and yields it with its outcome: ``status`` (``done`` or
    ``failed``), a ``sentence`` where it failed, else times and memory."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['massm.comparison.job'])
    for job in jobs:
        if read_json(job.folder / RUN) is None:
            process = context.Process(target=work, args=(job,))
            process.start()
            process.join()
            yield job, _outcome(job, process.exitcode)
        else:
            yield job, _outcome(job, 0)


def _outcome(job: Job, code: int | None) -> dict[str, Any]:
    done = read_json(job.folder / RUN)
    if done is not None:
        return {'status': 'done', **done}
    failure = job.folder / FAILURE
    if code == BUSY:
        sentence = 'another process is at it; wait for it or end it, and run again'
    elif failure.is_file():
        sentence = failure.read_text(encoding='utf-8').strip()
    elif code == -signal.SIGKILL:
        sentence = 'the process was killed; is there enough memory?'
    else:
        sentence = f'the process ended with code {code}; see {job.folder / LOG}'
    return {'status': 'failed', 'sentence': sentence}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
