import json
import shutil

import pytest

from massm.cohort.manifest import Manifest, load_manifest
from massm.errors import DatasetError


@pytest.fixture
def copy(tiny_dataset, tmp_path):
    shutil.copy(tiny_dataset / 'dataset.json', tmp_path / 'dataset.json')
    return tmp_path


def edit(folder, change):
    path = folder / 'dataset.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_saving_and_loading_are_inverse(copy):
    manifest = load_manifest(copy)
    before = (copy / 'dataset.json').read_text()
    manifest.save()
    assert (copy / 'dataset.json').read_text() == before
    assert load_manifest(copy) == manifest


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c['metainfo'].update(version=99), 'version 99'),
        (lambda c: c['metainfo'].update(format='coco'), 'is coco'),
        (lambda c: c.pop('data_list'), 'not a MASSM dataset'),
        (lambda c: c['data_list'][0].update(image='../../etc/passwd'), 'leaves the dataset'),
        (lambda c: c['data_list'][0].update(image='/etc/passwd'), 'leaves the dataset'),
        (lambda c: c['data_list'][0].update(split='holdout'), 'holdout'),
        (lambda c: c['data_list'][0]['anatomies']['spleen'].update(status='odd'), 'odd'),
    ],
)
def test_broken_manifests_are_refused_by_name(copy, change, message):
    edit(copy, change)
    with pytest.raises(DatasetError, match=message) as caught:
        load_manifest(copy)
    assert 'dataset.json' in str(caught.value)


def test_unknown_and_open_anatomies_have_no_shapes(tmp_path):
    manifest = Manifest(tmp_path, 3.0, ('spleen', 'cord'), (), open=('cord',))
    assert manifest.with_shapes() == manifest.with_shapes(['spleen']) == ['spleen']
    with pytest.raises(DatasetError, match='has no liver; it was prepared with spleen, cord'):
        manifest.with_shapes(['spleen', 'liver'])
    for anatomies in (['cord'], ['spleen', 'cord']):
        with pytest.raises(DatasetError, match='cord was prepared as open'):
            manifest.with_shapes(anatomies)
    with pytest.raises(DatasetError, match='cord was prepared as open'):
        Manifest(tmp_path, 3.0, ('cord',), (), open=('cord',)).with_shapes()
