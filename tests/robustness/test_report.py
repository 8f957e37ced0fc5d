"""The reports in a real browser: Debian's chromium, without a window."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from massm.cli import run_command
from massm.inference.inferencer import MASSMInferencer
from massm.structures import AnatomyStatus
from massm.visualization.report import write_report
from massm.visualization.thinning import thin
from tests.conftest import FITTED
from tests.visualization.pages import result, shape

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')

WORK_PAGE = (Path(__file__).parent / 'work_page.js').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    made = result(
        shape('kidney_left', np.array([70.0, 90, 80]), steps=60),
        shape('spleen', np.array([120.0, 120, 90]), AnatomyStatus.ABSENT, 'score 0.1', steps=8),
        shape('liver', np.array([110.0, 100, 70]), steps=16, modes=2),
    )
    path = tmp_path_factory.mktemp('report') / 'report.html'
    write_report(path, 'Patient <1> & "co"', made)
    return path, made


@pytest.fixture(scope='module', params=[1400, 420])
def seen(request, page, tmp_path_factory):
    """What :func:`checked` sees in a window of a desk's width, then a telephone's."""
    return checked(page[0], request.param, tmp_path_factory.mktemp('checked'))


def browse(page, width, *extra):
    if CHROMIUM is None:
        pytest.skip('no chromium here: apt-get install chromium')
    command = [
        CHROMIUM, '--headless=new', '--no-sandbox', '--use-angle=swiftshader', '--disable-gpu',
        '--enable-unsafe-swiftshader', '--host-resolver-rules=MAP * ~NOTFOUND',
        f'--window-size={width},1200', '--virtual-time-budget=60000', *extra, f'file://{page}',
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, encoding='utf-8', timeout=400).stdout


def checked(path, width, folder):
    """What ``work_page.js`` sees and does in the page."""
    text = path.read_text(encoding='utf-8').replace(
        '<head>', f'<head><script>{WORK_PAGE}</script>', 1
    )
    (folder / 'checked.html').write_text(text, encoding='utf-8')
    dumped = browse(folder / 'checked.html', width, '--dump-dom')
    shown = re.search(r'<title>(.*?)</title>', dumped, re.S)
    return json.loads(html.unescape(shown.group(1)))


def test_its_controls_work_and_every_anatomy_is_listed(page, seen):
    shapes = page[1].shapes
    assert seen['errors'] == [] and seen['before'] and seen['hidden'] and seen['wide']
    assert seen['clear'], 'the legend lies beside the view, not on it'
    assert seen['rows'] == len(shapes) == 3 and seen['boxes'] == 2
    assert seen['painted'] == 0 and seen['coloured'] == len(thin(shapes[0].mesh, 2).kept)
    assert seen['turned'] != seen['start'] == seen['back'] and len(seen['turned']) == 3


MIDDLE = np.array([80.0, 100, 80])
ENDS = ('LR', 'PA', 'IS')  # of x to the patient's right, y to the front, z to the head


def assert_letters_are_right(views):
    """The letters of each view lie at the ends of what it shows, and on the screen as a patient has
    these sides from where he is seen."""
    for letters in views:
        low, high = np.array(letters['reach']).T
        for k, ends in enumerate(ENDS):
            lower, upper = (np.array(letters['points'][letter]) for letter in ends)
            assert lower[k] < low[k] < high[k] < upper[k]
            for end in (lower, upper):
                assert np.delete(end, k) == pytest.approx(np.delete((low + high) / 2, k), abs=0.01)
        for screen in letters['screens']:
            assert_screen_is_right(np.array(screen['eye']), screen['at'])


def assert_screen_is_right(eye, at):
    """``at``: letters on the screen, x to the right, y down, of a camera that looks from ``eye`` at
    the middle, the patient's head up."""
    right = np.cross(-eye, (0, 0, 1))
    up = np.cross(right, -eye)
    assert sorted(at) == sorted('RLAPSI')
    for k, (lower, upper) in enumerate(ENDS):
        moved = np.subtract(at[upper], at[lower]) * (1, -1)
        meant = np.array([way[k] / np.linalg.norm(way) for way in (right, up)])
        clear = np.abs(meant) > 0.3
        assert (np.sign(moved) == np.sign(meant))[clear].all(), (lower, upper, eye)


def test_the_letters_of_the_patients_sides_are_right_from_everywhere(seen):
    assert len(seen['letters']) == 2
    assert_letters_are_right(seen['letters'])


