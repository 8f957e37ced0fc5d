import json
import shutil

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from massm.cli import run_command
from massm.cohort.correspondences import check_built
from massm.cohort.manifest import AnatomyEntry, Manifest, SubjectEntry, load_manifest
from massm.errors import DatasetError
from massm.io.names import partner_name
from massm.io.particles import read_particles
from massm.io.templates import read_mirror_places, read_template
from massm.shape.pdm import PointDistributionModel
from massm.shape.surface import surface_distance
from massm.structures import AnatomyStatus

ANATOMY = 'heart_ventricle_left'


def middle(points):
    return (points.min(0) + points.max(0)) / 2


def test_particles_follow_the_true_correspondences(tiny_dataset, tiny_source):
    """Every subject's particle against where the template's particle truly went: far better than
    laying the template's in the middle of where the organ truly is, whatever the anatomy."""
    shares = []
    for name in load_manifest(tiny_dataset).templates:
        ours, laid = errors_of(name, tiny_dataset, tiny_source)
        assert len(ours) >= 3
        shares.append(np.mean(ours) / np.mean(laid))
    assert len(shares) == 7 and max(shares) < 0.95 and np.mean(shares) < 0.75


def errors_of(name, tiny_dataset, tiny_source):
    """Mean error of each subject's particles, mm, and of the template's laid over its organ."""
    shapes = tiny_dataset / 'shapes' / name
    template = json.loads((shapes / 'template.json').read_text())['subject']

    def truth(subject):
        return read_particles(tiny_source / subject / 'correspondences' / f'{name}.particles')

    chosen = read_particles(shapes / 'local' / f'{template}.particles')
    _, vertex = cKDTree(truth(template)).query(chosen)
    offset = chosen - truth(template)[vertex]
    ours, laid = [], []
    for entry in load_manifest(tiny_dataset).subjects:
        if entry.anatomies[name].has_particles and entry.id != template:
            true = truth(entry.id)
            expected = true[vertex] + offset
            found = read_particles(shapes / 'local' / f'{entry.id}.particles')
            moved = chosen + middle(true) - middle(truth(template))
            ours.append(np.linalg.norm(found - expected, axis=1).mean())
            laid.append(np.linalg.norm(moved - expected, axis=1).mean())
    return ours, laid


def test_world_particles_are_local_ones_moved_rigidly(tiny_dataset):
    manifest = load_manifest(tiny_dataset)
    count = 0
    for subject in manifest.subjects:
        for entry in subject.anatomies.values():
            if not entry.has_particles:
                continue
            matrix = np.array(entry.patient_to_world)
            local = read_particles(manifest.path(entry.local))
            world = read_particles(manifest.path(entry.world))
            assert np.abs(local @ matrix[:3, :3].T + matrix[:3, 3] - world).max() < 1e-4
            assert np.linalg.norm(world.mean(0)) < 1e-3
            count += 1
    assert count > 30


def test_only_training_shapes_make_the_model(tiny_dataset):
    manifest = load_manifest(tiny_dataset)
    train = [s for s in manifest.of_split('train') if s.anatomies[ANATOMY].has_particles]
    world = np.stack([read_particles(manifest.path(s.anatomies[ANATOMY].world)) for s in train])
    model = PointDistributionModel.load(tiny_dataset / 'shapes' / ANATOMY / 'pdm.npz')
    assert np.allclose(model.mean, world.mean(0))
    template = json.loads((tiny_dataset / 'shapes' / ANATOMY / 'template.json').read_text())
    assert template['subject'] in {s.id for s in train}


