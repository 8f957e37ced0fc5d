"""The reports in a real browser: Debian's chromium, without a window."""

import html
import json
import re
import shutil
import subprocess

import matplotlib.image
import pytest

from massm.cli import run_command
from massm.inference.inferencer import MASSMInferencer
from massm.visualization.report import write_report
from tests.conftest import FITTED

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')

CHECK = """
<script>
const errors = [];
window.onerror = (message) => errors.push(message);
window.addEventListener('load', () => setTimeout(() => {
  const view = document.querySelector('.view');
  const scene = document.getElementById(view.dataset.scene);
  const box = view.querySelector('input[data-trace="0"]');
  const before = scene.data[0].visible;
  box.click();
  const hidden = scene.data[0].visible === false;
  const painted = Array.from(scene.data[0].intensity || []).length;
  view.querySelector('input[value="0"]').click();
  const coloured = Array.from(scene.data[0].intensity || []).length;
  view.querySelector('input[value=anatomy]').click();
  const eye = () => Object.values((scene.layout.scene.camera || {}).eye || {});
  const start = eye();
  scene.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft' }));
  document.title = JSON.stringify({
    errors, hidden, painted, coloured, before: before !== false, start, turned: eye(),
    views: document.querySelectorAll('.view').length,
    rows: document.querySelectorAll('#measures tbody tr').length,
    boxes: document.querySelectorAll('input[data-trace]').length,
    wide: document.documentElement.scrollWidth <= window.innerWidth + 1,
  });
}, 1000));
</script>
"""


@pytest.fixture(scope='module')
def page(tiny_source, model_directory, tmp_path_factory):
    result = MASSMInferencer(model_directory)(tiny_source / 's0001/ct.nii.gz')[0]
    path = tmp_path_factory.mktemp('report') / 'report.html'
    write_report(path, 'Patient <1> & "co"', result)
    return path, result


def browse(page, width, *extra):
    if CHROMIUM is None:
        pytest.skip('no chromium here: apt-get install chromium')
    command = [
        CHROMIUM, '--headless=new', '--no-sandbox', '--use-angle=swiftshader', '--disable-gpu',
        '--enable-unsafe-swiftshader', '--host-resolver-rules=MAP * ~NOTFOUND',
        f'--window-size={width},1200', '--virtual-time-budget=5000', *extra, f'file://{page}',
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, encoding='utf-8', timeout=180).stdout


def checked(path, width, folder):
    """What :data:`CHECK` sees and does in the page."""
    text = path.read_text(encoding='utf-8').replace('<head>', '<head>' + CHECK.strip(), 1)
    (folder / 'checked.html').write_text(text, encoding='utf-8')
    dumped = browse(folder / 'checked.html', width, '--dump-dom')
    shown = re.search(r'<title>(.*?)</title>', dumped, re.S)
    return json.loads(html.unescape(shown.group(1)))


@pytest.mark.parametrize('width', [1400, 500])
def test_it_loads_toggles_turns_and_lists_every_anatomy(page, width, tmp_path):
    path, result = page
    seen = checked(path, width, tmp_path)
    found = sum(shape.is_present for shape in result.shapes)
    assert seen['errors'] == [] and seen['before'] and seen['hidden'] and seen['wide']
    assert seen['rows'] == len(result.shapes) and seen['boxes'] == found
    first = next(shape for shape in result.shapes if shape.is_present)
    assert seen['painted'] == 0 and seen['coloured'] == len(first.mesh.vertices)
    assert seen['turned'] != seen['start'] and len(seen['turned']) == 3


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
    assert seen['views'] == 2 and seen['rows'] == len(rows) + 1
    assert seen['painted'] == seen['coloured'] > 0


def test_it_needs_no_other_file_and_no_network(page):
    text = page[0].read_text(encoding='utf-8')
    assert 'Patient &lt;1&gt; &amp; &quot;co&quot;' in text
    own = re.sub(r'<script type="text/javascript">/\*\*.*?</script>', '', text, flags=re.S)
    assert not re.search(r'<(script|img|link)[^>]+(src|href)="(?!data:)', own)


def test_warnings_come_first(tiny_source, model_directory, tmp_path):
    from massm.io.nifti import read_volume

    volume, grid = read_volume(tiny_source / 's0001/ct.nii.gz')
    result = MASSMInferencer(model_directory, score_threshold=0.0)((volume[:20], _cut(grid, 20)))[0]
    write_report(tmp_path / 'report.html', 'cut', result)
    text = (tmp_path / 'report.html').read_text(encoding='utf-8')
    truncated = [s for s in result.shapes if s.status.value == 'truncated']
    assert truncated and 'Look at these first' in text
    assert text.index('Look at these first') < text.index('id="scene"')


def _cut(grid, count):
    from massm.structures import Grid

    return Grid((count, *grid.shape[1:]), grid.affine)
