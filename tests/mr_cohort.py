"""A small MR cohort made from labels: intensities by structure, a bias field, a scale of its own in
every subject; written in any of the layouts."""

import json
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import gaussian_filter

SHAPE = (44, 40, 36)
AFFINE = np.array([[2.0, 0, 0, -43], [0, 2.0, 0, -30], [0, 0, 2.0, 15], [0, 0, 0, 1]])
VALUES = {'bean': 1, 'pea': 2}
SPLITS = ('train', 'train', 'train', 'train', 'train', 'val', 'test')
# Of body, bean and pea, as an MR shows them; and what its numbers are multiplied with.
SIGNALS, SCALES = (0.4, 0.9, 0.6), (0.001, 1.0, 4.0, 0.05)


def ellipsoid(center, radii, shape=SHAPE):
    index = np.stack(np.indices(shape), -1)
    return (((index - np.array(center)) / radii) ** 2).sum(-1) <= 1


def subject(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (uint8) and image (float32) of subject ``i``."""
    rng = np.random.default_rng([7, i])
    middle = np.array((21.5, 19.5, 17.5)) + rng.normal(0, 1.0, 3)
    body = ellipsoid(middle, (19, 16, 15))
    labels = np.zeros(SHAPE, np.uint8)
    labels[
        ellipsoid(middle - np.array((7, 0, 0)), np.array((5.0, 7.0, 6.0)) + rng.normal(0, 0.6, 3))
    ] = 1
    labels[
        ellipsoid(middle + np.array((8, 1, 1)), np.array((5.0, 5.0, 4.5)) + rng.normal(0, 0.4, 3))
    ] = 2
    image = SIGNALS[0] * body
    for value, signal in zip((1, 2), SIGNALS[1:], strict=True):
        image = np.where(labels == value, signal, image)
    x, y, _ = np.indices(SHAPE) / 40 - 0.5
    bias = np.exp(0.4 * rng.normal() * x + 0.3 * rng.normal() * y)
    noise = rng.normal(0, 0.02, (2, *SHAPE))
    image = np.hypot(gaussian_filter(image * bias, 0.6) + noise[0], noise[1])
    return labels, (1000 * SCALES[i % len(SCALES)] * image).astype(np.float32)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


def write_cohort(root: Path, layout: str, count: int = len(SPLITS)) -> Path:
    """``count`` subjects under ``root`` in the layout of that name."""
    for i in range(count):
        globals()[f'_{layout}'](root, f'p{i}', *subject(i))
    rows = [f'p{i};{SPLITS[i]}' for i in range(count)]
    (root / 'meta.csv').write_text('\n'.join(['image_id;split', *rows]) + '\n')
    return root


def _totalseg(root, name, labels, image):
    save(root / name / 'mri.nii.gz', image)
    for anatomy, value in VALUES.items():
        save(root / f'{name}/segmentations/{anatomy}.nii.gz', (labels == value).astype(np.uint8))


def _multilabel(root, name, labels, image):
    save(root / name / 'mr.nii.gz', image)
    save(root / name / 'labels.nii.gz', labels)
    table = {str(value): anatomy for anatomy, value in VALUES.items()}
    (root / 'labels.json').write_text(json.dumps(table))


def _flat(root, name, labels, image):
    save(root / f'images/{name}.nii.gz', image)
    save(root / f'labels/{name}.nii.gz', labels)
    (root / 'labels.json').write_text(json.dumps(VALUES))


def _nnunet(root, name, labels, image):
    save(root / f'imagesTr/{name}_0000.nii.gz', image)
    save(root / f'labelsTr/{name}.nii.gz', labels)
    describe(root, channel_names={'0': 'T1'}, labels={'background': 0, **VALUES})


def _decathlon(root, name, labels, image):
    save(root / f'imagesTr/{name}.nii.gz', image)
    save(root / f'labelsTr/{name}.nii.gz', labels)
    table = {'0': 'background', **{str(v): a for a, v in VALUES.items()}}
    describe(root, modality={'0': 'MRI'}, labels=table)


def describe(root: Path, **content) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / 'dataset.json').write_text(json.dumps({'file_ending': '.nii.gz', **content}))
