"""MASSM in 3D Slicer: the loaded volume goes through an installed ``massm infer``; segmentation,
points, surfaces and shape scores come back into the scene.

Slicer's own Python needs nothing installed: MASSM runs as a program of its own, in its own
environment. Scene coordinates are RAS, as are MASSM's results; markups files are LPS and say so.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import ctk
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

INPUT_NAME = 'input'  # of the exported volume, hence of the folder of its result
RESULT_FORMAT, RESULT_VERSION = 'massm-result', 2
DEVICES = ('', 'cpu', 'cuda')
MODES_SHOWN = 3
# Columns of the table of scores: heading, key in result.json.
NUMBERS = (
    ('score', 'score'),
    ('seen share', 'seen_share'),
    ('volume ml', 'volume_ml'),
    ('surface cm2', 'surface_cm2'),
    ('uncertainty mm', 'uncertainty_mm'),
    ('Mahalanobis', 'mahalanobis'),
)


class MASSM(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = 'MASSM'
        parent.categories = ['Segmentation']
        parent.dependencies = []
        parent.contributors = ['MASSM developers']
        parent.helpText = (
            'Finds anatomies in a CT or MR and gives each as corresponding surface points, mask, '
            'surface and shape scores. Needs MASSM installed: pip install . in its folder. Not for '
            'diagnosis.'
        )
        parent.acknowledgementText = 'After Ukey, Kataria, Elhabian, arXiv 2403.11008.'


def infer_command(program, image, out, model, device='', surfaces=False):
    """The words of the command line.

    Args:
        program: path of ``massm``.
        image, out: file to read, folder to write.
        model: name or folder; empty for the only one there is.
        device: ``cpu``, ``cuda`` or empty for what there is.
        surfaces: meshes too (VTK's format, which keeps values per vertex).
    """
    formats = ['labels', 'markups', *(['vtk'] if surfaces else [])]
    words = [str(program), 'infer', str(image), '--out', str(out), '--json', '--formats', *formats]
    words += ['--model', str(model)] if model else []
    return words + (['--device', device] if device else [])


def models_command(program):
    """The words that list the models."""
    return [str(program), 'models', '--json']


def parse_models(text):
    """``(name, description)`` of every model that can be read, from what ``massm models`` prints.

    Raises:
        ValueError: there is no list in it.
    """
    start = text.find('{')
    if start < 0:
        raise ValueError('massm models printed no list; is this an older version?')
    listed, _end = json.JSONDecoder().raw_decode(text[start:])
    return [
        (m['name'], f'{m["modality"].upper()}, {len(m["anatomies"])} anatomies, {m["licence"]}')
        for m in listed['models']
        if 'error' not in m
    ]


def read_result(folder):
    """The contents of ``result.json``.

    Raises:
        ValueError: it is of another version, or in another frame.
    """
    result = json.loads((Path(folder) / 'result.json').read_text(encoding='utf-8'))
    if (result['format'], result['version']) != (RESULT_FORMAT, RESULT_VERSION):
        raise ValueError(
            f'{folder}: is {result["format"]} {result["version"]}, this module reads '
            f'{RESULT_FORMAT} {RESULT_VERSION}; update MASSM and this module together'
        )
    if 'RAS' not in result['frame']:
        raise ValueError(f'{folder}: is in {result["frame"]}, this module reads RAS')
    return result


def score_rows(result):
    """Headings, and a row of texts for each anatomy; cells are empty where nothing is known."""
    modes = [f'z of mode {i + 1}' for i in range(MODES_SHOWN)]
    headings = ['anatomy', 'status', *(heading for heading, _key in NUMBERS), *modes, 'remark']
    rows = []
    for name, found in result['anatomies'].items():
        scores = [*found.get('z_scores', [])[:MODES_SHOWN], *[None] * MODES_SHOWN][:MODES_SHOWN]
        numbers = [found.get(key) for _heading, key in NUMBERS] + scores
        cells = ['' if number is None else f'{number:.2f}' for number in numbers]
        rows.append([plain(name), found['status'], *cells, found['reason']])
    return headings, rows


def plain(name):
    """An anatomy's name as people write it."""
    return name.replace('_', ' ')


def last_line(text):
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ''


class CancelledError(Exception):
    """The user has cancelled."""


class MASSMLogic(ScriptedLoadableModuleLogic):
    """Runs MASSM and brings results into the scene; knows no widgets."""

    def models(self, program, models_folder='', *watch):
        """Names and descriptions of the models that ``program`` knows; ``watch`` as of :meth:`run`.

        Raises:
            RuntimeError: it cannot be run.
            ValueError: what it prints is no list of models.
            CancelledError: the user has cancelled.
        """
        code, output, errors = self.run(models_command(program), models_folder, *watch)
        if '{' not in output:
            raise RuntimeError(last_line(errors) or f'{program}: ended with {code}')
        return parse_models(output)

    def process(
        self, volume, program, model='', device='', surfaces=False, models_folder='', **watch
    ):
        """Infers the volume and loads what comes; ``watch`` as of :meth:`run`.

        Returns:
            The nodes (segmentation, points, surfaces, table of scores) and what MASSM warns of.

        Raises:
            RuntimeError: MASSM says why not.
            CancelledError: the user has cancelled; nothing was loaded.
        """
        folder = Path(tempfile.mkdtemp(prefix='massm-slicer-'))
        try:
            image = folder / f'{INPUT_NAME}.nii.gz'
            # Saved, the volume would belong to the file, which is deleted below.
            if not slicer.util.exportNode(volume, str(image)):
                raise RuntimeError(f'{volume.GetName()}: cannot be written to {image}')
            command = infer_command(program, image, folder / 'out', model, device, surfaces)
            code, _output, errors = self.run(command, models_folder, **watch)
            if code != 0:
                raise RuntimeError(last_line(errors) or f'{program}: ended with {code}')
            return self.load(folder / 'out' / INPUT_NAME, volume)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, command, models_folder='', progress=lambda line: None, cancelled=lambda: False):
        """Runs a command outside of Slicer's Python while the window stays alive.

        Args:
            progress: called with the last line written, again and again.
            cancelled: asked again and again; true ends the command.

        Returns:
            Exit code, output, error stream.
        """
        environment = dict(slicer.util.startupEnvironment(), PYTHONIOENCODING='utf-8')
        if models_folder:
            environment['MASSM_MODELS'] = str(models_folder)
        # Without a console window where there would be one.
        flags = getattr(subprocess, 'CREATE_NO_WINDOW', 0)
        with tempfile.TemporaryDirectory(prefix='massm-slicer-') as folder:
            paths = [Path(folder) / name for name in ('output', 'errors')]
            with paths[0].open('wb') as output, paths[1].open('wb') as errors:
                try:
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=errors,
                        env=environment,
                        creationflags=flags,
                    )
                except OSError as error:
                    raise RuntimeError(
                        f'{command[0]}: cannot be run ({error.strerror}); name the massm program, '
                        'e.g. .venv/bin/massm'
                    ) from error
                self._wait(process, paths, progress, cancelled)
            texts = [path.read_text(encoding='utf-8', errors='replace') for path in paths]
        return (process.returncode, *texts)

    @staticmethod
    def _wait(process, paths, progress, cancelled):
        try:
            while process.poll() is None:
                slicer.app.processEvents()
                written = [path.read_text(encoding='utf-8', errors='replace') for path in paths]
                progress(last_line(written[1]) or last_line(written[0]))
                if cancelled():
                    raise CancelledError
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def load(self, folder, volume):
        """Loads a folder of results; all of it moves with the volume's transform. Returns as
        :meth:`process` does."""
        folder = Path(folder)
        result = read_result(folder)
        name = volume.GetName()
        segmentation = self._segmentation(folder, f'{name} anatomies', volume)
        nodes = [segmentation]
        for anatomy, found in result['anatomies'].items():
            color = self._color(segmentation, plain(anatomy))
            if 'markups' in found:
                nodes.append(self._points(folder / found['markups'], anatomy, color))
            if 'mesh' in found:
                nodes.append(self._surface(folder / found['mesh'], anatomy, color))
        for node in nodes:
            node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        nodes.append(self._table(result, f'{name} shape scores'))
        return nodes, result['warnings']

    @staticmethod
    def _segmentation(folder, name, volume):
        colors = slicer.util.loadColorTable(str(folder / 'labels.ctbl'))
        labels = slicer.util.loadLabelVolume(str(folder / 'labels.nii.gz'))
        labels.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
        node = slicer.mrmlScene.AddNewNodeByClass('vtkMRMLSegmentationNode', name)
        node.CreateDefaultDisplayNodes()
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segments = node.GetSegmentation()
        for i in range(segments.GetNumberOfSegments()):
            segment = segments.GetNthSegment(i)
            segment.SetName(plain(segment.GetName()))
        slicer.mrmlScene.RemoveNode(labels)
        slicer.mrmlScene.RemoveNode(colors)
        return node

    @staticmethod
    def _color(segmentation, name):
        """Red, green, blue of the segment of this name; grey for one that has no voxel."""
        segments = segmentation.GetSegmentation()
        for i in range(segments.GetNumberOfSegments()):
            if segments.GetNthSegment(i).GetName() == name:
                return segments.GetNthSegment(i).GetColor()
        return (0.5, 0.5, 0.5)

    @staticmethod
    def _points(path, anatomy, color):
        """Local particles; the file says LPS, and Slicer turns it to RAS. They are the scene's and
        no longer the file's, which is deleted: the scene saves them, and to a place of its own."""
        node = slicer.util.loadMarkups(str(path))
        storage = node.GetStorageNode()
        if storage is not None:
            node.SetAndObserveStorageNodeID(None)
            slicer.mrmlScene.RemoveNode(storage)
        node.SetName(f'{plain(anatomy)} particles')
        display = node.GetDisplayNode()
        display.SetSelectedColor(*color)
        display.SetColor(*color)
        display.SetPointLabelsVisibility(False)
        return node

    @staticmethod
    def _surface(path, anatomy, color):
        """A surface, read here and not by Slicer's reader, which would take those of earlier
        versions, which do not tell their frame, for LPS."""
        reader = vtk.vtkPolyDataReader()
        reader.SetFileName(str(path))
        reader.ReadAllScalarsOn()
        reader.Update()
        node = slicer.modules.models.logic().AddModel(reader.GetOutput())
        node.SetName(f'{plain(anatomy)} surface')
        node.GetDisplayNode().SetColor(*color)
        node.GetDisplayNode().SetOpacity(0.6)
        return node

    @staticmethod
    def _table(result, name):
        headings, rows = score_rows(result)
        node = slicer.mrmlScene.AddNewNodeByClass('vtkMRMLTableNode', name)
        for i, heading in enumerate(headings):
            column = vtk.vtkStringArray()
            column.SetName(heading)
            for row in rows:
                column.InsertNextValue(row[i])
            node.AddColumn(column)
        node.SetUseColumnNameAsColumnHeader(True)
        return node


