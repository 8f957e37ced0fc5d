"""Loading a config and handing its shared settings to the parts that need them."""

import math
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config

from massm.apis.config_options import ConfigOptions, checked_options, merge
from massm.errors import ConfigError
from massm.io.names import check_name
from massm.structures.modality import DEFAULT_MODALITY, MODALITIES, check_modality

SHARED = ('anatomies', 'num_particles', 'spacing')


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Reads a config file, applies ``--cfg-options`` and resolves it.

    An option names a hook by its type, ``custom_hooks.CVAEPretrainHook.steps=500``.

    Raises:
        ConfigError: the file is missing, is not a config, lacks a shared setting or a named hook;
            an option is unknown or of another kind than what it replaces.
    """
    if not Path(path).is_file():
        raise ConfigError(f'{path}: no such config; see configs/ for what there is')
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # so that custom_imports finds projects/
    try:
        config = Config.fromfile(str(path))
    except (SyntaxError, OSError, KeyError, TypeError, NameError, AttributeError) as error:
        raise ConfigError(f'{path}: cannot be read ({type(error).__name__}: {error})') from error
    except ImportError as error:
        raise ConfigError(
            f'{path}: custom_imports cannot be imported ({error.__cause__ or error}); run the '
            'command in the folder that they are found from, that of projects/'
        ) from error
    if options:
        written = getattr(options, 'text', {})
        options = ConfigOptions(_hooks_by_index(config, options))
        options.text = _hooks_by_index(config, written)
        merge(config, checked_options(config, options))
    return resolve(config, str(path))


def hook_named(config: Config, kind: str) -> dict:
    """The settings of the custom hook of type ``kind``.

    Raises:
        ConfigError: there is none.
    """
    return config.custom_hooks[_hook_index(config, kind)]


def resolve(config: Config, name: str = 'config') -> Config:
    """Writes ``anatomies``, ``num_particles``, ``spacing`` and ``data_root`` of the top level
    into the model and the datasets, so that each stands in one place only, and ``modality`` (by
    default ``ct``) into the datasets.

    Raises:
        ConfigError: one of them is missing, the anatomies are not distinct names, or the windows
            are of another modality.
    """
    missing = [key for key in (*SHARED, 'data_root', 'model') if key not in config]
    if missing:
        raise ConfigError(f'{name}: sets no {", ".join(missing)}; see configs/_base_/datasets/')
    _check_shared(config, name)
    config.anatomies = list(config.anatomies)  # as checkpoints name them
    shared = {key: config[key] for key in SHARED}
    modality = check_modality(config.get('modality', DEFAULT_MODALITY), name)
    _check_windows(config, modality, name)
    config.model.update(shared, template_root=config.data_root)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if config.get(loader):
            config[loader].dataset.setdefault('seed', _seed(config))
            config[loader].dataset.update(shared, data_root=config.data_root, modality=modality)
            # torch refuses to keep workers where there are none.
            if not config[loader].get('num_workers'):
                config[loader].update(persistent_workers=False)
    return config


def _seed(config: Config) -> int:
    """Of augmentation and starts: the run's own."""
    return (config.get('randomness') or {}).get('seed') or 0


def _check_shared(config: Config, name: str) -> None:
    names = config.anatomies
    if isinstance(names, str) or not names or len(set(names)) != len(names):
        raise ConfigError(f'{name}: anatomies must be distinct names in a list, got {names}')
    for anatomy in names:
        check_name(str(anatomy), f'{name}: anatomies', ConfigError)
    spacing, count = config.spacing, config.num_particles
    if not isinstance(spacing, int | float) or not 0 < spacing < math.inf:
        raise ConfigError(f'{name}: spacing is in mm, a number above 0; got {spacing!r}')
    if not isinstance(count, int) or count < 1:
        raise ConfigError(f'{name}: num_particles must be a whole number above 0, got {count!r}')
    if not isinstance(config.data_root, str | Path):
        raise ConfigError(f"{name}: data_root must be a folder's name, got {config.data_root!r}")


def _check_windows(config: Config, modality: str, name: str) -> None:
    """An MR is stored from 0 up: a window that begins below was meant for HU."""
    windows = config.model.get('data_preprocessor', {}).get('windows') or [(-1000.0, 1000.0)]
    _fit_channels(config, len(windows), name)
    if modality == 'mr' and any(float(low) < 0 for low, _ in windows):
        shown = ', '.join(f'{low:g} to {high:g}' for low, high in windows)
        raise ConfigError(
            f'{name}: modality is mr but the windows are in HU ({shown}); an MR is stored as '
            f'{MODALITIES["mr"].unit}: take windows and augmentation of configs/massm_r18_mr.py'
        )


def _fit_channels(config: Config, windows: int, name: str) -> None:
    """A network sees one channel per window."""
    backbone = config.model.get('backbone') or {}
    if backbone.get('type') != 'ResNet3D':
        return
    if 'in_channels' not in backbone and windows > 1:
        backbone.in_channels = windows
    if backbone.get('in_channels', 1) != windows:
        raise ConfigError(
            f'{name}: model.backbone.in_channels = {backbone.in_channels}, but '
            f'model.data_preprocessor has {windows} windows, one channel each; make them the same'
        )


def _hook_index(config: Config, kind: str) -> int:
    kinds = [hook['type'] for hook in config.get('custom_hooks', [])]
    if kind not in kinds:
        raise ConfigError(f'custom_hooks: no {kind}; there are {", ".join(kinds) or "none"}')
    return kinds.index(kind)


def _hooks_by_index(config: Config, options: dict[str, Any]) -> dict[str, Any]:
    """``options`` with hooks' types replaced by their places in the list, as mmengine wants it."""

    def indexed(key: str) -> str:
        first, _, rest = key.partition('.')
        kind, _, tail = rest.partition('.')
        if first != 'custom_hooks' or not kind or kind.isdigit():
            return key
        return f'{first}.{_hook_index(config, kind)}.{tail}'

    return {indexed(key): value for key, value in options.items()}
