"""The Slicer module outside of Slicer: stand-ins for its modules, VTK as it is."""

import argparse
import importlib.util
import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pytest
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from massm.cli import run_command
from massm.io.meshes import write_mesh
from massm.io.slicer import read_markups, write_color_table, write_markups
from tests.conftest import ROOT, make_blob

PLACE = np.array([40.0, -25.0, 90.0])
PROGRAM = """#!{python}
import json, os, shutil, sys, time
words = sys.argv[1:]
if words[0] == 'models':
    print('a warning of a library')
    names = os.listdir(os.environ['MASSM_MODELS'])
    known = dict(modality='ct', anatomies=['a', 'b'], licence='MIT')
    models = [dict(name=name, **known) for name in sorted(names)] + [dict(name='x', error='broken')]
    print(json.dumps(dict(folders=[], models=models)))
    sys.exit(1)
assert os.path.getsize(words[1]) and 'PYTHONHOME' not in os.environ
print('reading', file=sys.stderr, flush=True)
time.sleep({seconds})
if '{fault}':
    print('Traceback, first', '{fault}', sep='\\n', file=sys.stderr)
    sys.exit(1)
shutil.copytree('{result}', words[words.index('--out') + 1] + '/input')
"""


class FakeToolkit(ModuleType):
    """Any widget, another one each time."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return MagicMock(side_effect=lambda *args: MagicMock())


class FakeSegments:
    """A segmentation whose segments are those of a colour table."""

    def __init__(self):
        self.segments = []

    def fill(self, table):
        for line in table.splitlines():
            label, name, *color = line.split()
            if label not in '#0':
                segment = MagicMock()
                segment.name = name
                segment.GetName.side_effect = lambda s=segment: s.name
                segment.SetName.side_effect = lambda n, s=segment: setattr(s, 'name', n)
                segment.GetColor.return_value = tuple(int(c) / 255 for c in color[:3])
                self.segments.append(segment)

    def GetNumberOfSegments(self):
        return len(self.segments)

    def GetNthSegment(self, i):
        return self.segments[i]


class FakeSlicer(ModuleType):
    """What of Slicer the module uses, keeping what it was given."""

    def __init__(self):
        super().__init__('slicer')
        self.nodes, self.points, self.surfaces, self.columns = [], {}, [], []
        self.app, self.mrmlScene, self.modules = MagicMock(), MagicMock(), MagicMock()
        self.qMRMLNodeComboBox, self.qMRMLTableView = MagicMock(), MagicMock()
        self.mrmlScene.AddNewNodeByClass.side_effect = self.add
        self.modules.models.logic().AddModel.side_effect = self.add_model
        segmentations = self.modules.segmentations.logic()
        segmentations.ImportLabelmapToSegmentationNode.side_effect = self.import_labels
        self.util = ModuleType('slicer.util')
        self.util.startupEnvironment = lambda: {
            k: v for k, v in os.environ.items() if k != 'PYTHONHOME'
        }
        self.util.exportNode = self.export
        self.util.loadColorTable = self.load_colors
        self.util.loadLabelVolume = lambda path: MagicMock(path=path)
        self.util.loadMarkups = self.load_markups

    def add(self, kind, name=''):
        node = MagicMock(kind=kind)
        node.GetSegmentation.return_value = FakeSegments()
        node.AddColumn.side_effect = self.columns.append
        self.nodes.append(node)
        return node

    def add_model(self, polydata):
        self.surfaces.append(vtk_to_numpy(polydata.GetPoints().GetData()))
        self.scalars = polydata.GetPointData().GetNumberOfArrays()
        return self.add('model')

    def load_colors(self, path):
        self.colors = Path(path).read_text(encoding='utf-8')
        return MagicMock()

    def import_labels(self, labels, node):
        node.GetSegmentation().fill(self.colors)

    def load_markups(self, path):
        """As Slicer: to RAS from whichever system the file names."""
        self.points[Path(path).name] = read_markups(Path(path))
        node = self.add('markups')
        node.storage = MagicMock(path=path)
        node.GetStorageNode.side_effect = lambda: node.storage
        node.SetAndObserveStorageNodeID.side_effect = lambda name: setattr(node, 'storage', name)
        return node

    def export(self, node, path):
        """As Slicer: the node keeps its own file. (``saveNode`` would give it this one.)"""
        Path(path).write_bytes(b'a volume')
        return True


@pytest.fixture
def slicer(monkeypatch):
    fake = FakeSlicer()
    monkeypatch.setitem(sys.modules, 'slicer', fake)
    monkeypatch.setitem(sys.modules, 'slicer.util', fake.util)
    i18n, base = ModuleType('slicer.i18n'), ModuleType('slicer.ScriptedLoadableModule')
    i18n.tr = lambda text: text
    for name in ('', 'Logic', 'Widget', 'Test'):
        setattr(base, f'ScriptedLoadableModule{name}', type(f'Base{name}', (), {}))
    base.ScriptedLoadableModule.__init__ = lambda self, parent: None
    base.ScriptedLoadableModuleWidget.setup = lambda self: setattr(self, 'layout', MagicMock())
    monkeypatch.setitem(sys.modules, 'slicer.i18n', i18n)
    monkeypatch.setitem(sys.modules, 'slicer.ScriptedLoadableModule', base)
    for name in ('qt', 'ctk'):
        monkeypatch.setitem(sys.modules, name, FakeToolkit(name))
    return fake


@pytest.fixture
def module(slicer):
    spec = importlib.util.spec_from_file_location('MASSM', ROOT / 'projects/slicer/MASSM/MASSM.py')
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def volume():
    node = MagicMock()
    node.GetName.return_value = 'scan'
    node.GetTransformNodeID.return_value = 'tilt'
    return node


@pytest.fixture
def result(tmp_path, blob):
    """A folder of results as massm writes them, of one anatomy that was found and one that was
    not."""
    folder = tmp_path / 'result'
    points = blob.vertices[::9] + PLACE
    write_markups(folder / 'markups/left_lung.mrk.json', 'left_lung', points, points[:, 0] > 0)
    surface = blob.with_vertices(blob.vertices + PLACE)
    write_mesh(folder / 'meshes/left_lung.vtk', surface, {'deviation_mm': blob.vertices[:, 0]})
    colors = np.array([[1.0, 0.2, 0], [0, 1.0, 0.4]])
    write_color_table(folder / 'labels.ctbl', ['left_lung', 'heart'], colors)
    found = {
        'status': 'ok',
        'score': 0.83,
        'reason': '',
        'volume_ml': 812.4,
        'mahalanobis': 1.31,
        'z_scores': [0.5, -1.25],
        'markups': 'markups/left_lung.mrk.json',
        'mesh': 'meshes/left_lung.vtk',
    }
    absent = {'status': 'absent', 'score': 0.02, 'reason': 'score below the threshold'}
    entries = {'left_lung': found, 'heart': absent}
    whole = {'format': 'massm-result', 'version': 2, 'frame': 'patient mm, RAS+'}
    whole['warnings'] = ['left and right may be exchanged']
    (folder / 'result.json').write_text(json.dumps({**whole, 'anatomies': entries}))
    return folder


@pytest.fixture
def program(tmp_path, result, monkeypatch):
    """``program(seconds, fault)``: a small program in massm's place."""
    monkeypatch.setenv('PYTHONHOME', '/of/slicer')

    def make(seconds=0, fault=''):
        text = PROGRAM.format(python=sys.executable, seconds=seconds, fault=fault, result=result)
        path = tmp_path / 'massm'
        path.write_text(text, encoding='utf-8')
        path.chmod(0o755)
        return str(path)

    return make


