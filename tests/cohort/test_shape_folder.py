"""``build_pdm --meshes``: plain folders of surfaces, good and bad."""

import json
import re
import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from massm.cli import run_command
from massm.cohort import surface_cohort
from massm.cohort.interrupted import going_on
from massm.cohort.shape_folder import register_shapes
from massm.cohort.surface_cohort import ShapeSource, read_cohort
from massm.io.meshes import write_mesh
from massm.io.particles import write_particles
from massm.io.shapeworks import read_project
from massm.shape import population
from massm.shape.population import PopulationSettings
from massm.structures import Mesh
from tests.conftest import ROOT, make_blob

PARTICLES = ['--particles', '64', '--jobs', '1']


def bent(amount: float, pose: int = 0) -> Mesh:
    blob = make_blob()
    x, y, z = blob.vertices.T
    shape = np.stack([x * (1 + 0.1 * amount), y + 0.004 * amount * x**2, z], 1)
    turn = Rotation.random(random_state=pose).as_matrix() if pose else np.eye(3)
    return blob.with_vertices(shape @ turn.T + 10 * pose)


@pytest.fixture(scope='module')
def cohort(tmp_path_factory):
    """Six surfaces of three formats, and their model."""
    folder, out = tmp_path_factory.mktemp('meshes'), tmp_path_factory.mktemp('model')
    for i, suffix in enumerate(('.ply', '.vtk', '.stl', '.obj', '.vtp', '.ply')):
        write_mesh(folder / f's{i}{suffix}', bent(i / 2.5 - 1))
    command = ['--meshes', str(folder), '--out', str(out), '--same-axes', *PARTICLES]
    assert run_command('build_pdm', command) == 0
    return folder, out


def test_a_folder_of_mixed_formats_becomes_a_model(cohort):
    _, out = cohort
    names = {f's{i}' for i in range(6)}
    for kind, suffix in (('meshes', 'ply'), ('local', 'particles'), ('world', 'particles')):
        assert {f.stem for f in (out / kind).glob(f'*.{suffix}')} == names
    stats = json.loads((out / 'stats.json').read_text())
    assert stats['train_shapes'] == 6 and stats['particles'] == 64
    assert max(q['surface_distance_mm'] for q in stats['quality'].values()) < 1.0
    assert max(q['particle_distance_mm'] for q in stats['quality'].values()) < 0.01
    assert stats['compactness'][0] > 0.7  # one mode made them
    for file in ('template.json', 'template.ply', 'pdm.npz', 'correspondence.npz', 'quality.png'):
        assert (out / file).stat().st_size > 100
    project = read_project(out / 'project.swproj')
    assert all(project.file(s.domains['1'].world).is_file() for s in project.subjects)
    assert run_command('shape_stats', [str(out), '--out', str(out / 's.json')]) == 0


def test_a_second_run_keeps_everything_and_a_lost_file_comes_back(cohort, capsys):
    folder, out = cohort
    files = sorted(out.glob('*/*.particles'))
    before = {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in files}
    command = ['--meshes', str(folder), '--out', str(out), '--same-axes', *PARTICLES]
    assert run_command('build_pdm', command) == 0
    assert {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in files} == before
    (out / 'local' / 's3.particles').unlink()
    assert run_command('build_pdm', command) == 0
    assert {f: f.read_bytes() for f in files} == {f: content for f, (_, content) in before.items()}


class Interrupting:
    """A task runner that Ctrl-C stops after so many tasks."""

    def __init__(self, tasks: int) -> None:
        self.left = tasks

    def __call__(self, label, function, tasks):
        results = []
        for task in tasks:
            if self.left <= 0:
                raise KeyboardInterrupt
            self.left -= 1
            results.append(function(*task))
        return results


@pytest.fixture
def registrations(monkeypatch) -> list:
    """One entry for every surface that a template was fitted to."""
    done = []

    def counted(*args):
        done.append(args)
        return fit_template(*args)

    fit_template = population.fit_template
    monkeypatch.setattr(population, 'fit_template', counted)
    return done


def content(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob('*') if f.is_file()}


