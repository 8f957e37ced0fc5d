"""The report in a real browser: Debian's chromium, without a window."""

import re
import shutil
import subprocess

import pytest

from massm.apis.inferencer import MASSMInferencer
from massm.visualization.report import write_report

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')

CHECK = """
<script>
const errors = [];
window.onerror = (message) => errors.push(message);
window.addEventListener('load', () => setTimeout(() => {
  const scene = document.getElementById('scene');
  const box = document.querySelector('input[data-trace="0"]');
  const before = scene.data[0].visible;
  box.click();
  const hidden = scene.data[0].visible === false;
  document.querySelector('input[value=deviation]').click();
  const coloured = Array.from(scene.data[0].intensity || []).length;
  document.querySelector('input[value=anatomy]').click();
  document.title = JSON.stringify({
    errors, hidden, coloured, before: before !== false,
    rows: document.querySelectorAll('#measures tbody tr').length,
    boxes: document.querySelectorAll('input[data-trace]').length,
    wide: document.documentElement.scrollWidth <= window.innerWidth + 1,
  });
}, 3000));
</script>
"""


@pytest.fixture(scope='module')
def page(tiny_source, model_directory, tmp_path_factory):
    result = MASSMInferencer(model_directory)(tiny_source / 's0001/ct.nii.gz')[0]
    path = tmp_path_factory.mktemp('report') / 'report.html'
    write_report(path, 'Patient <1> & "co"', result)
    return path, result


def browse(page, width):
    command = [
        CHROMIUM, '--headless=new', '--no-sandbox', '--use-angle=swiftshader', '--disable-gpu',
        '--enable-unsafe-swiftshader', '--host-resolver-rules=MAP * ~NOTFOUND',
        f'--window-size={width},1200', '--virtual-time-budget=20000', '--dump-dom', f'file://{page}',
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, encoding='utf-8', timeout=180).stdout


@pytest.mark.parametrize('width', [1400, 500])
def test_it_loads_toggles_and_lists_every_anatomy(page, width, tmp_path):
    import html
    import json

    if CHROMIUM is None:
        pytest.skip('no chromium here: apt-get install chromium')
    path, result = page
    text = path.read_text(encoding='utf-8').replace('<head>', '<head>' + CHECK.strip(), 1)
    (tmp_path / 'checked.html').write_text(text, encoding='utf-8')
    shown = re.search(r'<title>(.*?)</title>', browse(tmp_path / 'checked.html', width), re.S)
    seen = json.loads(html.unescape(shown.group(1)))
    found = sum(shape.is_present for shape in result.shapes)
    assert seen['errors'] == [] and seen['before'] and seen['hidden'] and seen['wide']
    assert seen['rows'] == len(result.shapes) and seen['boxes'] == found
    first = next(shape for shape in result.shapes if shape.is_present)
    assert seen['coloured'] == len(first.mesh.vertices)


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