def parsed(words):
    from massm.commands import infer

    parser = argparse.ArgumentParser()
    infer.add_arguments(parser)
    return parser.parse_args(words)


def test_the_command_line_is_one_that_infer_takes(module):
    words = module.infer_command('/opt/massm', '/t/input.nii.gz', '/t/out', 'thorax', 'cpu', True)
    assert words[:2] == ['/opt/massm', 'infer']
    args = parsed(words[2:])
    assert str(args.model) == 'thorax' and args.device == 'cpu' and str(args.out) == '/t/out'
    assert args.formats == ['labels', 'markups', 'vtk'] and args.json
    args = parsed(module.infer_command('massm', 'input.nii.gz', 'out', '')[2:])
    assert args.model is None and args.device is None and args.formats == ['labels', 'markups']


def test_the_list_of_models_is_the_one_that_massm_gives(module, tmp_path, monkeypatch, capsys):
    metadata = {'format': 'massm-model', 'version': 2, 'anatomies': ['a', 'b'], 'spacing_mm': 4}
    metadata |= {'modality': 'mr', 'accuracy': None, 'licence': 'MIT'}
    for name, text in (('brains', json.dumps(metadata)), ('broken', '{')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'metadata.json').write_text(text, encoding='utf-8')
    monkeypatch.setenv('MASSM_MODELS', str(tmp_path))
    run_command('models', module.models_command('massm')[2:])
    listed = module.parse_models(capsys.readouterr().out)
    assert ('brains', 'MR, 2 anatomies, MIT') in listed
    assert 'broken' not in [name for name, _ in listed]
    with pytest.raises(ValueError, match='printed no list'):
        module.parse_models('usage: massm')


