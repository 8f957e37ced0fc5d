"""The model card: what a model is for, what it was made from, how well it does."""

from typing import Any

from massm.evaluation.summary import with_mean
from massm.inference.shape_skill import no_better_than_mean
from massm.structures.modality import MODALITIES

KEYS = ('found', 'missed', 'local_rmse_mm', 'world_rmse_mm', 'world_rmse_mm_mean_shape')


def model_card(metadata: dict[str, Any]) -> str:
    """Markdown from the contents of ``metadata.json``."""
    windows = ', '.join(f'{low:g} to {high:g}' for low, high in metadata['windows'])
    modality = MODALITIES[metadata['modality']]
    return f"""# MASSM model

Finds {len(metadata['anatomies'])} anatomies in {modality.title} and gives each one's \
corresponding surface points.

* **Intended use:** {metadata['intended_use']}
* **Input:** {modality.title} in {modality.unit} (windows {windows}), resampled to \
{metadata['spacing_mm']:g} mm.
* **Output:** {metadata['num_particles']} particles per anatomy; found from a score of \
{metadata['score_threshold']:.3f}.
* **Training data:** {metadata['training_data']}
* **Licence:** {metadata['licence']}

## Anatomies

{_anatomies(metadata)}

## Accuracy

{_accuracy(metadata['accuracy'])}

## Limits

Measured on the data above only. Other scanners, contrast phases, ages and diseases may give wrong
shapes that look plausible: a model fills in what it does not see. Read the scores, the Mahalanobis
distances and the warnings, and look at the surfaces.
"""


def _anatomies(metadata: dict[str, Any]) -> str:
    rows = ['| anatomy | training shapes | volume, ml (least to largest) |', '| --- | --- | --- |']
    for name in metadata['anatomies']:
        known = metadata['population'][name]
        volumes = known['volume_ml']
        span = f'{volumes[0]:.1f} to {volumes[-1]:.1f}' if volumes else '-'
        rows.append(f'| {name} | {known["train_shapes"]} | {span} |')
    return '\n'.join(rows)


def _accuracy(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return 'Not measured: run tools/test.py before exporting.'
    rows = [
        '| anatomy | found | missed | local RMSE, mm | world RMSE, mm | of the mean shape |',
        '| --- |' + ' --- |' * 5,
    ]
    for name, values in with_mean(metrics).items():
        cells = [values.get(key) for key in KEYS]
        shown = ' | '.join('-' if c is None else f'{c:.3g}' for c in cells)
        rows.append(f'| {name} | {shown} |')
    if blind := no_better_than_mean(metrics):
        rows += [
            '',
            'World shapes no nearer to the truth than the mean shape, so that z-scores and '
            f'Mahalanobis distances say nothing: {", ".join(blind)}.',
        ]
    return '\n'.join(rows)
