"""The patient stays the same however the scan is stored; files written land on the same places."""

import itertools
import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from massm.cohort.resample import resample
from massm.cohort.working_volume import working_volume
from massm.errors import ConfigError
from massm.inference.inferencer import MASSMInferencer
from massm.inference.result_files import write_result
from massm.inference.result_formats import FILE_FORMATS
from massm.io.meshes import read_mesh
from massm.io.particles import read_particles
from massm.io.slicer import read_markups
from massm.structures import Grid
from massm.structures.shape_sample import ShapeSample
from tests.robustness.scans import dicom, load, reordered

ORDERS = [
    ''.join(side[choice] for side, choice in zip(axes, signs, strict=True))
    for axes in itertools.permutations(('RL', 'AP', 'SI'))
    for signs in itertools.product((0, 1), repeat=3)
]


@pytest.fixture(scope='module')
def inferencer(model_directory):
    return MASSMInferencer(model_directory)


@pytest.fixture(scope='module')
def phantom(tiny_source):
    return load(tiny_source / 's0001/ct.nii.gz')


def local(result):
    return np.stack([shape.local_mm for shape in result.shapes])


def test_48_axis_orders_show_the_same_patient(inferencer, phantom):
    assert len(ORDERS) == 48
    expected = local(inferencer((phantom[0], Grid(phantom[0].shape, phantom[1])))[0])
    for codes in ORDERS:
        data, affine = reordered(*phantom, codes)
        found = local(inferencer((np.array(data), Grid(data.shape, affine)))[0])
        assert np.linalg.norm(found - expected, axis=-1).mean() < 0.01, codes


def test_an_oblique_grid_shows_the_same_patient(inferencer, phantom):
    """Half a voxel of the network's on average: 4 mm."""
    straight = Grid(phantom[0].shape, phantom[1])
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler('xyz', (8, -6, 11), degrees=True).as_matrix() * 3.0
    size = np.array([170, 130, 160])
    middle = straight.corners_mm().mean(0)
    turn[:3, 3] = middle - turn[:3, :3] @ ((size - 1) / 2)
    oblique = Grid(tuple(size), turn)
    found = inferencer((resample(*_pair(phantom), oblique), oblique))[0]
    expected = inferencer(_pair(phantom))[0]
    both = [
        a.is_present and b.is_present for a, b in zip(found.shapes, expected.shapes, strict=True)
    ]
    distance = np.linalg.norm(local(found) - local(expected), axis=-1)
    print(f'oblique: {sum(both)} anatomies, mean difference {distance[both].mean():.2f} mm')
    assert sum(both) >= 3 and distance[both].mean() < 4.0


def test_shifted_passes_are_averaged_in_the_scans_own_voxels(model_directory, phantom):
    """One shifted pass by hand: two planes of air more at the volume's low end, or less where there
    are so many, and its particles moved back."""
    one, two = (MASSMInferencer(model_directory, passes=n) for n in (1, 2))
    hu, working = working_volume(*_pair(phantom), 8.0)
    empty = int(np.argmax(hu.max((0, 1)) > -1000))
    added = -2 if 2 <= empty < 4 else 2
    air = [(0, 0), (0, 0), (max(added, 0), 0)]
    padded = np.pad(hu, air, constant_values=-1000)[..., max(-added, 0) :]
    sample = ShapeSample(metainfo={'image_shape': padded.shape})
    with torch.inference_mode():
        batch = {'inputs': [torch.as_tensor(padded)[None]], 'data_samples': [sample]}
        shifted = one.model.test_step(batch)[0].pred_local_vox.numpy() - np.array((0, 0, added))
    both = local(one(_pair(phantom))[0]), working.to_patient(shifted)
    # Passes that do not agree on where an anatomy is have no mean.
    agree = np.abs(both[0] - both[1]).max((1, 2)) < 16.0
    assert agree.sum() >= 4
    assert np.abs(np.mean(both, 0) - local(two(_pair(phantom))[0]))[agree].max() < 0.01


def test_the_number_of_passes_is_checked(model_directory):
    with pytest.raises(ConfigError, match='1 to 8'):
        MASSMInferencer(model_directory, passes=9)


def _pair(phantom):
    return phantom[0], Grid(phantom[0].shape, phantom[1])


@pytest.fixture(scope='module')
def written(inferencer, phantom, tmp_path_factory):
    """A scan in an oblique, flipped grid and all files of its result."""
    data, affine = reordered(*phantom, 'PIL')
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler('zx', (14, 5), degrees=True).as_matrix()
    result = inferencer((np.array(data), Grid(data.shape, turn @ affine)))[0]
    folder = tmp_path_factory.mktemp('written') / 'scan'
    write_result(folder, result, FILE_FORMATS)
    return folder, result


