"""Testing a checkpoint: metrics as a table, files and figures."""

import csv
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from rich.table import Table

from massm.apis.checkpoints import check_fits, check_weights, find_checkpoint
from massm.apis.test_report import draw_figures, write_page
from massm.apis.train import resolve_work_dir
from massm.cohort.correspondences import check_built
from massm.cohort.manifest import load_manifest
from massm.datasets.check import check_subjects
from massm.engine.checkpoint import register_safe_loader
from massm.engine.distributed import prepare_processes, unwrapped
from massm.engine.hooks import PredictionHook
from massm.evaluation.agreement import CORRELATIONS, PAIRED, correlations
from massm.evaluation.case_prediction import CasePrediction
from massm.evaluation.summary import (
    COUNTS,
    TESTED,
    Row,
    by_anatomy,
    mean_of,
    merge_rows,
    with_mean,
)
from massm.io.atomic import write_text
from massm.io.console import show_table
from massm.io.digest import content_digest
from massm.io.names import some_of
from massm.io.particles import write_particles
from massm.io.writable import make_writable

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
    's2s_world_mm',
    's2s_mask_mm',
    'hd95_mm',
    'dice',
    'normal_error_mm',
    'tangential_error_mm',
    'uncertainty_mm',
    'within_1_std',
    'within_2_std',
    's2s_mask_mm_drawn_mask',
    'dice_drawn_mask',
    'local_rmse_mm_mean_shape_true_center',
    'local_rmse_mm_mean_shape_predicted_center',
    'world_rmse_mm_mean_shape',
    's2s_mask_mm_mean_shape_true_center',
    's2s_mask_mm_mean_shape_predicted_center',
    'dice_mean_shape_true_center',
    'dice_mean_shape_predicted_center',
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
    's2s_mask_mm_mean_shape_predicted_center': '(s2s mean shape)',
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
    report: bool = False,
) -> TestResult:
    """Tests ``checkpoint``, or the best one of the work dir, on the config's test split.

    Writes ``WORK_DIR/test/`` (``cases.csv``, ``metrics.json``, ``tested.json``, predicted
    particles) and figures to ``WORK_DIR/report/``; with ``report`` also ``report.html`` with
    surfaces coloured by their distance to the reference.

    Raises:
        CheckpointError: there is none, or it belongs to another config.
        DatasetError: a subject cannot be used.
    """
    register_safe_loader(trust_checkpoint)
    config.launcher = launcher
    prepare_processes(config, launcher)
    config.work_dir = resolve_work_dir(config, work_dir)
    config.load_from = checkpoint or str(find_checkpoint(Path(config.work_dir)))
    make_writable(Path(config.work_dir))
    stored = check_fits(config, config.load_from, trust_checkpoint)
    check_built(Path(config.data_root), config.anatomies)
    runner = Runner.from_cfg(config)
    check_subjects([runner.test_dataloader.dataset])
    check_weights(unwrapped(runner.model), stored, config.load_from)
    keeper = PredictionHook()
    runner.register_hook(keeper)
    runner.test()
    metrics = runner.test_evaluator.metrics
    rows = merge_rows(*(m.rows for m in metrics if hasattr(m, 'rows')))
    subjects = [case.id for case in keeper.predictions]
    left_out = unmeasured(Path(config.data_root), subjects, config.anatomies)
    folder = Path(config.work_dir)
    result = TestResult({**summarise(rows), 'unmeasured': left_out}, rows, folder / 'test')
    if is_main_process():
        known = runner.test_dataloader.dataset.metainfo
        (result.folder / TESTED).unlink(missing_ok=True)  # until the files are those of this test
        _write(result, folder, keeper.predictions, Path(known['data_root']) if report else None)
        _note_tested(result.folder, config, known.get('shape_model'))
    return result


def _note_tested(folder: Path, config: Config, shape_model: str | None) -> None:
    tested = {
        'checkpoint': content_digest(Path(config.load_from)),
        'split': config.test_dataloader.dataset.get('split'),
        'shape_model': shape_model,
    }
    write_text(folder / TESTED, json.dumps(tested, indent=1) + '\n')


def summarise(rows: list[Row]) -> dict[str, dict]:
    """The content of ``metrics.json``; a measure nothing was found for is null."""

    def complete(values: dict[str, float]) -> dict[str, float | None]:
        return {key: values.get(key) for key in (*KEYS, *CORRELATIONS)}

    tables = {
        name: {**values, **correlations([row for row in rows if row['anatomy'] == name])}
        for name, values in by_anatomy(rows).items()
    }
    return {
        'mean': complete(mean_of(list(tables.values()))),
        'anatomies': {name: complete(values) for name, values in tables.items()},
    }


def unmeasured(
    root: Path, subjects: Sequence[str], anatomies: Sequence[str]
) -> dict[str, list[str]]:
    """Of ``subjects`` those whose whole anatomy ``massm pdm`` left out, by anatomy: without
    particles nothing of it can be measured."""
    known = {subject.id: subject.anatomies for subject in load_manifest(root).subjects}
    found: dict[str, list[str]] = {}
    for subject, name in itertools.product(subjects, anatomies):
        entry = known[subject].get(name)
        if entry is not None and entry.status.is_whole and not entry.has_particles:
            found.setdefault(name, []).append(subject)
    return found


def _write(
    result: TestResult, work_dir: Path, predictions: list[CasePrediction], root: Path | None
) -> None:
    write_text(result.folder / 'metrics.json', json.dumps(result.metrics, indent=1) + '\n')
    columns = list(dict.fromkeys(['id', 'anatomy', 'status', 'score', *KEYS, *PAIRED]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(result.rows)
    write_text(result.folder / 'cases.csv', text.getvalue())
    for earlier in (result.folder / 'particles').glob('*/*_*.particles'):  # of another test
        earlier.unlink()
    for case in predictions:
        target = result.folder / 'particles' / case.id
        for frame, shapes in (('local', case.local_mm), ('world', case.world_mm)):
            if shapes is None:
                continue
            for name, shape in zip(case.anatomies, shapes, strict=True):
                write_particles(target / f'{name}_{frame}.particles', shape)
    draw_figures(result.rows, predictions, work_dir / 'report')
    if root is not None:
        write_page(result.metrics, SHOWN, result.rows, predictions, root, work_dir / 'report')
    print_table(result.metrics)
    for name, subjects in result.metrics['unmeasured'].items():
        print(f'not measured, since massm pdm left them out: {name} of {some_of(subjects)}')
    print(f'cases.csv and metrics.json in {result.folder}, figures in {work_dir / "report"}')


def print_table(metrics: dict[str, dict]) -> None:
    """Prints the summary; counts are totals in the last row, the rest means."""
    table = Table('anatomy', *SHOWN.values(), title='test (mm)')
    for name, values in with_mean(metrics).items():
        table.add_row(name, *(_cell(key, values[key]) for key in SHOWN), end_section=name != 'all')
    show_table(table, 170)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return '-'
    return f'{value:.0f}' if key in COUNTS else f'{value:.2f}'
