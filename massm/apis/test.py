"""Testing a checkpoint: metrics as a table, files and figures."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from massm.apis.train import make_writable, resolve_work_dir
from massm.engine.checkpoint import load_checkpoint, register_safe_loader
from massm.engine.distributed import prepare_processes
from massm.errors import CheckpointError
from massm.evaluation.prediction_store import CasePrediction, PredictionStore
from massm.evaluation.summary import Row, by_anatomy, mean_over_anatomies, merge_rows
from massm.io.atomic import write_text
from massm.io.particles import write_particles
from massm.visualization.box_plots import draw_box_plots
from massm.visualization.case_overlay import draw_case

KEYS = (
    'found',
    'missed',
    'false',
    'center_error_mm',
    'box_iou',
    'local_rmse_mm',
    'world_rmse_mm',
    'local_error_mm',
    'world_error_mm',
    's2s_particles_mm',
    's2s_mask_mm',
    'hd95_mm',
    'dice',
    'local_rmse_mm_mean_shape_true_center',
    'local_rmse_mm_mean_shape_predicted_center',
    'world_rmse_mm_mean_shape',
)
SHOWN = {
    'found': 'found',
    'missed': 'missed',
    'false': 'false',
    'center_error_mm': 'centre mm',
    'box_iou': 'box IoU',
    'local_rmse_mm': 'local RMSE',
    'local_rmse_mm_mean_shape_true_center': '(mean shape)',
    'world_rmse_mm': 'world RMSE',
    's2s_particles_mm': 's2s part.',
    's2s_mask_mm': 's2s mask',
    'hd95_mm': 'HD95',
    'dice': 'Dice',
}


@dataclass(frozen=True)
class TestResult:
    """``metrics`` as in ``metrics.json``, the ``rows`` of ``cases.csv``, and the folder."""

    metrics: dict[str, dict]
    rows: list[Row]
    folder: Path


def test(
    config: Config,
    checkpoint: str | None = None,
    work_dir: str | None = None,
    launcher: str = 'none',
    trust_checkpoint: bool = False,
) -> TestResult:
    """Tests ``checkpoint``, or the best one of the work dir, on the config's test split.

    Writes ``WORK_DIR/test/`` (``cases.csv``, ``metrics.json``, predicted particles) and figures to
    ``WORK_DIR/report/``.

    Raises:
        CheckpointError: there is none, or it belongs to another config.
    """
    register_safe_loader(trust_checkpoint)
    config.launcher = launcher
    prepare_processes(config, launcher)
    config.work_dir = resolve_work_dir(config, work_dir)
    config.load_from = checkpoint or str(find_checkpoint(Path(config.work_dir)))
    make_writable(Path(config.work_dir))
    stored = check_fits(config, config.load_from, trust_checkpoint)
    runner = Runner.from_cfg(config)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    check_weights(model, stored, config.load_from)
    runner.test()
    metrics = runner.test_evaluator.metrics
    rows = merge_rows(*(m.rows for m in metrics if hasattr(m, 'rows')))
    folder = Path(config.work_dir)
    result = TestResult(summarise(rows), rows, folder / 'test')
    if is_main_process():
        stores = [m for m in metrics if isinstance(m, PredictionStore)]
        _write(result, folder, stores[0].predictions if stores else [])
    return result


def find_checkpoint(work_dir: Path) -> Path:
    """The best checkpoint of a work dir, else its last.

    Raises:
        CheckpointError: there is none.
    """
    best = sorted(work_dir.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    if best:
        return best[-1]
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        last = work_dir / Path(pointer.read_text().strip()).name
        if last.is_file():
            return last
    raise CheckpointError(f'{work_dir}: no checkpoint; train first, or name one')


def check_fits(config: Config, path: str, trust: bool = False) -> dict:
    """Reads a checkpoint and refuses one that was trained with other settings.

    Raises:
        CheckpointError: anatomies, particles or spacing differ.
    """
    checkpoint = load_checkpoint(path, trust=trust)
    if 'state_dict' not in checkpoint:
        raise CheckpointError(f'{path}: holds no model; give a checkpoint that training wrote')
    meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    for key in ('anatomies', 'num_particles', 'spacing'):
        if key in meta and meta[key] != config[key]:
            raise CheckpointError(
                f'{path}: was trained with {key} = {meta[key]}, the config says {config[key]}; '
                'use the config it was trained with'
            )
    return checkpoint


def check_weights(model: torch.nn.Module, checkpoint: dict, path: str) -> None:
    """Refuses weights that do not fill the model; mmengine would only warn.

    Raises:
        CheckpointError: a weight is missing or of another shape.
    """
    stored = checkpoint['state_dict']
    own = {k: v for k, v in model.state_dict().items() if not k.startswith('templates.')}
    wrong = [k for k, v in own.items() if k not in stored or stored[k].shape != v.shape]
    if wrong:
        raise CheckpointError(
            f'{path}: was trained with another network ({len(wrong)} weights do not fit, first '
            f'{wrong[0]}); use the config it was trained with'
        )


def summarise(rows: list[Row]) -> dict[str, dict]:
    """The content of ``metrics.json``; a measure nothing was found for is null."""

    def complete(values: dict[str, float]) -> dict[str, float | None]:
        return {key: values.get(key) for key in KEYS}

    return {
        'mean': complete(mean_over_anatomies(rows)),
        'anatomies': {name: complete(v) for name, v in by_anatomy(rows).items()},
    }


def _write(result: TestResult, work_dir: Path, predictions: list[CasePrediction]) -> None:
    write_text(result.folder / 'metrics.json', json.dumps(result.metrics, indent=1) + '\n')
    columns = list(dict.fromkeys(['id', 'anatomy', 'status', 'score', *KEYS]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(result.rows)
    write_text(result.folder / 'cases.csv', text.getvalue())
    for case in predictions:
        for name, local, world in zip(case.anatomies, case.local_mm, case.world_mm, strict=True):
            target = result.folder / 'particles' / case.id
            write_particles(target / f'{name}_local.particles', local)
            write_particles(target / f'{name}_world.particles', world)
    draw_box_plots(result.rows, work_dir / 'report')
    for label, case in _notable(result.rows, predictions).items():
        draw_case(case, work_dir / 'report' / f'case_{label}_{case.id}.png')
    print_table(result.metrics)
    print(f'cases.csv and metrics.json in {result.folder}, figures in {work_dir / "report"}')


def _notable(rows: list[Row], predictions: list[CasePrediction]) -> dict[str, CasePrediction]:
    """The best and the worst case by the mean local RMSE of its anatomies."""
    errors: dict[str, list[float]] = {}
    for row in rows:
        if 'local_rmse_mm' in row:
            errors.setdefault(row['id'], []).append(row['local_rmse_mm'])
    cases = {case.id: case for case in predictions if case.id in errors}
    order = sorted(cases, key=lambda name: sum(errors[name]) / len(errors[name]))
    if not order:
        return {}
    return {'best': cases[order[0]], 'worst': cases[order[-1]]}


def print_table(metrics: dict[str, dict]) -> None:
    """Prints the summary; counts are totals in the last row, the rest means."""
    table = Table('anatomy', *SHOWN.values(), title='test (mm)')
    rows = {**metrics['anatomies'], 'all': metrics['mean']}
    for name, values in rows.items():
        table.add_row(name, *(_cell(key, values[key]) for key in SHOWN), end_section=name != 'all')
    Console(width=170).print(table)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return '-'
    return f'{value:.0f}' if key in ('found', 'missed', 'false') else f'{value:.2f}'