def test_an_interrupted_build_goes_on_and_ends_in_the_same_bytes(tmp_path, registrations):
    """Interrupted in its registration and again in its end; no finished task is done again."""
    for i in range(3):
        write_mesh(tmp_path / 'm' / f's{i}.ply', bent(i - 1))
    sources = [ShapeSource(f's{i}', tmp_path / 'm' / f's{i}.ply') for i in range(3)]
    settings = PopulationSettings(16, vertices=200, rounds=1)
    register_shapes(tmp_path / 'straight', sources, settings, population.serially)
    assert len(registrations) == 6
    for tasks in (11, 20):
        with pytest.raises(KeyboardInterrupt):
            register_shapes(tmp_path / 'parts', sources, settings, Interrupting(tasks))
    assert len(registrations) == 12
    register_shapes(tmp_path / 'parts', sources, settings, population.serially)
    assert len(registrations) == 12
    assert content(tmp_path / 'parts') == content(tmp_path / 'straight')


@pytest.mark.parametrize('share', [0.5, 0.0])
def test_a_result_that_was_copied_in_part_is_made_again(tmp_path, share):
    run = [going_on(population.serially, tmp_path, 'digest') for _ in range(2)]
    first = run[0]('stage', np.cumsum, [(np.arange(50),)])
    (file,) = tmp_path.rglob('*.npz')
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert np.array_equal(run[1]('stage', np.cumsum, [(np.arange(50),)]), first)


@pytest.fixture
def small(tmp_path):
    """``small(rounds, **more)``: two training shapes and one that is new to their model."""
    sources = []
    for i in range(3):
        write_mesh(tmp_path / 'm' / f's{i}.ply', bent(i - 1))
        sources.append(ShapeSource(f's{i}', tmp_path / 'm' / f's{i}.ply', train=i < 2))

    def build(rounds=1, **more):
        settings = PopulationSettings(16, vertices=200, rounds=rounds)
        return register_shapes(tmp_path / 'o', sources, settings, population.serially, **more)

    return build


def test_particles_that_another_put_there_are_no_results_of_an_earlier_run(small, tmp_path):
    """As an import leaves them, over which the same model is built again."""
    small()
    before = content(tmp_path / 'o')
    for name in ('s0', 's2'):
        write_particles(tmp_path / f'o/local/{name}.particles', np.ones((16, 3)))
    small()
    assert content(tmp_path / 'o') == before


def test_records_of_before_they_told_their_files_hold_and_are_completed(small, tmp_path):
    small()
    before = content(tmp_path / 'o')
    records = sorted((tmp_path / 'o/local').glob('.*.json'))
    assert len(records) == 3
    for record in records:
        told = json.loads(record.read_text())
        del told['files']
        record.write_text(json.dumps(told) + '\n')
    small(begin=lambda: pytest.fail('nothing is to be replaced'))
    assert {k: json.loads(v) for k, v in content(tmp_path / 'o').items() if v[:1] == b'{'} == {
        k: json.loads(v) for k, v in before.items() if v[:1] == b'{'
    }
    assert {k: v for k, v in content(tmp_path / 'o').items() if v[:1] != b'{'} == {
        k: v for k, v in before.items() if v[:1] != b'{'
    }


def test_whoever_depends_on_the_particles_is_told_before_they_are_replaced(small, tmp_path):
    """And interrupted then, all is as it was."""
    small()
    before = content(tmp_path / 'o')

    def interrupted():
        raise KeyboardInterrupt

    small(begin=interrupted)
    with pytest.raises(KeyboardInterrupt):
        small(rounds=2, begin=interrupted)
    after = content(tmp_path / 'o')
    assert {name: after[name] for name in before} == before
    write_mesh(tmp_path / 'm/s2.ply', bent(0.5))
    with pytest.raises(KeyboardInterrupt):
        small(begin=interrupted)


def test_a_mended_surface_is_kept_until_its_file_changes(tmp_path, monkeypatch):
    """And stays what it was to the last bit."""
    mended, repair = [], surface_cohort.repair_surface
    monkeypatch.setattr(
        surface_cohort, 'repair_surface', lambda mesh: mended.append(mesh) or repair(mesh)
    )
    mesh = bent(0.1)
    write_mesh(tmp_path / 'a.ply', Mesh(mesh.vertices, np.delete(mesh.faces, [500, 501], axis=0)))
    source = [ShapeSource('a', tmp_path / 'a.ply')]
    read = [read_cohort(source, tmp_path / 'kept', population.serially)[0][0] for _ in range(2)]
    assert len(mended) == 1 and 'closed holes' in read[0].remarks[0]
    assert np.array_equal(read[0].mesh.vertices, read[1].mesh.vertices)
    assert np.array_equal(read[0].mesh.faces, read[1].mesh.faces)
    assert read[0].remarks == read[1].remarks and read[0].digest == read[1].digest
    write_mesh(tmp_path / 'a.ply', mesh)
    again = read_cohort(source, tmp_path / 'kept', population.serially)[0][0]
    assert len(mended) == 2 and again.remarks == ()


