"""A model as a folder of data: what training exports and inference reads.

    model.safetensors   weights and templates
    config.json         the network's settings, anatomies, particles, spacing
    metadata.json       measured accuracy, population, intended use, licence
    pdm/ANATOMY.npz     shape models
    templates/          the templates as meshes (not of small models) and particles, for other
                        programs
    model_card.md       the same for people

Nothing in it can execute: JSON, safetensors and NPZ are data, and a setting may name only classes
that this package registered.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from massm.apis.checkpoints import check_fits, check_weights
from massm.errors import CheckpointError, ConfigError, MassmError
from massm.inference.measured_accuracy import accuracy_of
from massm.inference.model_card import model_card
from massm.inference.population import population_of
from massm.inference.weight_storage import in_eight_bits, in_half, restored
from massm.io.atomic import replacing, replacing_folder, write_text
from massm.io.meshes import write_mesh
from massm.io.names import check_name
from massm.io.particles import write_particles
from massm.models.massm import MASSM
from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.registry import MODELS, build_network
from massm.shape.pdm import PointDistributionModel
from massm.shape.shape_sampling import leading_modes
from massm.structures.modality import DEFAULT_MODALITY, MODALITIES, check_modality

# Version 2: the network sees HU windows as [0, 1]; those of version 1 were trained on [-1, 1].
FORMAT, VERSION = 'massm-model', 2
# Layers of torch that mmcv builds by these names.
LAYERS = frozenset(
    ('GN', 'IN', 'IN1d', 'IN2d', 'IN3d', 'BN', 'BN1d', 'BN2d', 'BN3d', 'SyncBN', 'LN')
)
# How large a model directory is. Small: weights in eight bits, shape models of so much variance.
SIZES = ('whole', 'half', 'small')
KEPT_VARIANCE = 0.98
# Said of a model that was exported before training had ended.
UNFINISHED = 'Training had not ended: the finer rounds of the fit are missing.'
FILES = ('model.safetensors', 'config.json', 'metadata.json', 'model_card.md')
FILES_OF_ANATOMY = ('pdm/{}.npz', 'templates/{}.ply', 'templates/{}.particles')
NOT_EXPORTED = ('template_root', 'pretrained', 'init_cfg')


@dataclass(frozen=True, eq=False)
class ModelDirectory:
    """``config`` as :func:`massm.apis.config.resolve` leaves one, ``state`` the network's tensors,
    ``shape_models`` by anatomy, ``metadata`` as written."""

    path: Path
    config: Config
    state: dict[str, torch.Tensor]
    shape_models: dict[str, PointDistributionModel]
    metadata: dict[str, Any]

    def build(self) -> MASSM:
        """The network, ready to predict.

        Raises:
            CheckpointError: weights and settings do not belong together.
        """
        try:
            model = build_network(self.config.model)
        except TypeError as error:  # a setting that is not, or not yet, one of ours
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f'{self.path}/config.json: is of another version of MASSM ({reason}); export the '
                'model again, or take the version that wrote it'
            ) from error
        check_weights(model, {'state_dict': self.state}, str(self.path))
        model.load_state_dict(self.state)
        return model.eval()


def export_model(
    config: Config,
    checkpoint: Path,
    out: Path,
    licence: str = 'unstated',
    data: str = 'unstated',
    trust_checkpoint: bool = False,
    size: str = 'whole',
    limits: str = '',
) -> None:
    """Writes a model directory, in one step; of one that it replaces other files stay.

    Args:
        config: resolved; its ``data_root`` gives shape models and population.
        checkpoint: weights that training wrote; what ``tools/test.py`` measured of them, in
            ``test`` beside it, goes into the card (:func:`accuracy_of`).
        licence, data, limits: what to say of the model's licence, its training data, and of where
            it is known to fail.
        size: ``whole``; ``half``, what was learnt in half precision; ``small``, in eight bits, and
            shape models without their last modes, no meshes for other programs. Templates stay as
            they are.

    Raises:
        CheckpointError, DatasetError: they do not fit, or the dataset is gone.
        ConfigError: ``out`` holds something that is no model directory, or the network is not a
            :class:`massm.models.massm.MASSM`.
    """
    _check_replaceable(out)
    stored = check_fits(config, str(checkpoint), trust_checkpoint)
    settings = _plain(config.model)
    model = build_network(settings)
    if not isinstance(model, MASSM):
        raise ConfigError(
            f'{config.filename}: its network is a {type(model).__name__}; only MASSM networks can '
            'be exported, since others do not give all that a result holds'
        )
    check_weights(model, stored, str(checkpoint))
    model.load_state_dict(stored['state_dict'])
    if isinstance(model.local_head, ShapeFitHead) and not model.local_head.is_fitted:
        limits = f'{UNFINISHED} {limits}'.rstrip()
    metadata = {
        **_metadata(model, config),
        'training_data': data,
        'licence': licence,
        'limits': limits,
        'accuracy': accuracy_of(Path(checkpoint)),
    }
    with replacing_folder(out, _files_of(out)) as folder:
        save_file(_stored(model, size), folder / 'model.safetensors', metadata={'format': FORMAT})
        _write_shapes(folder, model, Path(config.data_root), size)
        write_text(folder / 'config.json', json.dumps({'model': settings}, indent=1) + '\n')
        write_text(folder / 'model_card.md', model_card(metadata))
        write_text(folder / 'metadata.json', json.dumps(metadata, indent=1) + '\n')


def _write_shapes(folder: Path, model: MASSM, root: Path, size: str) -> None:
    """Shape models of the dataset ``root``, and templates."""
    for k, name in enumerate(model.anatomies):
        with replacing(folder / 'pdm' / f'{name}.npz') as temporary:
            _shape_model(root / 'shapes' / name / 'pdm.npz', size).save(temporary)
        if size != 'small':
            write_mesh(folder / 'templates' / f'{name}.ply', model.templates.mesh(k))
        write_particles(folder / 'templates' / f'{name}.particles', model.templates.particles_mm(k))


def _files_of(folder: Path) -> set[str]:
    """What an earlier export wrote into ``folder``, paths in it."""
    try:
        metadata = json.loads((folder / 'metadata.json').read_text(encoding='utf-8'))
        names = [str(name) for name in metadata['anatomies']]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    return {*FILES, *(pattern.format(n) for n in names for pattern in FILES_OF_ANATOMY)}


def _metadata(model: MASSM, config: Config) -> dict[str, Any]:
    """What network and dataset say of a model."""
    modality = config.get('modality', DEFAULT_MODALITY)
    return {
        'format': FORMAT,
        'version': VERSION,
        'anatomies': list(config.anatomies),
        'spacing_mm': float(config.spacing),
        'num_particles': int(config.num_particles),
        'modality': modality,
        'windows': [list(w) for w in model.data_preprocessor.windows],
        'score_thresholds': dict(
            zip(config.anatomies, model.score_thresholds.tolist(), strict=True)
        ),
        'intended_use': f'Research on the shape of anatomies in '
        f'{MODALITIES[modality].title}; not for diagnosis.',
        'population': population_of(Path(config.data_root), list(config.anatomies)),
    }


def _stored(model: MASSM, size: str) -> dict[str, torch.Tensor]:
    """The network's tensors as they are kept on disk."""
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    if size == 'whole':
        return state
    return in_half(state) if size == 'half' else in_eight_bits(state)


