"""The comparison on the tiny phantom, from the command to the page."""

import csv
import json

import pytest

from massm.cli import run_command
from massm.comparison.cohort import read_compared
from massm.comparison.methods import DEFAULT, FIGURES, MEASURES, METHODS, repository
from massm.comparison.results import mean_over_seeds, table
from massm.errors import ConfigError

NAMES = ['heart_ventricle_left', 'spleen']


def command(dataset, out, *more):
    return [str(dataset), '--out', str(out), '--anatomies', *NAMES, '--select', '1', *more]


@pytest.fixture(scope='module')
def dataset(tiny_dataset, tmp_path_factory):
    """The tiny cohort with a validation patient more than it has, so that two are left."""
    import shutil

    folder = tmp_path_factory.mktemp('compared') / 'dataset'
    shutil.copytree(tiny_dataset, folder)
    content = json.loads((folder / 'dataset.json').read_text())
    for row in content['data_list'][-3:]:
        row['split'] = 'val'
    (folder / 'dataset.json').write_text(json.dumps(content))
    return folder


@pytest.fixture(scope='module')
def reproduced(dataset, tmp_path_factory):
    """Every default method with a budget of seconds, one of them made to fail."""
    out = tmp_path_factory.mktemp('reproduced') / 'reproduction'
    options = [
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False',
        'test_dataloader.num_workers=0',
    ]
    words = command(dataset, out, '--seeds', '1', '--budget', '0.05', '--cfg-options', *options)
    return out, words, run_command('reproduce', words)


@pytest.mark.slow
def test_every_method_runs_through_and_every_file_parses(reproduced):
    out, _, code = reproduced
    content = json.loads((out / 'results.json').read_text())
    assert code == 0, content['runs']
    assert [run['method'] for run in content['runs']] == list(DEFAULT)
    for run in content['runs']:
        assert run['status'] == 'done' and run['memory_mb'] > 100 and run['test_s'] > 0
    for figure, measures in FIGURES.items():
        assert (out / f'{figure}.png').stat().st_size > 5000
        with (out / f'{figure}.csv').open(newline='') as file:
            rows = list(csv.DictReader(file))
        assert {row['measure'] for row in rows} == set(measures)
        assert all(float(row['low']) <= float(row['mean']) <= float(row['high']) for row in rows)
    for measure in MEASURES:
        methods = {row['method'] for row in content['tables'][measure]}
        assert methods == {m for m in DEFAULT if METHODS[m].column_of(measure)}
    page = (out / 'index.html').read_text()
    assert 'Figure 2' in page and page.count('data:image/png') >= 3


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_other_settings_are_refused(reproduced, capsys):
    out, words, _ = reproduced
    stamps = {path: path.stat().st_mtime_ns for path in out.glob('*/run.json')}
    assert len(stamps) == len(DEFAULT)
    assert run_command('reproduce', words) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob('*/run.json')} == stamps
    other = [*words[: words.index('--budget')], '--budget', '1']
    assert run_command('reproduce', other) == 1
    assert 'holds runs of another budget_minutes (0.05, now 1.0)' in capsys.readouterr().err


@pytest.mark.slow
def test_a_method_that_fails_is_named_and_stops_no_other(dataset, tmp_path):
    out = tmp_path / 'out'
    methods = ['--methods', 'deepssm.l', 'deepssm.w', '--seeds', '1', '--budget', '0.02']
    options = ['--cfg-options', 'model.canvas=[70,62,61]', 'train_dataloader.num_workers=0']
    persistent = ['train_dataloader.persistent_workers=False', 'model.margin_mm=wide']
    assert run_command('reproduce', command(dataset, out, *methods, *options, *persistent)) == 1
    runs = json.loads((out / 'results.json').read_text())['runs']
    by_name = {run['method']: run for run in runs}
    assert by_name['deepssm.w']['status'] == 'failed'
    assert 'margin_mm' in by_name['deepssm.w']['sentence']
    assert 'margin_mm' in (out / 'index.html').read_text()


def cases(folder, rows):
    (folder / 'test').mkdir(parents=True)
    columns = ['id', 'anatomy', 'local_rmse_mm', 's2s_mask_mm', 's2s_mask_mm_drawn_mask']
    with (folder / 'test/cases.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, columns, restval='')
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_tables_are_of_patients_and_take_a_methods_own_columns(tmp_path):
    def rows(offset):
        return [
            {
                'id': f'p{i}',
                'anatomy': name,
                'local_rmse_mm': i + offset,
                's2s_mask_mm': 50.0,
                's2s_mask_mm_drawn_mask': i + offset,
            }
            for i in range(6)
            for name in NAMES
            if not (i == 0 and name == 'spleen')
        ]

    paper, unet = METHODS['massm_paper'], METHODS['unet_all']
    runs = [
        (paper, cases(tmp_path / 'a0', rows(0.0))),
        (paper, cases(tmp_path / 'a1', rows(2.0))),
        (unet, cases(tmp_path / 'b0', rows(3.0))),
    ]
    values = mean_over_seeds(runs, NAMES)
    assert values['local_rmse_mm']['spleen']['massm_paper'] == {
        f'p{i}': i + 1.0 for i in range(1, 6)
    }
    assert values['s2s_mask_mm']['spleen']['unet_all']['p2'] == 5.0
    assert values['world_rmse_mm']['spleen'] == {}
    found = {
        (r['anatomy'], r['method']): r
        for r in table(values['local_rmse_mm'], ['massm_paper', 'unet_all'])
    }
    assert found['heart_ventricle_left', 'massm_paper']['mean'] == pytest.approx(3.5)
    assert found['spleen', 'massm_paper']['count'] == 5
    assert found['all', 'massm_paper']['mean'] == pytest.approx((3.5 + 4.0) / 2)
    # Six and five differences of one sign; Holm doubles the smaller.
    first = found['heart_ventricle_left', 'unet_all']['p_massm_paper']
    assert first == pytest.approx(2 * 2 / 2**6)
    assert found['spleen', 'unet_all']['p_massm_paper'] == pytest.approx(2 / 2**5)
    assert 'p_massm_paper' not in found['spleen', 'massm_paper']


def test_patients_who_choose_make_no_table(dataset, tiny_dataset):
    found = read_compared(dataset, NAMES, 1)
    assert found.table_split == 'val' and len(found.select) == 1 and len(found.table) == 2
    assert not set(found.select) & set(found.table)
    assert found == read_compared(dataset, NAMES, 1)
    with pytest.raises(ConfigError, match='be left for the table'):
        read_compared(dataset, NAMES, 2)
    with pytest.raises(ConfigError, match='be left for the table'):
        read_compared(tiny_dataset, NAMES, 13)


def test_every_methods_config_is_there():
    assert all((repository() / method.config).is_file() for method in METHODS.values())


@pytest.mark.parametrize(
    'words, sentence',
    [
        (['--budget', '0'], '--budget must be minutes above 0'),
        (['--seeds', '0'], '--seeds must be 1 or more'),
        (['--methods', 'deepsm'], '--methods deepsm: give some of massm_paper'),
        (['--methods', 'unet', 'unet'], 'each once'),
    ],
)
def test_what_cannot_be_is_one_sentence(dataset, tmp_path, capsys, words, sentence):
    assert run_command('reproduce', command(dataset, tmp_path / 'out', *words)) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_a_folder_of_somebody_elses_is_left_alone(dataset, tmp_path, capsys):
    (tmp_path / 'thesis.tex').write_text('x')
    assert run_command('reproduce', command(dataset, tmp_path, '--methods', 'unet')) == 1
    assert 'holds no comparison' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']
