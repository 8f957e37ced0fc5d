"""Settings of ``--cfg-options``, held against the config that they change."""

import difflib
import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from massm.errors import ConfigError


class ConfigOptions(dict):
    """Settings by dotted key; ``text`` holds each as it was written on the command line."""

    text: dict[str, str]


MISSING = object()
READ_HERE = (
    'anatomies',
    'num_particles',
    'spacing',
    'data_root',
    'modality',
    'custom_imports',
    'model_wrapper_cfg',
    # mmengine reads these in the config itself.
    'activation_checkpointing',
    'compile',
    'find_unused_parameters',
    'sync_bn',
)
# What another name must share with a known one to be a slip of the pen, and not a new setting.
ALIKE = 0.88


def checked_options(config: Config, options: dict[str, Any]) -> dict[str, Any]:
    """``options`` as values of the kinds that the config has: a name of digits where there is a
    name, a list of one where there is a list.

    Raises:
        ConfigError: a value is of another kind, or a setting is unknown.
    """
    written = getattr(options, 'text', {})
    return {key: _fitting(config, key, value, written.get(key)) for key, value in options.items()}


def merge(config: Config, options: dict[str, Any]) -> None:
    """Sets ``options`` in the config.

    Raises:
        ConfigError: one names a place that is not there.
    """
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'--cfg-options {", ".join(options)}: does not fit ({reason})') from error


def _fitting(config: Config, key: str, value: Any, written: str | None) -> Any:
    old = _at(config, key)
    if key.partition('.')[0] not in _read_names():
        _refuse_unread(config, key)
    if old is MISSING:
        _check_known(config, key)
        return value
    if old is None or value is None:
        return value
    shown = f'--cfg-options {key}={written if written is not None else value}'
    if isinstance(old, dict):
        if not isinstance(value, dict):
            one = next(iter(old), 'NAME')
            raise ConfigError(f'{shown}: is a group of settings; set one, as {key}.{one}=...')
    elif isinstance(old, bool):
        if not isinstance(value, bool):
            raise ConfigError(f'{shown}: expects True or False')
    elif isinstance(old, int | float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f'{shown}: expects a number, as {old:g}')
    elif isinstance(old, str):
        if isinstance(value, dict):
            raise ConfigError(f'{shown}: expects a text, as {old!r}')
        return value if isinstance(value, str) else (written if written is not None else str(value))
    elif isinstance(old, list | tuple):
        value = list(value) if isinstance(value, list | tuple) else [value]
        if any(isinstance(x, dict) for x in old) and not all(isinstance(x, dict) for x in value):
            raise ConfigError(f'{shown}: is a list of settings; set one, as {key}.0.NAME=...')
    return value


def _at(config: Any, key: str) -> Any:
    """The value at a dotted key; :data:`MISSING` where there is none."""
    place = config
    for part in key.split('.'):
        if isinstance(place, list | tuple):
            place = place[int(part)] if part.isdigit() and int(part) < len(place) else MISSING
        elif isinstance(place, dict | Config):
            place = place.get(part, MISSING)
        else:
            return MISSING
        if place is MISSING:
            return MISSING
    return place


def _read_names() -> tuple[str, ...]:
    """Settings of the top level that something reads: mmengine's runner, or we."""
    return (*READ_HERE, *inspect.signature(Runner.__init__).parameters)


def _refuse_unread(config: Config, key: str) -> None:
    name = key.rpartition('.')[2]
    deeper = [path for path in _paths(config) if '.' in path and path.rpartition('.')[2] == name]
    close = deeper or difflib.get_close_matches(name, _read_names(), cutoff=0.6)
    hint = f'did you mean {close[0]}?' if close else 'see the config for what there is'
    raise ConfigError(f'--cfg-options {key}: nothing reads this setting; {hint}')


def _check_known(config: Config, key: str) -> None:
    """Refuses a name within a group that is one of its own but for a letter."""
    parent, _, name = key.rpartition('.')
    group = _at(config, parent) if parent else {}
    siblings = [str(k) for k in group] if isinstance(group, dict | Config) else []
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=ALIKE)
    if close:
        raise ConfigError(
            f'--cfg-options {key}: no such setting; did you mean {parent}.{close[0]}?'
        )


def _paths(config: Any, prefix: str = '') -> Iterator[str]:
    for name, value in config.items():
        yield f'{prefix}{name}'
        if isinstance(value, dict):
            yield from _paths(value, f'{prefix}{name}.')
