"""Results on disk: one folder an image, whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from massm.errors import ConfigError
from massm.inference.earlier_results import RESULT_FORMAT, check_replaceable, files_of
from massm.inference.result_formats import DEFAULT_FORMATS, FORMATS, MESH_FORMATS
from massm.inference.results import InferenceResult, ShapeResult
from massm.io.atomic import UMASK, write_text
from massm.io.dicom_seg import write_segmentation
from massm.io.digest import content_digest
from massm.io.meshes import write_mesh
from massm.io.nifti import is_sheared, write_volume
from massm.io.particles import write_particles
from massm.io.slicer import write_color_table, write_markups
from massm.shape.surface import voxelise
from massm.visualization.colors import anatomy_colors

RESULT_VERSION = 2
NO_SEGMENTATION = 'no labels.dcm: nothing was found that a DICOM segmentation could hold'
SHEARED_LABELS = (
    "labels.nii.gz has the scan's axes, which are not at right angles: 3D Slicer and others built "
    'on ITK refuse it; of a DICOM folder choose the format dicomseg, which they lay on the scan'
)


def write_result(
    folder: Path, result: InferenceResult, formats: Collection[str] = DEFAULT_FORMATS
) -> InferenceResult:
    """Writes ``folder``, in place of an older one of the same image, in one step; nothing else in
    it is touched.

    ``result.json`` always; per anatomy ``local/`` and ``world/NAME.particles``, ``meshes/NAME.*``
    with scalars per vertex, ``markups/NAME.mrk.json``; for all ``labels.nii.gz`` in the input's
    geometry with ``labels.json`` and ``labels.ctbl`` (docs/results.md).

    Returns:
        ``result`` with a warning for what could not be written of it, or not for every program.

    Raises:
        ConfigError: a format is unknown, or something would be replaced that is of no earlier
            result, or of another image's.
    """
    unknown = set(formats) - set(FORMATS)
    if unknown:
        raise ConfigError(f'no format {", ".join(sorted(unknown))}; there are {", ".join(FORMATS)}')
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix='.partial-'))
    try:
        for shape in result.shapes:
            if shape.is_present:
                _write_shape(temporary, shape, formats)
        names = [shape.anatomy for shape in result.shapes]
        labels = _labels(result) if {'labels', 'dicomseg'} & set(formats) else None
        if 'labels' in formats:
            _write_labels(temporary, labels, names, result)
            if is_sheared(result.grid):
                result = replace(result, warnings=(*result.warnings, SHEARED_LABELS))
        if 'dicomseg' in formats and not labels.any():
            result = replace(result, warnings=(*result.warnings, NO_SEGMENTATION))
        elif 'dicomseg' in formats:
            write_segmentation(temporary / 'labels.dcm', labels, names, result.slices)
        text = json.dumps(to_json(result, formats), indent=1)
        write_text(temporary / 'result.json', text + '\n')
        temporary.chmod(0o777 & ~UMASK)
        _replace(folder, temporary, result)
        return result
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(folder: Path, temporary: Path, result: InferenceResult) -> None:
    """Puts ``temporary`` in the place of ``folder``: of an earlier result there, its own files go;
    other files stay.

    Raises:
        ConfigError: the folder is somebody else's or another image's, or a file in it that would
            be replaced is.
    """
    if not folder.exists():
        temporary.replace(folder)
        return
    check_replaceable(folder, result.source, result.series)
    earlier = files_of(folder)
    new = {folder / p.relative_to(temporary): p for p in temporary.rglob('*') if p.is_file()}
    foreign = sorted(target for target in new if target.exists() and target not in earlier)
    if foreign:
        raise ConfigError(f'{foreign[0]}: is of no earlier result and would be replaced; move it')
    last = folder / 'result.json'
    for target, source in new.items():
        if target != last:
            target.parent.mkdir(exist_ok=True)
            source.replace(target)
    for file in earlier - new.keys():
        file.unlink()
        if file.parent != folder and not any(file.parent.iterdir()):
            file.parent.rmdir()
    new[last].replace(last)


def _write_shape(folder: Path, shape: ShapeResult, formats: Collection[str]) -> None:
    name = shape.anatomy
    if 'particles' in formats:
        write_particles(folder / 'local' / f'{name}.particles', shape.local_mm)
        write_particles(folder / 'world' / f'{name}.particles', shape.world_mm)
    for kind in MESH_FORMATS:
        if kind in formats:
            write_mesh(folder / 'meshes' / f'{name}.{kind}', shape.mesh, vertex_scalars(shape))
    if 'markups' in formats:
        write_markups(folder / 'markups' / f'{name}.mrk.json', name, shape.local_mm, shape.seen)


def vertex_scalars(shape: ShapeResult) -> dict[str, np.ndarray]:
    """``extrapolated`` (1 outside the field of view) and, if known, ``deviation_mm`` and
    ``uncertainty_mm``."""
    scalars = {'extrapolated': ~shape.seen_vertices}
    if shape.deviation_mm is not None:
        scalars['deviation_mm'] = shape.deviation_mm
    if shape.uncertainty_mm is not None:
        scalars['uncertainty_mm'] = shape.uncertainty_mm
    return scalars


def _labels(result: InferenceResult) -> np.ndarray:
    """``grid.shape``: k inside the k-th anatomy's surface."""
    labels = np.zeros(result.grid.shape, dtype=np.uint8 if len(result.shapes) < 256 else np.uint16)
    for number, shape in enumerate(result.shapes, 1):
        if shape.is_present:
            labels[voxelise(shape.mesh, result.grid)] = number
    return labels