def test_versions_of_results_go_together(module, result):
    from massm.inference.earlier_results import RESULT_FORMAT
    from massm.inference.result_files import RESULT_VERSION

    assert (module.RESULT_FORMAT, module.RESULT_VERSION) == (RESULT_FORMAT, RESULT_VERSION)
    contents = json.loads((result / 'result.json').read_text())
    (result / 'result.json').write_text(json.dumps({**contents, 'version': 3}))
    with pytest.raises(ValueError, match='is massm-result 3, this module reads massm-result 2'):
        module.read_result(result)


def test_points_and_surface_lie_where_the_patient_is(module, slicer, volume, result):
    nodes, _ = module.MASSMLogic().load(result, volume)
    true = make_blob().vertices + PLACE
    (points,) = slicer.points.values()
    assert np.allclose(points, true[::9], atol=1e-3)
    assert np.allclose(slicer.surfaces[0], true, atol=1e-3) and slicer.scalars == 1
    for node in nodes[:3]:
        node.SetAndObserveTransformNodeID.assert_called_with('tilt')
    segments = nodes[0].GetSegmentation().segments
    assert [s.name for s in segments] == ['left lung', 'heart']
    assert nodes[1].GetDisplayNode().SetColor.call_args.args == pytest.approx((1, 0.2, 0), abs=0.01)


def test_the_table_has_what_is_known_and_nothing_else(module, slicer, volume, result):
    module.MASSMLogic().load(result, volume)
    table = {
        c.GetName(): [c.GetValue(i) for i in range(c.GetNumberOfValues())] for c in slicer.columns
    }
    assert table['anatomy'] == ['left lung', 'heart'] and table['status'] == ['ok', 'absent']
    assert table['score'] == ['0.83', '0.02'] and table['volume ml'] == ['812.40', '']
    assert table['z of mode 2'] == ['-1.25', ''] and table['z of mode 3'] == ['', '']
    assert table['remark'][1] == 'score below the threshold'


def test_a_run_tells_what_goes_on_and_brings_the_result(module, slicer, volume, program):
    told = []
    nodes, warnings = module.MASSMLogic().process(
        volume, program(0.5), 'thorax', surfaces=True, progress=told.append
    )
    assert len(nodes) == 4 and 'reading' in told
    assert warnings == ['left and right may be exchanged']
    volume.SetAndObserveStorageNodeID.assert_not_called()
    assert nodes[1].kind == 'markups' and nodes[1].GetStorageNode() is None
    removed = [call.args[0] for call in slicer.mrmlScene.RemoveNode.call_args_list]
    assert [n.path for n in removed if str(n.path).endswith('left_lung.mrk.json')]
    assert slicer.app.processEvents.call_count > 2


