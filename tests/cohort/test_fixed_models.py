"""``build_pdm --fixed``: shapes that do not fit the model, and files of it that are broken."""

import json
import shutil

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.shape_folder import register_shapes
from massm.cohort.shape_summary import write_summary
from massm.cohort.surface_cohort import ShapeSource, read_cohort
from massm.errors import ShapeError
from massm.io.meshes import write_mesh
from massm.io.particles import write_particles
from massm.shape.correspondence_model import CorrespondenceModel
from massm.shape.population import PopulationSettings, serially
from massm.structures import Mesh
from tests.conftest import make_blob

CORNERS = [50, 300, 700]


def bent(amount: float) -> Mesh:
    blob = make_blob()
    return blob.with_vertices(blob.vertices * (1 + 0.1 * amount, 1, 1))


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """A model of three shapes without landmarks and one with three."""
    folder = tmp_path_factory.mktemp('models')
    settings = PopulationSettings(16, vertices=200, rounds=1)
    for name in ('bare', 'marked'):
        sources = []
        for i in range(3):
            mesh, marks = folder / f'm/s{i}.ply', folder / f'marks/s{i}.particles'
            write_mesh(mesh, bent(i - 1))
            write_particles(marks, bent(i - 1).vertices[CORNERS])
            landmarks = marks if name == 'marked' else None
            sources.append(ShapeSource(f's{i}', mesh, landmarks=landmarks))
        results = register_shapes(folder / name, sources, settings, serially)
        write_summary(folder / name, name, results)
    return folder


@pytest.fixture
def join(models, tmp_path, capsys):
    """``join(model, *more)``: exit code and output of adding the surfaces of ``new``."""

    def run(model, *more):
        command = ['--meshes', str(tmp_path / 'new'), '--out', str(tmp_path / 'out'), '--jobs', '1']
        code = run_command('build_pdm', [*command, '--fixed', str(models / model), *more])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def quality(folder):
    return set(json.loads((folder / 'stats.json').read_text())['quality'])


def test_new_shapes_that_are_all_left_out_are_told(join, tmp_path, capsys):
    write_mesh(tmp_path / 'new/far.ply', bent(0).with_vertices(bent(0).vertices * 20))
    code, told = join('bare')
    assert code == 1 and 'left out: new/far: ' in told and 'times the size' in told
    assert quality(tmp_path / 'out') == set()
    assert run_command('shape_stats', [str(tmp_path / 'out/project.swproj')]) == 1
    assert 'has no subjects' in capsys.readouterr().err


def test_landmarks_of_another_number_than_the_models_are_told(join, tmp_path):
    """Of a shape, which is left out, and of a model that has none at all."""
    marks = tmp_path / 'marks'
    for name in 'ab':
        write_mesh(tmp_path / f'new/{name}.ply', bent(0.3))
        write_particles(marks / f'{name}.particles', bent(0.3).vertices[CORNERS])
    assert join('marked', '--landmarks', str(marks))[0] == 0
    write_particles(marks / 'b.particles', bent(0.3).vertices[CORNERS[:2]])
    code, told = join('marked', '--landmarks', str(marks))
    assert code == 1 and 'b.ply: has 2 landmarks and the model 3' in told
    assert quality(tmp_path / 'out') == {'a'}
    code, told = join('bare', '--landmarks', str(marks))
    assert code == 1 and f'--landmarks {marks}: the fixed model' in told


@pytest.mark.parametrize('share', [0.5, 0.0])
def test_a_model_copied_in_part_is_told(models, tmp_path, share):
    whole = (models / 'bare/correspondence.npz').read_bytes()
    (tmp_path / 'c.npz').write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ShapeError, match=r'c\.npz: not a correspondence model'):
        CorrespondenceModel.load(tmp_path / 'c.npz')


@pytest.mark.parametrize('share', [0.5, 0.0])
def test_what_is_kept_for_the_next_run_and_was_copied_in_part_is_made_again(
    models, tmp_path, share
):
    kept = shutil.copytree(models / 'bare/.mended', tmp_path / 'kept') / 's0.npz'
    whole = kept.read_bytes()
    kept.write_bytes(whole[: int(share * len(whole))])
    surfaces, left_out = read_cohort(
        [ShapeSource('s0', models / 'm/s0.ply')], tmp_path / 'kept', serially
    )
    assert len(surfaces) == 1 and not left_out
    assert np.isfinite(surfaces[0].mesh.vertices).all() and kept.read_bytes() == whole
