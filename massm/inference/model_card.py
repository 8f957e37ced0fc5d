"""The model card: what a model is for, what it was made from, how well it does."""

from typing import Any

from massm.evaluation.agreement import CORRELATION, CORRELATIONS
from massm.evaluation.summary import shown, with_mean
from massm.inference.measured_accuracy import ALL, MEASURES
from massm.inference.shape_skill import LEAST_CORRELATION, blind_scores
from massm.structures.modality import MODALITIES

TITLES = {
    'found': 'found',
    'missed': 'missed',
    'false': 'false',
    's2s_mask_mm': 'surface to contour, mm',
    's2s_mask_mm_mean_shape_true_center': 'of the mean shape',
    'local_rmse_mm': 'local RMSE, mm',
    'world_rmse_mm': 'world RMSE, mm',
    'world_rmse_mm_mean_shape': 'of the mean shape',
    'dice': 'Dice',
}
COUNTS = ('found', 'missed', 'false')
MEANS = ('local_rmse_mm', 'world_rmse_mm', 'world_rmse_mm_mean_shape')


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
* **Output:** {metadata['num_particles']} particles per anatomy.
* **Training data:** {metadata['training_data']}
* **Licence:** {metadata['licence']}

## Anatomies

{_anatomies(metadata)}

## Accuracy

{_accuracy(metadata['accuracy'])}

## Limits

{_limits(metadata)}\
Measured on the data above only. Other scanners, contrast phases, ages and diseases may give wrong
shapes that look plausible: a model fills in what it does not see. Read the scores, the Mahalanobis
distances and the warnings, and look at the surfaces.
"""


def _anatomies(metadata: dict[str, Any]) -> str:
    rows = [
        '| anatomy | training shapes | volume, ml (least to largest) | found from a score of |',
        '| --- | --- | --- | --- |',
    ]
    for name in metadata['anatomies']:
        known = metadata['population'][name]
        volumes = known['volume_ml']
        span = f'{volumes[0]:.1f} to {volumes[-1]:.1f}' if volumes else '-'
        found = metadata['score_thresholds'][name]
        rows.append(f'| {name} | {known["train_shapes"]} | {span} | {found:.3f} |')
    return '\n'.join(rows)


def _limits(metadata: dict[str, Any]) -> str:
    told = metadata.get('limits')
    return f'Known failures: {told}\n\n' if told else ''


def _intervals(intervals: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    names = list(dict.fromkeys(name for known in intervals.values() for name in known))
    names.sort(key=lambda name: name == ALL)
    rows = [
        'Means over patients that the network was not trained on, and their 95 % bootstrap '
        'intervals; the mean shape is put at the true centre.',
        '',
        '| anatomy | patients |' + ''.join(f' {TITLES[m]} |' for m in MEASURES),
        '| --- | --- |' + ' --- |' * len(MEASURES),
    ]
    for name in names:
        known = [intervals[measure].get(name) for measure in MEASURES]
        count = max(int(k['patients']) for k in known if k)
        cells = [
            f'{k["mean"]:.2f} ({k["low"]:.2f} to {k["high"]:.2f})' if k else '-' for k in known
        ]
        rows.append(f'| {name} | {count} | {" | ".join(cells)} |')
    return rows


def _correlations(metrics: dict[str, Any]) -> list[str]:
    """A table, where more than a few patients of an anatomy were tested."""
    told = {
        name: [values.get(key) for key in CORRELATIONS]
        for name, values in metrics['anatomies'].items()
    }
    told = {name: row for name, row in told.items() if any(r is not None for r in row)}
    if not told:
        return []
    titles = [key.removesuffix(CORRELATION) for key in CORRELATIONS]
    return [
        '',
        'Correlation over these patients of what the model tells with what their contours have; '
        f'a size below {LEAST_CORRELATION} is not placed among the training subjects.',
        '',
        f'| anatomy | {" | ".join(titles)} |',
        '| --- |' + ' --- |' * len(titles),
        *(
            f'| {name} | {" | ".join("-" if r is None else f"{r:.2f}" for r in row)} |'
            for name, row in told.items()
        ),
    ]


def _accuracy(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return 'Not measured: run tools/test.py before exporting.'
    rows: list[str] = []
    columns: tuple[str, ...] = (*COUNTS, *MEANS)
    if intervals := metrics.get('intervals'):
        rows, columns = [*_intervals(intervals), ''], COUNTS
    rows += [
        '| anatomy |' + ''.join(f' {TITLES[key]} |' for key in columns),
        '| --- |' + ' --- |' * len(columns),
    ]
    for name, values in with_mean(metrics).items():
        cells = [shown(key, values.get(key)) for key in columns]
        rows.append(f'| {name} | {" | ".join(cells)} |')
    rows += _correlations(metrics)
    if blind := blind_scores(metrics):
        rows += [
            '',
            'Shape scores hardly follow the patients, so that z-scores and Mahalanobis distances '
            f'say next to nothing: {", ".join(blind)}.',
        ]
    return '\n'.join(rows)