def test_new_shapes_join_a_fixed_model_and_change_nothing(cohort, tmp_path):
    _, model = cohort
    before = {f: f.read_bytes() for f in sorted(model.rglob('*')) if f.is_file()}
    folder, out = tmp_path / 'new', tmp_path / 'out'
    write_mesh(folder / 'n.ply', bent(0.3))
    command = ['--meshes', str(folder), '--out', str(out), '--fixed', str(model), *PARTICLES]
    assert run_command('build_pdm', command) == 0
    assert {f: f.read_bytes() for f in sorted(model.rglob('*')) if f.is_file()} == before
    assert (model / 'template.particles').read_bytes() == (out / 'template.particles').read_bytes()
    quality = json.loads((out / 'stats.json').read_text())['quality']['n']
    assert quality['surface_distance_mm'] < 1.0 and quality['mahalanobis'] < 4
    written = {f: f.stat().st_mtime_ns for f in sorted(out.rglob('*')) if f.is_file()}
    assert run_command('build_pdm', command) == 0
    assert {f: f.stat().st_mtime_ns for f in sorted(out.rglob('*')) if f.is_file()} == written


def with_a_horn() -> Mesh:
    blob = make_blob()
    along = blob.vertices @ (-1, 0, 1) / np.linalg.norm(blob.vertices, axis=1) / np.sqrt(2)
    return blob.with_vertices(blob.vertices * (1 + 3.5 * np.exp((along - 1) / 0.02))[:, None])


def rolled_up() -> Mesh:
    x, y, z = make_blob().vertices.T
    radius, turn = 25 + 0.5 * y, 2.6 * x / 28
    shape = [radius * np.sin(turn), radius * np.cos(turn), 0.5 * z]
    return make_blob().with_vertices(np.stack(shape, 1))


def drawn_apart() -> Mesh:
    x, y, z = make_blob().vertices.T
    thin = 1 - 0.75 * np.exp(-((x / 5) ** 2))
    return make_blob().with_vertices(np.stack([x + 80 * np.tanh(x / 3), y * thin, z * thin], 1))


OFF, UNEVEN, FOLDED = 'lies off its surface', 'has uneven particles', 'is folded'
TORN, OUTLIER = 'particles are torn from their neighbours', 'is an outlier'
SIGNS = (OFF, UNEVEN, FOLDED, TORN, OUTLIER)
ODD = {
    'horned': (with_a_horn, {OFF}),
    'rolled': (rolled_up, {OFF, UNEVEN, FOLDED}),
    'apart': (drawn_apart, {OFF, UNEVEN, TORN}),
}


def signs(printed: str) -> dict[str, set[str]]:
    """Of each shape, the signs of failure that a build told to look at."""
    told: dict[str, set[str]] = {}
    for name, words in re.findall(r'look at: \w+/(\w+) (.*)', printed):
        told.setdefault(name, set()).update(s for s in SIGNS if s in words)
    return told


def test_signs_of_failure_are_told_of_the_shapes_that_show_them(cohort, tmp_path, capsys):
    """Among usual ones, laid on the model that these make; and the page explains each."""
    for i in range(5):
        write_mesh(tmp_path / f'new/s{i}.ply', bent(i / 3 - 1))
    for name, (make, _) in ODD.items():
        write_mesh(tmp_path / f'new/{name}.ply', make())
    command = ['--meshes', str(tmp_path / 'new'), '--out', str(tmp_path / 'out')]
    assert run_command('build_pdm', [*command, '--fixed', str(cohort[1]), '--jobs', '1']) == 0
    told = signs(capsys.readouterr().out)
    assert told.keys() == ODD.keys() and told['horned'] == {OFF}
    assert all(shown <= told[name] for name, (_, shown) in ODD.items())
    page = (ROOT / 'docs/correspondences.md').read_text(encoding='utf-8')
    assert all(sign in page for sign in SIGNS)


def test_an_odd_training_shape_is_told_to_be_an_outlier(tmp_path, capsys):
    for i in range(6):
        write_mesh(tmp_path / f'm/s{i}.ply', bent(i / 2.5 - 1))
    write_mesh(tmp_path / 'm/odd.ply', with_a_horn())
    command = ['--meshes', str(tmp_path / 'm'), '--out', str(tmp_path / 'out'), '--same-axes']
    assert run_command('build_pdm', [*command, '--jobs', '1', '--particles', '16']) == 0
    told = signs(capsys.readouterr().out)
    assert [name for name, shown in told.items() if OUTLIER in shown] == ['odd']


