"""The comparison on the tiny phantom, from the command to the page."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
from mmengine.config import Config

from massm.cli import run_command
from massm.comparison.cohort import read_compared
from massm.comparison.methods import DEFAULT, FIGURES, MEASURES, METHODS, repository
from massm.comparison.results import mean_over_seeds, table
from massm.comparison.runs import keep_settings
from massm.errors import ConfigError, DatasetError

NAMES = ['heart_ventricle_left', 'spleen']


def command(dataset, out, *more):
    return [str(dataset), '--out', str(out), '--anatomies', *NAMES, '--select', '1', *more]


@pytest.fixture(scope='module')
def dataset(tiny_dataset, tmp_path_factory):
    """The tiny cohort with a validation patient more than it has, so that two are left."""
    folder = tmp_path_factory.mktemp('compared') / 'dataset'
    shutil.copytree(tiny_dataset, folder)
    content = json.loads((folder / 'dataset.json').read_text())
    for row in content['data_list'][-3:]:
        row['split'] = 'val'
    (folder / 'dataset.json').write_text(json.dumps(content))
    return folder


def small(config):
    """The same networks of a few channels, and as little as can be before their first step."""
    model = config.model
    for part in ('backbone', 'neck', 'dense_head', 'mask_head'):
        for key in ('base_channels', 'out_channels', 'feat_channels'):
            if key in (model.get(part) or {}):
                model[part][key] = 8
    if 'canvas' in model:
        model.canvas = (60, 60, 60)
    if 'network' in model:
        model.network.channels = (4, 8, 8, 8, 8)
    if model.get('local_head', {}).get('type') == 'ShapeFitHead':
        region = {'cells': 8, 'margin': 12.0, 'channels': (8, 8)}
        model.local_head.update(prior={'modes': 4, 'bends': 8}, region=region)
    for hook in config.custom_hooks:
        hook.update({key: 5 for key in ('steps', 'samples') if key in hook})
    config.train_cfg.max_epochs = 1  # validated once
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        config[name].update(num_workers=0, persistent_workers=False)
    return config


@pytest.fixture(scope='module')
def reproduced(dataset, tmp_path_factory):
    """Every default method with a budget of seconds, and one that fails."""
    folder = tmp_path_factory.mktemp('reproduced')
    names = [*DEFAULT, 'tl_deepssm.w']
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            config = small(Config.fromfile(repository() / METHODS[name].config))
            if name == 'tl_deepssm.w':
                config.model.margin_mm = 'wide'
            path = folder / f'{name.replace(".", "_")}.py'
            config.dump(path)
            patch.setitem(METHODS, name, replace(METHODS[name], config=str(path)))
        out = folder / 'reproduction'
        more = ['--seeds', '1', '--budget', '0.06', '--methods', *names]
        words = command(dataset, out, *more)
        code = run_command('reproduce', words)
        yield out, words, code


@pytest.mark.slow
def test_every_method_runs_through_and_every_file_parses(reproduced):
    """And the one that fails is named, and stops no other."""
    out, _, code = reproduced
    content = json.loads((out / 'results.json').read_text())
    runs = [run for run in content['runs'] if run['method'] in DEFAULT]
    (failed,) = (run for run in content['runs'] if run not in runs)
    assert [run['method'] for run in runs] == list(DEFAULT)
    for run in runs:
        assert run['status'] == 'done', run
        assert run['memory_mb'] > 100 and run['test_s'] > 0 and run['training_s'] > 1
    assert code == 1 and failed['status'] == 'failed' and 'TypeError' in failed['sentence']
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
    assert failed['sentence'].split(':')[0] in page


def test_a_dataset_may_be_moved_and_no_other_take_its_place(tmp_path):
    def settings(**cohort):
        return {'budget_minutes': 1.0, 'cohort': {'root': 'here', 'shape_model': 'a1', **cohort}}

    keep_settings(tmp_path / 'out', settings())
    keep_settings(tmp_path / 'out', settings(root='elsewhere'))
    with pytest.raises(ConfigError, match='holds runs of another cohort'):
        keep_settings(tmp_path / 'out', settings(shape_model='b2'))
    keep_settings(tmp_path / 'out', settings(patients='a'))  # an earlier version did not tell them
    keep_settings(tmp_path / 'new', settings(patients='a'))
    with pytest.raises(ConfigError, match=r'of another cohort\.patients \("a", now "b"\)'):
        keep_settings(tmp_path / 'new', settings(patients='b'))


def test_other_patients_are_another_cohort(dataset, tmp_path):
    """Who was added to train, as massm augment does, or changed places, though numbers stay."""
    before = read_compared(dataset, NAMES, 1)
    shutil.copytree(dataset, tmp_path / 'other')
    content = json.loads((tmp_path / 'other/dataset.json').read_text())
    entries = content['data_list']
    train, val = (next(e for e in entries if e['split'] == s) for s in ('train', 'val'))
    train['split'], val['split'] = 'val', 'train'
    (tmp_path / 'other/dataset.json').write_text(json.dumps(content))
    after = read_compared(tmp_path / 'other', NAMES, 1)
    assert after.patients != before.patients
    assert replace(after, root='', patients='') == replace(before, root='', patients='')


def test_tables_that_nobody_could_fill_are_refused_before_any_training(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / 'other')
    path = tmp_path / 'other/dataset.json'
    content = json.loads(path.read_text())
    for entry in content['data_list']:
        if entry['split'] == 'val':
            entry['anatomies'].pop('spleen', None)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match='who would make the tables has a whole spleen'):
        read_compared(tmp_path / 'other', NAMES, 1)
    content['metainfo']['modality'] = 'mr'
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match='set up for CT'):
        read_compared(tmp_path / 'other', NAMES, 1)


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_other_settings_are_refused(reproduced, capsys):
    out, words, _ = reproduced
    tables = json.loads((out / 'results.json').read_text())['tables']
    stamps = {path: path.stat().st_mtime_ns for path in out.glob('*/run.json')}
    assert len(stamps) == len(DEFAULT)
    assert run_command('reproduce', words) == 1
    assert {path: path.stat().st_mtime_ns for path in out.glob('*/run.json')} == stamps
    assert json.loads((out / 'results.json').read_text())['tables'] == tables
    fewer = [*words[: words.index('--methods')], '--methods', 'unet_all']
    assert run_command('reproduce', fewer) == 0
    kept = json.loads((out / 'results.json').read_text())
    assert [run['method'] for run in kept['runs']] == list(DEFAULT), 'what is done stays'
    assert kept['tables'] == tables
    other = [*words, '--budget', '1']
    assert run_command('reproduce', other) == 1
    assert 'holds runs of another budget_minutes (0.06, now 1.0)' in capsys.readouterr().err
    origin = out / 'unet_all_0/origin.json'
    content = json.loads(origin.read_text())
    assert len(content['code']) == 1
    content['model']['network']['channels'] = [1, 2, 3, 4, 5]
    origin.write_text(json.dumps(content))
    assert run_command('reproduce', words) == 1
    told = capsys.readouterr().err
    assert 'unet_all_0: is of another network (model.network.channels' in told
    other = [*words[: words.index('--methods')], '--methods', 'unet']
    assert run_command('reproduce', other) == 0, 'nor does it stop another method'
    assert 'left out of the report' in capsys.readouterr().out
    kept = json.loads((out / 'results.json').read_text())
    assert [run['method'] for run in kept['runs']] == [m for m in DEFAULT if m != 'unet_all']


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