def test_world_axes_are_the_mean_patients_and_the_turns_about_them_are_told(tiny_dataset):
    manifest = load_manifest(tiny_dataset)
    entries = [s.anatomies[ANATOMY] for s in manifest.of_split('train')]
    motions = [np.array(e.patient_to_world)[:3, :3] for e in entries if e.has_particles]
    turns = Rotation.from_matrix(motions)
    assert np.degrees(turns.mean().magnitude()) < 1
    told = read_template(tiny_dataset, ANATOMY, 64).rotation_std
    squares = (turns.as_rotvec() ** 2).sum(0) + 4 * 0.15**2  # as if four more were as usual
    assert told == pytest.approx(np.sqrt(squares / (len(turns) + 4)), abs=1e-3)


def test_particles_know_their_places_on_mirror_images(tiny_dataset):
    manifest = load_manifest(tiny_dataset)
    places = read_mirror_places(tiny_dataset, manifest.anatomies, 64)
    pairs = {name: partner_name(name) for name in manifest.templates}
    expected = {name for name, partner in pairs.items() if partner in manifest.templates}
    assert set(places) == expected and any(pairs[name] != name for name in expected)
    for name, where in places.items():
        surface = read_template(tiny_dataset, pairs[name], 64).mesh
        assert surface_distance(where, surface).mean() < 0.5


def test_a_second_run_changes_nothing(tiny_dataset, tmp_path):
    # On a copy: it writes the statistics anew, which other workers may be reading.
    dataset = shutil.copytree(tiny_dataset, tmp_path / 'dataset')
    files = sorted((dataset / 'shapes' / ANATOMY / 'local').glob('*.particles'))
    files += sorted(dataset.glob('shapes/*/mirror.particles'))
    before = [f.stat().st_mtime_ns for f in files]
    command = [str(dataset), '--particles', '64', '--anatomies', ANATOMY]
    assert run_command('build_pdm', command) == 0
    assert before == [f.stat().st_mtime_ns for f in files]


def test_statistics_and_project_are_written(tiny_dataset, tmp_path):
    folder = tiny_dataset / 'shapes' / ANATOMY
    stats = json.loads((folder / 'stats.json').read_text())
    assert stats['compactness'][-1] > 0.999 and stats['train_shapes'] >= 3
    worst = max(q['surface_distance_mm'] for q in stats['quality'].values())
    assert worst < 2 and max(q['folded'] for q in stats['quality'].values()) < 0.05
    project = json.loads((folder / 'project.swproj').read_text())
    assert all((folder / row['world_particles_1']).is_file() for row in project['data'])
    assert run_command('shape_stats', [str(folder), '--out', str(tmp_path / 's.json')]) == 0
    assert set(json.loads((tmp_path / 's.json').read_text())) == {
        'compactness',
        'generalization',
        'generalization_shapes',
        'specificity',
    }


def test_no_model_is_made_of_generated_patients(tmp_path, capsys):
    spleen = {'spleen': AnatomyEntry(AnatomyStatus.OK, mesh='shapes/spleen/meshes/a.ply')}
    names = {'a': None, 'generated_0001': 'a'}
    subjects = [SubjectEntry(n, 'train', None, spleen, origin) for n, origin in names.items()]
    Manifest(tmp_path, 4.0, ('spleen',), tuple(subjects)).save()
    before = (tmp_path / 'dataset.json').read_text()
    assert run_command('build_pdm', [str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert 'generated_0001 (1)' in error and 'the dataset it came from, and augment' in error
    assert (tmp_path / 'dataset.json').read_text() == before
    with pytest.raises(DatasetError, match='the dataset it came from, and augment that again'):
        check_built(tmp_path, ['spleen'])


def test_mistakes_are_named(tiny_dataset, tmp_path, capsys):
    assert run_command('build_pdm', [str(tmp_path)]) == 1
    assert 'dataset.json: no such file' in capsys.readouterr().err
    assert run_command('build_pdm', [str(tiny_dataset), '--anatomies', 'liver']) == 1
    assert 'has no liver' in capsys.readouterr().err
    assert run_command('shape_stats', [str(tmp_path)]) == 1
    assert 'no .particles file' in capsys.readouterr().err
