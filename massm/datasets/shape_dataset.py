"""The prepared dataset as mmengine's loaders read it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from massm.cohort.manifest import Manifest, SubjectEntry, load_manifest
from massm.errors import ConfigError, DatasetError
from massm.io.nifti import volume_sizes
from massm.io.particles import read_particles
from massm.io.templates import read_mirror_places, read_templates, shape_model_digest
from massm.registry import DATASETS
from massm.structures import AnatomyStatus, RigidTransform
from massm.structures.modality import DEFAULT_MODALITY, MODALITIES

OWN_CONFIGS = {
    'ct': 'a config for CT, as configs/massm_fit_headneck.py',
    'mr': 'configs/massm_r18_mr.py',
}


@DATASETS.register_module()
class ShapeDataset(BaseDataset):
    """Subjects of one split, their chosen anatomies in the config's order.

    Args:
        data_root: folder with ``dataset.json``.
        split: ``train``, ``val`` or ``test``.
        anatomies: which, in the order of the model's channels.
        num_particles: M, as the correspondences were built.
        spacing: mm, as the dataset was prepared.
        seed: of all augmentation.
        modality: of the images, as the dataset was prepared.

    Raises:
        DatasetError, ConfigError: the dataset is missing, broken, or does not fit the config.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        anatomies: Sequence[str],
        num_particles: int,
        spacing: float,
        seed: int = 0,
        modality: str = DEFAULT_MODALITY,
        **kwargs: Any,
    ) -> None:
        self.split, self.seed, self.modality = split, seed, modality
        self.num_particles, self.spacing = num_particles, spacing
        self.manifest = load_manifest(Path(data_root))
        self.manifest.with_shapes(anatomies)
        self._check_spacing()
        self._check_modality()
        self.templates = read_templates(Path(data_root), anatomies, num_particles)
        self._shape_model = shape_model_digest(self.templates)
        self.mirror_places = read_mirror_places(Path(data_root), anatomies, num_particles)
        metainfo = {
            'anatomies': list(anatomies),
            'num_particles': num_particles,
            'spacing': spacing,
        }
        super().__init__(data_root=data_root, metainfo=metainfo, serialize_data=False, **kwargs)

    @property
    def metainfo(self) -> dict:
        """What metrics and checkpoints know of the dataset. ``modality``, ``data_root`` and
        ``shape_model``, the digest of its templates, are added late, since mmengine would open a
        string in it as a file."""
        return {
            **super().metainfo,
            'modality': self.modality,
            'data_root': str(self.manifest.root),
            'shape_model': self._shape_model,
        }

    def load_data_list(self) -> list[dict]:
        """One record per subject, paths absolute."""
        subjects = self.manifest.of_split(self.split)
        if not subjects:
            raise DatasetError(
                f'{self.manifest.root / "dataset.json"}: no subject in split {self.split!r}; '
                'assign some in meta.csv and prepare again'
            )
        bare = [s.id for s in subjects if s.image is None]
        if bare:
            raise DatasetError(
                f'{self.manifest.root}/dataset.json: {bare[0]} has shapes but no image; '
                'a network needs images: prepare the dataset from CTs and import shapes into it'
            )
        return [_record(self.manifest, s, self.metainfo['anatomies']) for s in subjects]

    def get_data_info(self, idx: int) -> dict:
        """The record of ``idx`` with its own random generator, seeded by (seed, epoch, index)."""
        info = super().get_data_info(idx)
        info['rng'] = np.random.default_rng([self.seed, getattr(idx, 'epoch', 0), int(idx)])
        info['template_world'] = np.stack([t.world for t in self.templates])
        info['shape_models'] = [t.pdm for t in self.templates]
        info['mirror_places'] = self.mirror_places
        info['num_particles'], info['spacing'] = self.num_particles, self.spacing
        info['modality'] = self.modality
        return info

    def sizes(self) -> np.ndarray:
        """``[N, 3]`` voxels of every volume, from the files' headers."""
        images = [super(ShapeDataset, self).get_data_info(n)['image'] for n in range(len(self))]
        return volume_sizes(images)

    def world_particles(self) -> tuple[np.ndarray, np.ndarray]:
        """All stored world particles ``[N, K, M, 3]`` (mm) and where they exist ``[N, K]``."""
        names = self.metainfo['anatomies']
        world = np.zeros((len(self), len(names), self.num_particles, 3), dtype=np.float32)
        exists = np.zeros(world.shape[:2], dtype=bool)
        for n in range(len(self)):
            for k, path in enumerate(super().get_data_info(n)['world']):
                if path is not None:
                    world[n, k] = read_particles(path, self.num_particles)
                    exists[n, k] = True
        return world, exists

    def centers(self) -> np.ndarray:
        """``[N, K, 3]`` mm, patient axes: where the mean shape's middle lies in each subject, NaN
        where its whole anatomy is not known."""
        centers = np.full((len(self), len(self.templates), 3), np.nan)
        subjects = {subject.id: subject for subject in self.manifest.of_split(self.split)}
        for n in range(len(self)):
            subject = subjects[super().get_data_info(n)['id']]
            for k, template in enumerate(self.templates):
                entry = subject.anatomies.get(template.anatomy)
                if entry is not None and entry.patient_to_world is not None:
                    mean = template.mean_world
                    to_world = RigidTransform(np.array(entry.patient_to_world))
                    centers[n, k] = to_world.inverse().apply((mean.min(0) + mean.max(0)) / 2)
        return centers

    def _check_spacing(self) -> None:
        path = self.manifest.root / 'dataset.json'
        if abs(self.manifest.spacing - self.spacing) > 1e-6:
            raise ConfigError(
                f'{path}: prepared at {self.manifest.spacing:g} mm but the config says '
                f'{self.spacing:g}; change `spacing` in the config or prepare again'
            )

    def _check_modality(self) -> None:
        if self.manifest.modality != self.modality:
            own, wanted = (MODALITIES[m].title for m in (self.manifest.modality, self.modality))
            raise ConfigError(
                f'{self.manifest.root / "dataset.json"}: is a cohort of {own} but the config is '
                f'for {wanted}; start from {OWN_CONFIGS[self.manifest.modality]}, whose windows '
                'and augmentation are made for it'
            )


def _record(manifest: Manifest, subject: SubjectEntry, anatomies: Sequence[str]) -> dict[str, Any]:
    entries = [subject.anatomies.get(name) for name in anatomies]

    def paths(kind: str, usable: bool) -> list[Path | None]:
        return [
            manifest.path(getattr(e, kind))
            if e is not None and getattr(e, kind) and (e.has_particles or not usable)
            else None
            for e in entries
        ]

    return {
        'id': subject.id,
        'image': manifest.path(subject.image),
        'anatomies': list(anatomies),
        'status': [e.status if e is not None else AnatomyStatus.UNLABELLED for e in entries],
        'local': paths('local', usable=True),
        'world': paths('world', usable=True),
        'mesh': paths('mesh', usable=False),
        'mask': paths('mask', usable=False),
    }
