"""Models by name: those that come with the package and those in the folders of ``MASSM_MODELS``."""

import os
from pathlib import Path

import massm
from massm.errors import CheckpointError, ConfigError

VARIABLE = 'MASSM_MODELS'
# What makes a folder a model directory at a glance.
MARK = 'metadata.json'
# The models that come with the package.
ZOO = Path(massm.__file__).parent / 'zoo'


def model_folders() -> list[Path]:
    """Where models are looked for: the folders of the variable, in order, then the package's."""
    named = [Path(p).expanduser() for p in os.environ.get(VARIABLE, '').split(os.pathsep) if p]
    return [*named, ZOO]


def named_models() -> dict[str, Path]:
    """Model directories by their folder's name; of several alike the first."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        for mark in sorted(folder.glob(f'*/{MARK}')):
            found.setdefault(mark.parent.name, mark.parent)
    return dict(sorted(found.items()))


def find_model(model: Path | None) -> Path:
    """The model directory that ``model`` is or names; without one the only model there is. A
    folder of a model's name that holds none, such as its results, does not hide it.

    Raises:
        ConfigError: none is given, and there is not just one.
        CheckpointError: there is none of this name.
    """
    if model is not None and (model / MARK).is_file():
        return model
    models = named_models()
    if model is None:
        if len(models) == 1:
            return next(iter(models.values()))
        told = f'one of {", ".join(models)}' if models else 'a model directory'
        raise ConfigError(
            f'which model? give --model {told}, or set {VARIABLE} to a folder of models'
        )
    if str(model) in models:
        return models[str(model)]
    known = f'known by name: {", ".join(models)}' if models else 'no model is known by name'
    what = 'holds no model' if model.is_dir() else 'no such model directory'
    raise CheckpointError(f'{model}: {what}, and {known}; `massm models` says where is looked')