class MASSMWidget(ScriptedLoadableModuleWidget):
    """The module's panel."""

    def setup(self):
        """Builds the panel; Slicer calls it once."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = MASSMLogic()
        self.stop = False
        self.busy = False
        self._build_program()
        self._build_run()
        self.layout.addStretch(1)
        # Once the panel is shown: the program takes seconds to start.
        qt.QTimer.singleShot(0, self.refresh_models)

    def _build_program(self):
        form = self._section(_('Program'))
        known = qt.QSettings()
        self.program = ctk.ctkPathLineEdit()
        self.program.filters = ctk.ctkPathLineEdit.Files
        self.program.toolTip = _('The massm program, e.g. .venv/bin/massm')
        self.program.currentPath = known.value('MASSM/program', shutil.which('massm') or 'massm')
        self.folder = ctk.ctkPathLineEdit()
        self.folder.filters = ctk.ctkPathLineEdit.Dirs
        self.folder.toolTip = _('Folder of further models (MASSM_MODELS); may stay empty')
        self.folder.currentPath = known.value('MASSM/models', os.environ.get('MASSM_MODELS', ''))
        self.refresh = qt.QPushButton(_('Look for models'))
        self.refresh.connect('clicked(bool)', self.refresh_models)
        form.addRow(_('massm'), self.program)
        form.addRow(_('Models'), self.folder)
        form.addRow(self.refresh)

    def _build_run(self):
        form = self._section(_('Anatomies'))
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ['vtkMRMLScalarVolumeNode']
        self.volume.addEnabled = self.volume.removeEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        self.model = qt.QComboBox()
        self.device = qt.QComboBox()
        for device in DEVICES:
            self.device.addItem(device or _('what there is'), device)
        self.surfaces = qt.QCheckBox(_('load surfaces, too'))
        self.apply = qt.QPushButton(_('Find anatomies'))
        self.apply.connect('clicked(bool)', self.on_apply)
        self.cancel = qt.QPushButton(_('Cancel'))
        self.cancel.enabled = False
        self.cancel.connect('clicked(bool)', self.on_cancel)
        self.bar = qt.QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.visible = False
        self.status = qt.QLabel()
        self.status.wordWrap = True
        self.table = slicer.qMRMLTableView()
        form.addRow(_('Volume'), self.volume)
        form.addRow(_('Model'), self.model)
        form.addRow(_('Device'), self.device)
        form.addRow(self.surfaces)
        form.addRow(self.apply, self.cancel)
        form.addRow(self.bar)
        form.addRow(self.status)
        form.addRow(self.table)

    def _section(self, title):
        section = ctk.ctkCollapsibleButton()
        section.text = title
        self.layout.addWidget(section)
        return qt.QFormLayout(section)

    def refresh_models(self, *_args):
        """Fills the chooser from ``massm models``."""
        if self.busy:
            return
        program, folder = self.program.currentPath, self.folder.currentPath
        self._set_busy(True)
        try:
            found = self.logic.models(program, folder, self._show_progress, lambda: self.stop)
            self.model.clear()
            for name, described in found:
                self.model.addItem(f'{name} ({described})', name)
            self.status.text = '' if found else _('No model is known; name a folder of models.')
            qt.QSettings().setValue('MASSM/program', program)
            qt.QSettings().setValue('MASSM/models', folder)
        except CancelledError:
            self.status.text = ''
        except (RuntimeError, ValueError) as error:
            self.status.text = str(error)
        finally:
            self._set_busy(False)

    def on_cancel(self, *_args):
        """Ends the run that goes on."""
        self.stop = True

    def on_apply(self, *_args):
        """Infers the chosen volume."""
        volume = self.volume.currentNode()
        if volume is None:
            self.status.text = _('Load and choose a volume first.')
            return
        if self.busy:
            return
        self._set_busy(True)
        try:
            nodes, warnings = self.logic.process(
                volume,
                self.program.currentPath,
                self.model.currentData or '',
                self.device.currentData or '',
                self.surfaces.checked,
                self.folder.currentPath,
                progress=self._show_progress,
                cancelled=lambda: self.stop,
            )
            self.table.setMRMLTableNode(nodes[-1])
            done = _('Done: look at remarks and low scores first. Not for diagnosis.')
            self.status.text = '\n'.join([done, *warnings])
        except CancelledError:
            self.status.text = _('Cancelled; nothing was loaded.')
        except (RuntimeError, ValueError, OSError) as error:
            self.status.text = str(error)
        finally:
            self._set_busy(False)

    def _show_progress(self, line):
        self.status.text = line or _('MASSM starts')

    def _set_busy(self, busy):
        self.busy = busy
        self.stop = False
        self.apply.enabled = not busy
        self.cancel.enabled = busy
        self.bar.visible = busy

    def cleanup(self):
        """Slicer closes the panel: a run that goes on ends."""
        self.stop = True


class MASSMTest(ScriptedLoadableModuleTest):
    """Run in Slicer (Reload and Test): where do results land in a real scene?"""

    def runTest(self):  # noqa: N802  Slicer's name
        """Runs the tests, each in an empty scene."""
        slicer.mrmlScene.Clear(0)
        self.test_results_lie_where_the_patient_is()

    def test_results_lie_where_the_patient_is(self):
        """A made-up result on a flipped, anisotropic volume: all of it at one place."""
        import numpy as np

        axes = vtk.vtkMatrix4x4()
        rows = ((0, -3, 0, 40), (-2, 0, 0, 30), (0, 0, 4, -20), (0, 0, 0, 1))
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                axes.SetElement(i, j, value)
        labels = np.zeros((6, 7, 8), dtype=np.uint8)  # slices, rows, columns
        labels[2, 3, 4] = 1
        ras = [40 - 3 * 3, 30 - 2 * 4, -20 + 4 * 2]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            volume = slicer.mrmlScene.AddNewNodeByClass('vtkMRMLLabelMapVolumeNode', 'scan')
            volume.SetIJKToRASMatrix(axes)
            slicer.util.updateVolumeFromArray(volume, labels)
            slicer.util.exportNode(volume, str(folder / 'labels.nii.gz'))
            write_made_up_result(folder, ras)
            nodes, _warnings = MASSMLogic().load(folder, volume)
        segmentation, points, surface, table = nodes
        self.assertEqual(segmentation.GetSegmentation().GetNthSegment(0).GetName(), 'left lung')
        bounds = [0.0] * 6
        segmentation.GetRASBounds(bounds)
        middle = [(bounds[2 * i] + bounds[2 * i + 1]) / 2 for i in range(3)]
        place = [0.0] * 3
        points.GetNthControlPointPositionWorld(0, place)
        corner = surface.GetPolyData().GetPoint(0)
        for found in (middle, place, corner):
            for value, true in zip(found, ras):  # noqa: B905  Slicer's Python may be 3.9
                self.assertAlmostEqual(value, true, places=2)
        self.assertEqual(table.GetCellText(0, 0), 'left lung')
        self.delayDisplay('Test passed')


def write_made_up_result(folder, ras):
    """A result of one anatomy, one point and one triangle at ``ras``, without its label map."""
    x, y, z = ras
    control = {'id': '0', 'label': 'left_lung-0', 'position': [-x, -y, z]}
    markup = {'type': 'Fiducial', 'coordinateSystem': 'LPS', 'controlPoints': [control]}
    files = {
        'labels.ctbl': '0 background 0 0 0 0\n1 left_lung 255 0 0 255\n',
        'left_lung.mrk.json': json.dumps({'markups': [markup]}),
        'left_lung.vtk': '# vtk DataFile Version 3.0\nsurface\nASCII\nDATASET POLYDATA\n'
        f'POINTS 3 float\n{x} {y} {z}\n{x + 1} {y} {z}\n{x} {y + 1} {z}\nPOLYGONS 1 4\n3 0 1 2\n',
        'result.json': json.dumps(
            {
                'format': RESULT_FORMAT,
                'version': RESULT_VERSION,
                'frame': 'patient mm, RAS+',
                'warnings': [],
                'anatomies': {
                    'left_lung': {
                        'status': 'ok',
                        'score': 0.9,
                        'reason': '',
                        'markups': 'left_lung.mrk.json',
                        'mesh': 'left_lung.vtk',
                    }
                },
            }
        ),
    }
    for name, text in files.items():
        (Path(folder) / name).write_text(text, encoding='utf-8')
