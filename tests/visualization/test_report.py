"""What the page of a result holds; tests/robustness/test_report.py works it in a browser."""

import re
from dataclasses import replace

import numpy as np
import pytest

from massm.inference.inferencer import _deviation
from massm.inference.model_identity import ModelIdentity
from massm.structures import AnatomyStatus, Grid
from massm.visualization.packed import unpack
from massm.visualization.report import write_report
from tests.conftest import ball
from tests.visualization.pages import SCAN, result, shape, told

MIDDLE = np.array([80.0, 100, 80])


def page_of(folder, *shapes):
    write_report(folder / 'report.html', 'patient', result(*shapes))
    return (folder / 'report.html').read_text(encoding='utf-8')


def points(packed):
    return unpack(packed).reshape(-1, 3)


def nearest(points, others):
    return np.linalg.norm(points[:, None] - others[None], axis=-1).min(1).max()


def test_the_mean_and_its_modes_are_in_it_to_a_few_micrometres(tmp_path):
    one = shape('parotid_gland_left', MIDDLE, steps=12)
    view = told(page_of(tmp_path, one), 'shapes')['shapes'][0]
    assert np.abs(points(view['mean']) - one.modes.mean).max() < 0.001
    assert np.abs(points(view['patient']) - one.world_vertices).max() < 0.001
    scores = np.array([1.5, -2.0, 0.5])
    moved = points(view['mean']) + sum(
        z * points(mode) for z, mode in zip(scores, view['modes'], strict=True)
    )
    assert np.abs(moved - one.modes.instance(scores)).max() < 0.003
    assert view['scores'] == pytest.approx(one.z_scores[:3].tolist(), abs=0.001)
    assert view['shares'] == pytest.approx(one.modes.shares.tolist(), abs=0.001)


def test_a_thinned_surface_keeps_vertices_values_and_faces_together(tmp_path):
    one = shape('liver', MIDDLE, steps=40)
    page = page_of(tmp_path, one)
    scene, population = told(page, 'scene'), told(page, 'shapes')
    surface = scene['surfaces'][0]
    drawn, faces = points(surface['vertices']), points(surface['faces']).astype(int)
    assert len(faces) <= 5000 < len(one.mesh.faces) and set(faces.ravel()) == set(range(len(drawn)))
    assert nearest(drawn, one.mesh.vertices) < 0.001
    index = np.array([np.linalg.norm(one.mesh.vertices - p, axis=1).argmin() for p in drawn])
    values = unpack(scene['measures'][0]['values'][0])
    assert np.abs(values - one.deviation_mm[index]).max() < 0.001
    mean = points(population['shapes'][0]['mean'])
    assert np.abs(mean - one.modes.mean[index]).max() < 0.001


def test_the_scale_of_signed_distances_says_which_way_is_red(tmp_path):
    mean = ball(20.0)
    assert _deviation(mean, mean.vertices, 1.1 * mean.vertices) == pytest.approx(2, abs=0.01)
    page = page_of(tmp_path, shape('liver', MIDDLE, steps=8))
    distance, uncertainty = told(page, 'scene')['measures']
    assert distance['title'].endswith('mm; red (+) is outside of it, blue (-) inside')
    inside, outside = (re.findall(r'\d+', distance['scale'][end][1]) for end in (0, -1))
    assert int(inside[2]) > 2 * int(inside[0]) and int(outside[0]) > 2 * int(outside[2])
    assert uncertainty['title'] == 'uncertainty of the surface, mm'


def test_what_lies_beyond_the_scan_is_drawn_apart_and_told(tmp_path):
    edge = np.array([SCAN.corners_mm()[:, 0].max() + 0.7, 100, 80])
    reason = '50 % outside the field of view: extrapolated there'
    cut = shape('kidney_left', edge, AnatomyStatus.TRUNCATED, reason, steps=12)
    page = page_of(tmp_path, cut, shape('liver', MIDDLE, steps=12))
    surface, whole = told(page, 'scene')['surfaces']
    apart = unpack(surface['unseen']).astype(int)
    corners = points(surface['vertices'])[points(surface['faces']).astype(int)]
    beyond = (corners[..., 0] > edge[0] - 0.7).any(1)
    assert set(apart) == set(np.flatnonzero(beyond)) and 0 < len(apart) < len(beyond)
    assert whole['unseen'] is None and 'See-through: beyond the scan' in page
    first = re.search(r'<div class="warnings".*?</div>', page, re.S)[0]
    assert f'Left kidney: cut by the scan; {reason}' in first and 'a warning' in first


def test_anatomies_and_statuses_are_in_words(tmp_path):
    page = page_of(
        tmp_path,
        shape('parotid_gland_left', MIDDLE, steps=8),
        shape('vertebrae_L1', MIDDLE, AnatomyStatus.LOW_CONFIDENCE, 'score 0.3 is', steps=8),
        shape('rib_right_4', MIDDLE, AnatomyStatus.ABSENT, 'score 0.1 is below 0.2', steps=8),
    )
    rows = re.findall(r'<tr>(.*?)</tr>', page.split('<tbody>')[1], re.S)
    seen = [re.sub('<[^>]+>', ' ', row).split() for row in rows]
    assert [' '.join(row[:7]) for row in seen] == [
        'Left parotid gland found 0.70 100 %',
        'Vertebra L1 low confidence score 0.3 is',
        'Right rib 4 not found score 0.1',
    ]
    assert (
        'parotid_gland' not in page and told(page, 'scene')['surfaces'][1]['name'] == 'Vertebra L1'
    )


def test_a_page_says_which_series_and_which_model(tmp_path):
    told_of = replace(
        result(shape('liver', MIDDLE, steps=8)),
        series='1.2.71',
        model=ModelIdentity('thorax', 'd' * 64),
    )
    write_report(tmp_path / 'a.html', 'a', told_of)
    page = (tmp_path / 'a.html').read_text()
    assert 'scan.nii.gz, series 1.2.71; model thorax' in page


def test_a_model_that_does_not_know_its_population_leaves_that_out(tmp_path):
    fields = ('z_scores', 'mahalanobis', 'deviation_mm', 'quantiles', 'modes')
    blind = replace(shape('liver', MIDDLE, steps=8), **dict.fromkeys(fields))
    page = page_of(tmp_path, blind)
    assert 'data-kind="scene"' in page and 'data-kind="shapes"' not in page
    assert 'class="strip"' not in page and len(told(page, 'scene')['measures']) == 1


def test_fewer_modes_than_sliders(tmp_path):
    page = page_of(tmp_path, shape('liver', MIDDLE, steps=8, modes=2))
    assert len(told(page, 'shapes')['shapes'][0]['modes']) == 2


def test_twelve_anatomies_are_at_most_six_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    one = shape('organ', MIDDLE, steps=64)
    assert len(one.mesh.faces) > 16000
    shapes = [replace(one, anatomy=f'organ_{i}') for i in range(12)]
    volume = rng.uniform(-1000, 1500, (220, 220, 220)).astype(np.float32)  # noise does not compress
    grid = Grid(volume.shape, np.diag([0.9, 0.9, 0.9, 1]))
    write_report(tmp_path / 'p.html', 'twelve', replace(result(*shapes, volume=volume), grid=grid))
    assert (tmp_path / 'p.html').stat().st_size < 6e6