def test_meshes_particles_and_markups_come_back_to_a_thousandth_of_a_millimetre(written):
    import open3d

    folder, result = written
    present = [shape for shape in result.shapes if shape.is_present]
    assert len(present) >= 3
    for shape in present:
        name = shape.anatomy
        for kind in ('ply', 'vtk'):
            mesh = read_mesh(folder / f'meshes/{name}.{kind}')
            assert np.abs(mesh.vertices - shape.mesh.vertices).max() < 1e-3
        seen = open3d.io.read_triangle_mesh(str(folder / f'meshes/{name}.ply'))
        assert np.abs(np.asarray(seen.vertices) - shape.mesh.vertices).max() < 1e-3
        stl = read_mesh(folder / f'meshes/{name}.stl')
        assert np.abs(stl.vertices.mean(0) - shape.mesh.vertices.mean(0)).max() < 1e-1
        particles = read_particles(folder / f'local/{name}.particles')
        markups = read_markups(folder / f'markups/{name}.mrk.json')
        assert np.abs(particles - shape.local_mm).max() < 1e-3
        assert np.abs(markups - shape.local_mm).max() < 1e-3


def test_label_maps_lie_where_the_meshes_are_in_nibabel_and_simpleitk(written):
    folder, result = written
    labels = nibabel.load(folder / 'labels.nii.gz')
    assert np.abs(labels.affine - result.grid.affine).max() < 1e-3
    image = sitk.ReadImage(str(folder / 'labels.nii.gz'))
    array = np.asanyarray(labels.dataobj)
    for number, shape in enumerate(result.shapes, 1):
        where = np.argwhere(array == number)
        if not shape.is_present or len(where) < 20:
            continue
        index = where[len(where) // 2]
        by_nibabel = nibabel.affines.apply_affine(labels.affine, index)
        by_itk = np.array(image.TransformIndexToPhysicalPoint(index.tolist())) * (-1, -1, 1)
        assert np.abs(by_nibabel - by_itk).max() < 1e-3
        assert (by_nibabel > shape.mesh.vertices.min(0)).all()
        assert (by_nibabel < shape.mesh.vertices.max(0)).all()
    names = json.loads((folder / 'labels.json').read_text())
    assert names['1'] == result.shapes[0].anatomy
    table = (folder / 'labels.ctbl').read_text().splitlines()
    assert table[2].split()[:2] == ['1', result.shapes[0].anatomy]


def test_a_dicom_segmentation_lies_where_the_label_map_does(inferencer, phantom, tmp_path):
    result = inferencer(dicom(tmp_path / 'series', *phantom))[0]
    write_result(tmp_path / 'out', result, ('labels', 'dicomseg'))
    labels = nibabel.load(tmp_path / 'out/labels.nii.gz')
    array = np.asanyarray(labels.dataobj)
    import highdicom

    meanings = {
        'heart_ventricle_left': 'Left ventricle',
        'heart_ventricle_right': 'Right ventricle',
        'heart_atrium_left': 'Left atrium',
        'heart_atrium_right': 'Right atrium',
        'lung_upper_lobe_left': 'Upper lobe of lung',
        'lung_upper_lobe_right': 'Upper lobe of lung',
        'spleen': 'Spleen',
    }
    written = highdicom.seg.segread(tmp_path / 'out/labels.dcm')
    volume = written.get_volume(combine_segments=False)
    for number in written.segment_numbers:
        name = written.get_segment_description(number).segment_label.replace(' ', '_')
        label = [shape.anatomy for shape in result.shapes].index(name) + 1
        kind = written.get_segment_description(number).segmented_property_type
        assert kind.meaning == meanings[name]
        own = nibabel.affines.apply_affine(labels.affine, np.argwhere(array == label))
        frames = np.argwhere(volume.array[..., number - 1])
        lps = nibabel.affines.apply_affine(volume.affine, frames)
        assert len(own) == len(lps)
        assert np.abs(own.mean(0) - lps.mean(0) * (-1, -1, 1)).max() < 1e-3


def test_markups_are_lps_and_say_what_was_not_seen(written):
    folder, result = written
    shape = next(s for s in result.shapes if s.is_present)
    markup = json.loads((folder / f'markups/{shape.anatomy}.mrk.json').read_text())['markups'][0]
    assert markup['coordinateSystem'] == 'LPS'
    first = np.array(markup['controlPoints'][0]['position'])
    assert np.allclose(first * (-1, -1, 1), shape.local_mm[0], atol=1e-3)
    hidden = sum('extrapolated' in c['description'] for c in markup['controlPoints'])
    assert hidden == int((~shape.seen).sum())


def test_a_cut_scan_is_truncated_and_its_unseen_part_marked(inferencer, model_directory, phantom):
    data, affine = phantom
    keen = MASSMInferencer(model_directory, score_threshold=0.0)
    whole = inferencer(_pair(phantom))[0]
    lung = next(s for s in whole.shapes if s.anatomy == 'lung_upper_lobe_left')
    height = Grid(data.shape, affine).to_voxel(lung.local_mm)[:, 2].mean()
    cut = data[:, :, : int(height)]
    shapes = keen((cut, Grid(cut.shape, affine)))[0].shapes
    beyond = [s for s in shapes if s.is_present and not s.seen.all()]
    assert beyond
    for shape in beyond:
        outside = 1 - shape.seen.mean()
        assert (shape.status.value == 'truncated') == (outside > 0.02)
        assert outside <= 0.02 or 'extrapolated' in shape.reason