def _shape_model(path: Path, size: str) -> PointDistributionModel:
    shapes = PointDistributionModel.load(path)
    if size != 'small':
        return shapes
    shapes = leading_modes(shapes, KEPT_VARIANCE)
    return replace(shapes, modes=shapes.modes.astype(np.float16))


def _check_replaceable(out: Path) -> None:
    """A model may replace another, and nothing else."""
    if out.exists() and not out.is_dir():
        raise ConfigError(
            f'{out}: is a file, and a model is a folder; choose another --out, so that nothing of '
            'yours is replaced'
        )
    if out.is_dir() and any(out.iterdir()) and not (out / 'model.safetensors').is_file():
        raise ConfigError(
            f'{out}: is there and no model directory; choose another --out, so that nothing of '
            'yours is replaced'
        )


def read_metadata(folder: Path) -> dict[str, Any]:
    """What a model directory says of itself; its modality is told where an older one does not.

    Raises:
        CheckpointError: there is none, or it is of another version.
        ConfigError: the modality is none.
    """
    try:
        metadata = json.loads((folder / 'metadata.json').read_text(encoding='utf-8'))
        is_ours, version = metadata['format'] == FORMAT, metadata['version']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_whole(folder, error) from error
    if not is_ours or version != VERSION:
        older = is_ours and version < VERSION
        remedy = 'train and export the model anew' if older else 'update MASSM'
        raise CheckpointError(
            f'{folder}: is {metadata["format"]} {version}, this program reads {FORMAT} {VERSION}; '
            f'{remedy}'
        )
    modality = check_modality(metadata.get('modality', DEFAULT_MODALITY), str(folder))
    return {**metadata, 'modality': modality}


def _not_whole(folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f'{folder}: not a whole model directory ({type(error).__name__}: {error}); export it '
        'again with tools/export_model.py'
    )


def read_model(folder: Path) -> ModelDirectory:
    """Reads what :func:`export_model` wrote.

    Raises:
        CheckpointError: a file is missing or broken, of another version, or names a class that this
            package does not have.
    """
    folder = Path(folder)
    metadata = read_metadata(folder)
    try:
        settings = json.loads((folder / 'config.json').read_text(encoding='utf-8'))['model']
        names = [check_name(str(n), str(folder), CheckpointError) for n in metadata['anatomies']]
        _check_types(settings, folder)
        stored = load_file(folder / 'model.safetensors')
        models = {n: PointDistributionModel.load(folder / 'pdm' / f'{n}.npz') for n in names}
        top = {
            'anatomies': names,
            'num_particles': metadata['num_particles'],
            'spacing': metadata['spacing_mm'],
            'modality': metadata['modality'],
        }
    except MassmError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _not_whole(folder, error) from error
    top_level = Config({**top, 'model': settings})
    return ModelDirectory(folder, top_level, restored(stored), models, metadata)


def _plain(settings: Any) -> Any:
    """Settings as JSON holds them, without what names files of the training machine."""
    if isinstance(settings, dict):
        return {k: _plain(v) for k, v in settings.items() if k not in NOT_EXPORTED}
    if isinstance(settings, list | tuple):
        return [_plain(v) for v in settings]
    return settings


def _check_types(settings: Any, folder: Path) -> None:
    """A registry would import any dotted name; here only registered classes may be named."""
    if isinstance(settings, dict):
        kind = settings.get('type')
        if kind is not None and not _is_known(kind):
            raise CheckpointError(
                f'{folder}/config.json: names {kind!r}, which is no part of this package; get the '
                'model from someone you trust, or import its project before reading it'
            )
        settings = list(settings.values())
    if isinstance(settings, list):
        for value in settings:
            _check_types(value, folder)


def _is_known(kind: Any) -> bool:
    if not isinstance(kind, str):
        return False
    MODELS.import_from_location()
    return kind in LAYERS or kind.removeprefix('massm.') in MODELS.module_dict