def test_turned_shapes_are_laid_over_each_other(tmp_path):
    for i in range(4):
        write_mesh(tmp_path / 'm' / f's{i}.ply', bent(i / 1.5 - 1, pose=i + 1))
    command = ['--meshes', str(tmp_path / 'm'), '--out', str(tmp_path / 'o'), *PARTICLES]
    assert run_command('build_pdm', command) == 0
    stats = json.loads((tmp_path / 'o' / 'stats.json').read_text())
    assert stats['generalization'][0] < 1.5
    assert max(q['folded'] for q in stats['quality'].values()) < 0.01


def soup_of(kind: str, tmp_path) -> None:
    """A file with one thing wrong."""
    mesh, path = bent(0.1), tmp_path / 'm' / f'{kind}.ply'
    if kind == 'metres':
        mesh = mesh.with_vertices(mesh.vertices / 1000)
    elif kind == 'inverted':
        mesh = Mesh(mesh.vertices, mesh.faces[:, ::-1])
    elif kind == 'open':
        keep = (mesh.vertices[mesh.faces][:, :, 2] < 0).all(1)
        mesh = Mesh(mesh.vertices, mesh.faces[keep])
    elif kind == 'holed':
        mesh = Mesh(mesh.vertices, np.delete(mesh.faces, [500, 501], axis=0))
    elif kind == 'parts':
        other = mesh.vertices + 100
        faces = np.vstack([mesh.faces, mesh.faces + len(other)])
        mesh = Mesh(np.vstack([mesh.vertices, other]), faces)
    elif kind == 'doubled':
        count = 3 * len(mesh.faces)
        mesh = Mesh(mesh.vertices[mesh.faces.ravel()], np.arange(count).reshape(-1, 3))
    if kind == 'nan':
        text = 'o x\nv 0 0 0\nv nan 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 2 3 4\nf 1 3 4\n'
        path.with_suffix('.obj').write_text(text)
    elif kind == 'two_points':
        path.with_suffix('.obj').write_text('o x\nv 0 0 0\nv 1 0 0\n')
    else:
        write_mesh(path, mesh)


@pytest.mark.parametrize(
    ('kind', 'code', 'words'),
    [
        ('metres', 1, 'metres'),
        ('open', 1, 'open'),
        ('parts', 1, '2 parts'),
        ('nan', 1, 'NaN'),
        ('two_points', 1, 'no triangles'),
        ('inverted', 0, 'faced inwards'),
        ('holed', 0, 'closed holes'),
        ('doubled', 0, 'joined'),
    ],
)
def test_a_bad_surface_is_mended_or_left_out_and_named(cohort, tmp_path, capsys, kind, code, words):
    shutil.copytree(cohort[0], tmp_path / 'm')
    soup_of(kind, tmp_path)
    command = ['--meshes', str(tmp_path / 'm'), '--out', str(tmp_path / 'o'), '--same-axes']
    assert run_command('build_pdm', [*command, *PARTICLES]) == code
    output = capsys.readouterr().out
    line = next(li for li in output.splitlines() if kind in li and words in li)
    assert line.startswith('left out' if code else 'mended')
    stats = json.loads((tmp_path / 'o' / 'stats.json').read_text())
    assert len(stats['quality']) == (6 if code else 7)


def test_a_mirrored_shape_is_left_out(tmp_path, capsys, screw):
    for i in range(4):
        turn = Rotation.random(random_state=i).as_matrix()
        points = screw.vertices * (1 + 0.05 * i, 1, 1)
        mesh = screw.with_vertices(points @ turn.T)
        if i == 2:
            mesh = Mesh(mesh.vertices * (-1, 1, 1), mesh.faces[:, ::-1])
        write_mesh(tmp_path / 'm' / f's{i}.ply', mesh)
    command = ['--meshes', str(tmp_path / 'm'), '--out', str(tmp_path / 'o'), *PARTICLES]
    assert run_command('build_pdm', command) == 1
    output = capsys.readouterr().out
    assert 's2' in output and 'mirror image' in output
    assert len(json.loads((tmp_path / 'o' / 'stats.json').read_text())['quality']) == 3


