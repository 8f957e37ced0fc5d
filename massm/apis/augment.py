"""Generated patients on disk: DeepSSM's cohort augmentation (Bhalodia et al. 2018)."""

import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from massm.cohort.correspondences import check_built
from massm.cohort.manifest import (
    GENERATED,
    AnatomyEntry,
    Manifest,
    SubjectEntry,
    load_manifest,
)
from massm.cohort.manifest_update import LOCK
from massm.cohort.working_volume import stored
from massm.datasets.shape_dataset import ShapeDataset
from massm.datasets.transforms import LoadMasks, LoadParticles, LoadVolume, ShapeModelWarp
from massm.datasets.transforms.random_warp import Warp, warp_sample
from massm.errors import DatasetError
from massm.io.meshes import read_mesh, write_mesh
from massm.io.nifti import write_volume
from massm.io.particles import write_particles
from massm.io.templates import read_template_folder
from massm.shape.alignment import rigid_fit
from massm.shape.shape_sampling import kde_spread, leading_modes
from massm.structures import AnatomyStatus, Grid, Mesh

# Draws that would fold the image are drawn again, so often at most.
TRIES = 10
# What asks for shapes nearer to those there are, by their kind.
LESS_FAR = {'kde': 'a smaller --spread', 'gaussian': '--kind kde, which stays nearer to patients'}
# Of the source, what the next run of other commands would use and no network reads.
LEFT_BEHIND = ('.prepare', '.mended', '.unfinished', LOCK)


@dataclass(frozen=True)
class AugmentSettings:
    """How many patients to generate; ``kind`` and ``spread`` as :class:`ShapeModelWarp` has them,
    the spread None for one that suits the population; the ``seed`` of it all."""

    count: int
    kind: str = 'kde'
    spread: float | None = None
    seed: int = 0