def test_slices_move_through_the_scan(page, seen):
    assert seen['slices'] == [True] * 3
    moved = seen['moved']
    assert moved['z'] == pytest.approx(moved['said'], abs=0.51)
    corners = page[1].grid.corners_mm()
    low, high = corners[:, 2].min(), corners[:, 2].max()
    assert low < moved['z'] < high and moved['lightest'] - moved['darkest'] > 50


def test_the_mean_moves_along_its_modes_and_to_the_patient(page, seen):
    shapes, first = seen['shapes'], page[1].shapes[0]
    kept, modes = thin(first.mesh, 2).kept[:3], first.modes
    assert np.array(shapes['mean']) == pytest.approx(modes.mean[kept], abs=0.002)
    moved = modes.mean[kept] + 1.5 * modes.displacements[0][kept]
    assert np.array(shapes['first']) == pytest.approx(moved, abs=0.005)
    assert shapes['values'] == pytest.approx(first.z_scores[:3].tolist(), abs=0.03)
    assert shapes['back'] == shapes['mean']
    assert shapes['across'] == pytest.approx(3**0.5), 'no larger than the cube that the view shows'
    rest = first.modes.instance(np.array(shapes['values'])) - first.world_vertices
    kept = thin(first.mesh, 2).kept
    left = np.linalg.norm(rest[kept], axis=1).mean()
    assert float(shapes['distance'].removesuffix(' mm')) == pytest.approx(left, abs=0.06)
    for mark, z in zip(shapes['marks'], first.z_scores, strict=False):
        assert float(mark.removeprefix('patient ').replace('−', '-')) == pytest.approx(z, abs=0.051)


def test_a_long_name_makes_no_page_wider(tmp_path):
    in_words = shape('an_anatomy_of_which_somebody_wrote_down_all_that_is_known', MIDDLE, steps=8)
    in_one = shape('one_' + 60 * 'n', MIDDLE, steps=8)
    write_report(tmp_path / 'report.html', 80 * 'n', result(in_words, in_one))
    for width in (1400, 420):
        seen = checked(tmp_path / 'report.html', width, tmp_path)
        assert seen['errors'] == [] and seen['wide'], width


def test_it_prints(page, tmp_path):
    browse(page[0], 1400, f'--print-to-pdf={tmp_path / "page.pdf"}')
    assert (tmp_path / 'page.pdf').read_bytes()[:5] == b'%PDF-'


def test_a_test_run_is_a_page_of_surfaces_coloured_by_their_distance(fitted, tmp_path):
    config, folder = fitted
    config.dump(tmp_path / 'trained.py')
    words = [str(tmp_path / 'trained.py'), str(folder / FITTED)]
    work = ['--work-dir', str(tmp_path / 'work')]
    assert run_command('test', [*words, *work, '--report']) == 0
    report = tmp_path / 'work/report'
    assert matplotlib.image.imread(report / 'heat_maps.png').std() > 0.05
    seen = checked(report / 'report.html', 1400, tmp_path)
    rows = json.loads((tmp_path / 'work/test/metrics.json').read_text())['anatomies']
    assert seen['errors'] == [] and seen['hidden'] and seen['wide']
    assert_letters_are_right(seen['letters'])
    assert seen['views'] == len(seen['letters']) == 2
    assert seen['rows'] == len(rows) + 1 and seen['shapes'] is None
    assert seen['painted'] == seen['coloured'] > 0


def test_it_needs_no_other_file_and_no_network(page):
    text = page[0].read_text(encoding='utf-8')
    assert 'Patient &lt;1&gt; &amp; &quot;co&quot;' in text
    assert not re.search(r'<(script|img|link)[^>]+(src|href)="(?!data:)', text)


def test_warnings_come_first(tiny_source, model_directory, tmp_path):
    from massm.io.nifti import read_volume

    volume, grid = read_volume(tiny_source / 's0001/ct.nii.gz')
    keen = MASSMInferencer(model_directory, score_threshold=0.0)
    # Where a small network puts what it sees half of is nobody's promise: one of the cuts will do.
    cuts = (keen((volume[:count], _cut(grid, count)))[0] for count in range(14, 34, 2))
    found = next(f for f in cuts if any(s.status.value == 'truncated' for s in f.shapes))
    write_report(tmp_path / 'report.html', 'cut', found)
    text = (tmp_path / 'report.html').read_text(encoding='utf-8')
    assert 'Look at these first' in text
    assert text.index('Look at these first') < text.index('id="scene"') < text.index('id="shapes"')


def _cut(grid, count):
    from massm.structures import Grid

    return Grid((count, *grid.shape[1:]), grid.affine)