def test_what_massm_says_is_told(module, slicer, volume, program):
    with pytest.raises(RuntimeError, match=r'^error: ct\.nii\.gz: no air in the image$'):
        module.MASSMLogic().process(volume, program(0, 'error: ct.nii.gz: no air in the image'))
    with pytest.raises(RuntimeError, match='/no/massm: cannot be run'):
        module.MASSMLogic().process(volume, '/no/massm')
    assert not slicer.nodes


def test_a_cancelled_run_ends_at_once_and_loads_nothing(module, slicer, volume, program):
    began = time.monotonic()
    with pytest.raises(module.CancelledError):
        module.MASSMLogic().process(volume, program(300), cancelled=lambda: True)
    assert time.monotonic() - began < 100 and not slicer.nodes


@pytest.fixture
def widget(module, slicer, program, tmp_path):
    (tmp_path / 'models/thorax').mkdir(parents=True)
    panel = module.MASSMWidget()
    panel.setup()
    panel.program.currentPath, panel.folder.currentPath = program(), str(tmp_path / 'models')
    panel.model.currentData = panel.device.currentData = ''
    return panel


def test_the_panel_lists_models(widget):
    widget.refresh_models()
    widget.model.addItem.assert_called_with('thorax (CT, 2 anatomies, MIT)', 'thorax')
    assert widget.status.text == '' and not widget.busy
    widget.program.currentPath = '/no/massm'
    widget.refresh_models()
    assert '/no/massm: cannot be run' in widget.status.text and widget.apply.enabled


def test_the_panel_runs_and_says_what_is_missing(widget, volume, program):
    widget.volume.currentNode.return_value = None
    widget.on_apply()
    assert 'choose a volume' in widget.status.text
    widget.volume.currentNode.return_value = volume
    widget.on_apply()
    done, warning = widget.status.text.split('\n')
    assert done.startswith('Done') and warning.startswith('left and right') and not widget.busy
    widget.table.setMRMLTableNode.assert_called_once()
    widget.program.currentPath = program(0, 'error: which model?')
    widget.on_apply()
    assert widget.status.text == 'error: which model?' and widget.apply.enabled


def test_what_the_test_in_slicer_makes_is_at_one_place(module, tmp_path):
    ras = [31.0, 22.0, -12.0]
    module.write_made_up_result(tmp_path, ras)
    assert np.allclose(read_markups(tmp_path / 'left_lung.mrk.json'), [ras])
    reader = vtk.vtkPolyDataReader()
    reader.SetFileName(str(tmp_path / 'left_lung.vtk'))
    reader.Update()
    assert np.allclose(reader.GetOutput().GetPoint(0), ras)
    assert module.read_result(tmp_path)['anatomies']['left_lung']['status'] == 'ok'


def test_results_of_a_real_inference_are_read(
    module, slicer, volume, model_directory, tiny_source, tmp_path
):
    image = tmp_path / 'input.nii.gz'
    shutil.copy(tiny_source / 's0001/ct.nii.gz', image)
    words = module.infer_command('massm', image, tmp_path / 'out', model_directory, '', True)
    assert run_command('infer', [*words[2:], '--score-threshold', '0']) == 0
    nodes, _ = module.MASSMLogic().load(tmp_path / 'out/input', volume)
    found = len(slicer.surfaces)
    assert found > 1 and len(nodes) == 2 * found + 2 and len(slicer.points) == found
    for points, surface in zip(slicer.points.values(), slicer.surfaces, strict=True):
        # Particles lie on their surface.
        gaps = np.linalg.norm(points[:, None] - surface[None], axis=-1).min(1)
        assert gaps.mean() < 5