def augment(
    root: Path, out: Path, settings: AugmentSettings, anatomies: Sequence[str] | None = None
) -> Iterator[str]:
    """Copies the dataset ``root`` to ``out`` and adds generated training patients, whose names it
    yields. Templates and shape models stay those of the true patients. ``out`` appears when all is
    done.

    Args:
        anatomies: that take new shapes; by default all that have any. Generated patients know
            nothing of the others (``unlabelled``).

    Raises:
        DatasetError: there is no dataset with correspondences, ``out`` is in use, or no shape can
            be drawn.
    """
    dataset = _training_set(Path(root), anatomies)
    out = Path(out).resolve()
    _check(dataset.manifest, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.partial-') as folder:
        made = Path(folder) / out.name
        ignored = shutil.ignore_patterns(*LEFT_BEHIND)
        shutil.copytree(dataset.manifest.root, made, ignore=ignored)
        _make_writable(made)
        spread = settings.spread or population_spread(dataset)
        step = ShapeModelWarp(settings.kind, spread, prob=1.0)
        entries = []
        for n in range(settings.count):
            entries.append(_generate(dataset, step, made, n, settings))
            yield entries[-1].id
        manifest = replace(load_manifest(made), root=made)
        manifest.with_subjects([*manifest.subjects, *entries]).save()
        if out.is_dir():
            out.rmdir()
        made.rename(out)


def population_spread(dataset: ShapeDataset) -> float:
    """Mean over the anatomies of the spread that suits the training shapes."""
    world, exists = dataset.world_particles()
    spreads = []
    for k, template in enumerate(dataset.templates):
        model = leading_modes(template.pdm)
        if len(model):
            known = model.coefficients(world[exists[:, k], k].astype(np.float64))
            spreads.append(kde_spread(known))
    return float(np.mean(spreads)) if spreads else 1.0


def _training_set(root: Path, anatomies: Sequence[str] | None) -> ShapeDataset:
    manifest = load_manifest(root)
    names = manifest.with_shapes(anatomies)
    check_built(root, names)
    count = len(read_template_folder(root / 'shapes' / names[0], names[0]).local)
    return ShapeDataset(
        str(root), 'train', names, count, manifest.spacing, modality=manifest.modality, pipeline=[]
    )


def _check(manifest: Manifest, out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f'{out}: is there; choose another folder, so that nothing is replaced')
    if out.is_relative_to(manifest.root.resolve()):
        raise DatasetError(f'{out}: lies in the dataset itself; choose a folder beside it')
    if any(s.is_generated for s in manifest.subjects):
        raise DatasetError(
            f'{manifest.root}: has generated patients already; augment the dataset it came from'
        )


def _make_writable(folder: Path) -> None:
    """What was copied of a dataset that nobody may write can be written all the same."""
    for path in (folder, *folder.rglob('*')):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def _generate(
    dataset: ShapeDataset, step: ShapeModelWarp, out: Path, n: int, settings: AugmentSettings
) -> SubjectEntry:
    rng = np.random.default_rng([settings.seed, n])
    for _ in range(TRIES):
        base = int(rng.integers(len(dataset)))
        results: dict[str, Any] = {**dataset.get_data_info(base), 'rng': rng}
        for load in (LoadVolume(), LoadParticles(), LoadMasks()):
            results = load(results)
        drawn = step.sample(results)
        warp = step.warp_to(results, drawn) if drawn else None
        if warp is not None:
            subject = dataset.manifest.of_split('train')[base]
            return _write(dataset, results, warp, subject, f'{GENERATED}{n + 1:04d}', out)
    raise DatasetError(
        f'{dataset.manifest.root}: {TRIES} draws for patient {n + 1} had no whole anatomy or '
        f'would fold the image; give {LESS_FAR[settings.kind]}'
    )


def _write(
    dataset: ShapeDataset,
    results: dict[str, Any],
    warp: Warp,
    base: SubjectEntry,
    name: str,
    out: Path,
) -> SubjectEntry:
    grid: Grid = results['grid']
    files = {'mesh': results['mesh'], 'mask': results['mask'], 'status': results['status']}
    moved = warp_sample(dict(results), warp)
    volume = stored(moved['volume'], dataset.modality)
    image = f'images/{name}.nii'
    write_volume(out / image, volume, grid)
    anatomies: dict[str, AnatomyEntry] = {}
    for k, anatomy in enumerate(results['anatomies']):
        status = files['status'][k]
        inside = moved['masks'][k] > 0.5
        masked = files['mask'][k] is not None and inside.any()
        entry = AnatomyEntry(status if masked or status.is_missing else AnatomyStatus.UNLABELLED)
        if masked:
            mask = f'masks/{anatomy}/{name}.nii.gz'
            write_volume(out / mask, inside.astype(np.uint8), grid)
            entry = AnatomyEntry(AnatomyStatus.TRUNCATED, mask=mask)
        # An imported shape need not have a mask.
        has_surface = moved['has_shape'][k] and files['mesh'][k] is not None
        if has_surface and (masked or files['mask'][k] is None):
            mesh = _moved(read_mesh(files['mesh'][k]), grid, warp)
            entry = _write_shape(dataset, moved, k, mesh, name, out, entry)
        anatomies[anatomy] = entry
    return SubjectEntry(name, 'train', image, anatomies, generated_from=base.id)


def _write_shape(
    dataset: ShapeDataset,
    moved: dict[str, Any],
    k: int,
    mesh: Mesh,
    name: str,
    out: Path,
    entry: AnatomyEntry,
) -> AnatomyEntry:
    template = dataset.templates[k]
    local = moved['grid'].to_patient(moved['local_vox'][k].astype(np.float64))
    to_world = rigid_fit(local, template.world)
    folder = f'shapes/{template.anatomy}'
    paths = {frame: f'{folder}/{frame}/{name}.particles' for frame in ('local', 'world')}
    write_particles(out / paths['local'], local)
    write_particles(out / paths['world'], to_world.apply(local))
    write_mesh(out / folder / 'meshes' / f'{name}.ply', mesh)
    return replace(
        entry,
        status=AnatomyStatus.OK,
        mesh=f'{folder}/meshes/{name}.ply',
        patient_to_world=to_world.matrix.tolist(),
        **paths,
    )


def _moved(mesh: Mesh, grid: Grid, warp: Warp) -> Mesh:
    """A surface (patient mm) as the warp shows it."""
    points = torch.as_tensor(grid.to_voxel(mesh.vertices), dtype=torch.float32)
    return mesh.with_vertices(grid.to_patient(warp.forward(points).double().numpy()))