@pytest.mark.parametrize(('any_pose', 'left_out'), [(True, ['s2']), (False, [])])
def test_a_mirrored_shape_joins_no_fixed_model_of_any_pose(tmp_path, screw, any_pose, left_out):
    mirror = Mesh(screw.vertices * (-1, 1, 1), screw.faces[:, ::-1])
    turned = screw.with_vertices(screw.vertices @ Rotation.random(random_state=1).as_matrix().T)
    sources = []
    for i, mesh in enumerate((screw, turned if any_pose else screw, mirror)):
        write_mesh(tmp_path / f's{i}.ply', mesh)
        sources.append(ShapeSource(f's{i}', tmp_path / f's{i}.ply', train=False))
    settings = PopulationSettings(16, any_pose=any_pose, vertices=200, rounds=1)
    model, *_ = population.build_population([screw], settings, population.serially)
    found = register_shapes(tmp_path / 'o', sources, settings, population.serially, model)
    assert [r.source.id for r in found if r.failure] == left_out
    assert all('mirror image' in r.failure for r in found if r.failure)


def test_a_fixed_model_has_settled_what_is_asked_for(cohort, tmp_path, capsys, screw):
    settings = PopulationSettings(16, any_pose=True, vertices=200, rounds=1)
    model, *_ = population.build_population([screw], settings, population.serially)
    (tmp_path / 'f').mkdir()
    model.save(tmp_path / 'f/correspondence.npz')
    command = ['--meshes', str(cohort[0]), '--out', str(tmp_path / 'o')]
    command += ['--fixed', str(tmp_path / 'f')]
    for more, words in (
        (['--particles', '64'], '--particles 64: the fixed model'),
        (['--correspondence-weight', '1'], 'has 0.3; leave it out'),
        (['--same-axes'], 'of shapes in any pose'),
    ):
        assert run_command('build_pdm', [*command, *more]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / 'o').exists()


def test_one_surface_makes_a_template_without_modes(tmp_path):
    write_mesh(tmp_path / 'm' / 'only.ply', bent(0))
    command = ['--meshes', str(tmp_path / 'm'), '--out', str(tmp_path / 'o'), *PARTICLES]
    assert run_command('build_pdm', command) == 0
    assert json.loads((tmp_path / 'o' / 'stats.json').read_text())['compactness'] == []
    assert (tmp_path / 'o' / 'quality.png').is_file()


def test_landmarks_are_read_and_must_agree_in_number(cohort, tmp_path, capsys):
    folder, marks = cohort[0], tmp_path / 'marks'
    for i in range(6):
        write_particles(marks / f's{i}.particles', bent(i / 2.5 - 1).vertices[[50, 300, 700]])
    command = ['--meshes', str(folder), '--out', str(tmp_path / 'o'), '--same-axes', *PARTICLES]
    assert run_command('build_pdm', [*command, '--landmarks', str(marks)]) == 0
    (marks / 's3.particles').unlink()
    assert run_command('build_pdm', [*command, '--landmarks', str(marks)]) == 1
    assert 's3: has 0 landmarks, others 3' in capsys.readouterr().err


def test_mistakes_are_named(tmp_path, capsys):
    def refused(*command):
        assert run_command('build_pdm', list(command)) == 1
        return capsys.readouterr().err

    assert 'either a dataset or --meshes' in refused()
    assert '--meshes needs --out' in refused('--meshes', str(tmp_path))
    assert 'no surface found' in refused('--meshes', str(tmp_path), '--out', str(tmp_path / 'o'))
    assert 'at least 16' in refused(str(tmp_path), '--particles', '3')
    assert 'must be 0 or more' in refused(str(tmp_path), '--correspondence-weight', '-1')
    write_mesh(tmp_path / 'a.ply', bent(0))
    command = ['--meshes', str(tmp_path), '--out', str(tmp_path / 'o')]
    assert 'run tools/build_pdm.py first' in refused(*command, '--fixed', str(tmp_path / 'no'))
    write_mesh(tmp_path / 'a.stl', bent(0))
    assert 'a.ply and a.stl are both a' in refused(*command)


@pytest.mark.slow
def test_a_dask_cluster_does_the_same_work(cohort, tmp_path):
    distributed = pytest.importorskip('distributed')
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        command = ['--meshes', str(cohort[0]), '--out', str(tmp_path), '--same-axes', *PARTICLES]
        command += ['--dask', cluster.scheduler_address]
        assert run_command('build_pdm', command) == 0
    for file in sorted((cohort[1] / 'local').glob('*.particles')):
        assert file.read_bytes() == (tmp_path / 'local' / file.name).read_bytes()
