"""Which checkpoint to use, and whether it belongs to a config."""

from pathlib import Path
from textwrap import shorten

from mmengine.config import Config

from massm.engine.checkpoint import load_checkpoint
from massm.engine.model_settings import SETTINGS, first_difference, model_settings
from massm.errors import CheckpointError
from massm.io.templates import read_templates, shape_model_digest
from massm.models.shape_network import ShapeNetwork
from massm.structures.modality import DEFAULT_MODALITY


def find_checkpoint(work_dir: Path) -> Path:
    """The best checkpoint of a work dir's last training, else its last.

    A best one that an earlier training left there is of other weights: one counts that the last
    checkpoint names, or that was written after it.

    Raises:
        CheckpointError: there is none.
    """
    best = sorted(work_dir.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    last = latest_checkpoint(work_dir)
    if last is None or not last.is_file():
        if best:
            return best[-1]
        raise CheckpointError(f'{work_dir}: no checkpoint; train first, or name one')
    if best and best[-1].stat().st_mtime >= last.stat().st_mtime:
        return best[-1]
    named = _best_of(last) if best else None
    return next((path for path in best if path.name == named), last)


def _best_of(last: Path) -> str | None:
    """The name of the best checkpoint of the training that wrote ``last``."""
    hub = load_checkpoint(str(last)).get('message_hub') or {}
    told = (hub.get('runtime_info') or {}).get('best_ckpt')
    return told and Path(told).name


def latest_checkpoint(work_dir: Path) -> Path | None:
    """The checkpoint that was written last into a work dir, which may have been moved since; none
    where none was."""
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        return None
    named = Path(pointer.read_text().strip())
    own = work_dir / named.name
    return own if own.is_file() else named


def check_shared(config: Config, path: str, trust: bool = False) -> dict:
    """Reads a checkpoint and refuses one to begin from that was trained on something else.

    Raises:
        CheckpointError: anatomies or their order, particles, spacing or modality differ, or it is
            of an older version.
    """
    checkpoint = load_checkpoint(path, trust=trust)
    if 'state_dict' not in checkpoint:
        raise CheckpointError(f'{path}: holds no model; give a checkpoint that training wrote')
    meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    # Those of before there were others were trained on CT.
    trained = {'modality': DEFAULT_MODALITY, **meta} if meta else {}
    for key in ('anatomies', 'num_particles', 'spacing', 'modality'):
        wanted = config.get(key, DEFAULT_MODALITY)
        if key in trained and trained[key] != wanted:
            raise CheckpointError(
                f'{path}: was trained with {key} = {trained[key]}, the config says {wanted}; '
                'use the config it was trained with'
            )
    # Refused and not let through with a warning: networks of that time were trained on HU windows
    # scaled to [-1, 1] and would be wrong on every image.
    if 'shape_model' not in meta:
        raise CheckpointError(
            f'{path}: does not say which correspondences it was trained on, so it is of an older '
            'version; train again'
        )
    return checkpoint


def check_settings(config: Config, path: str, trust: bool = False) -> dict:
    """:func:`check_shared`, and refuses a checkpoint whose network was built with other settings,
    where it tells them: its weights would fit and mean something else.

    Raises:
        CheckpointError: they differ.
    """
    checkpoint = check_shared(config, path, trust)
    stored = checkpoint['meta'].get(SETTINGS)
    differs = stored and first_difference(stored, model_settings(config.model))
    if differs:
        name, *values = differs
        trained, wanted = (shorten(str(value), 60) for value in values)
        raise CheckpointError(
            f'{path}: was trained with {name} = {trained}, the config says {wanted}; '
            'use the config it was trained with, or begin from it with load_from'
        )
    return checkpoint


def check_fits(config: Config, path: str, trust: bool = False) -> dict:
    """:func:`check_settings`, and refuses a checkpoint trained on other correspondences than the
    config's dataset holds now.

    Raises:
        CheckpointError: they differ, or the settings do.
        DatasetError: the dataset has no correspondences.
    """
    checkpoint = check_settings(config, path, trust)
    root = Path(config.data_root)
    templates = read_templates(root, config.anatomies, config.num_particles)
    if checkpoint['meta']['dataset_meta']['shape_model'] != shape_model_digest(templates):
        raise CheckpointError(
            f'{path}: was trained on other correspondences than {root / "shapes"} holds now; '
            'train again, or set data_root to the dataset it was trained on'
        )
    return checkpoint


def check_weights(model: ShapeNetwork, checkpoint: dict, path: str) -> None:
    """Refuses weights that do not fill the model, and those it has no place for; mmengine would
    only warn.

    Raises:
        CheckpointError: a weight is missing, of another shape, or of a part that the model lacks.
    """
    stored, own = (
        {k: v for k, v in weights.items() if not k.startswith('templates.')}
        for weights in (model.upgraded(checkpoint['state_dict']), model.state_dict())
    )
    wrong = [k for k, v in own.items() if k not in stored or stored[k].shape != v.shape]
    wrong += [k for k in stored if k not in own]
    if wrong:
        raise CheckpointError(
            f'{path}: was trained with another network ({len(wrong)} weights do not fit, first '
            f'{wrong[0]}), or by an earlier version; use the config it was trained with, or train '
            'again'
        )