def _write_labels(
    folder: Path, labels: np.ndarray, names: list[str], result: InferenceResult
) -> None:
    write_volume(folder / 'labels.nii.gz', labels, result.grid, result.oriented)
    text = json.dumps({'0': 'background', **{str(i): n for i, n in enumerate(names, 1)}}, indent=1)
    write_text(folder / 'labels.json', text + '\n')
    write_color_table(folder / 'labels.ctbl', names, anatomy_colors(len(names)))


def to_json(result: InferenceResult, formats: Collection[str] = DEFAULT_FORMATS) -> dict:
    """The contents of ``result.json``."""
    return {
        'format': RESULT_FORMAT,
        'version': RESULT_VERSION,
        'image': result.source,
        'image_digest': content_digest(Path(result.source)),
        'series': result.series,
        'model': None if result.model is None else asdict(result.model),
        'frame': 'patient mm, RAS+',
        'warnings': list(result.warnings),
        'labels': 'labels.nii.gz' if 'labels' in formats else None,
        'anatomies': {
            shape.anatomy: _entry(number, shape, formats)
            for number, shape in enumerate(result.shapes, 1)
        },
    }


def _entry(label: int, shape: ShapeResult, formats: Collection[str]) -> dict:
    entry: dict = {
        'status': shape.status.value,
        'score': round(shape.score, 4),
        'reason': shape.reason,
    }
    if not shape.is_present:
        return entry
    name = shape.anatomy
    entry.update(
        label=label,
        seen_share=round(float(shape.seen.mean()), 4),
        **{key: round(value, 3) for key, value in shape.measures.items()},
        principal_axes=shape.principal_axes.round(5).tolist(),
        box_corners_mm=shape.box_mm.round(3).tolist(),
    )
    if shape.z_scores is not None:
        entry.update(
            mahalanobis=round(float(shape.mahalanobis or 0.0), 3),
            mahalanobis_usual=round(float(shape.usual_mahalanobis or 0.0), 3),
            z_scores=shape.z_scores.round(3).tolist(),
            percentiles=shape.percentiles,
        )
    if shape.uncertainty_mm is not None:
        entry.update(uncertainty_mm=round(float(shape.uncertainty_mm.mean()), 3))
    if 'particles' in formats:
        entry.update(local=f'local/{name}.particles', world=f'world/{name}.particles')
    meshes = [f'meshes/{name}.{kind}' for kind in MESH_FORMATS if kind in formats]
    if meshes:
        entry.update(mesh=meshes[0], meshes=meshes)
    if 'markups' in formats:
        entry.update(markups=f'markups/{name}.mrk.json')
    return entry
