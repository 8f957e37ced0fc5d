"""Tables as people save them."""

import pytest

from massm.cohort.splits import read_splits
from massm.errors import DatasetError
from massm.io.tables import read_table

TABLE = 'image_id;split\nMüller;train\ns2;test\n'


@pytest.mark.parametrize(
    'encoding', ['utf-8', 'utf-8-sig', 'latin-1', 'utf-16', 'utf-16-le', 'utf-16-be']
)
def test_any_encoding(tmp_path, encoding):
    (tmp_path / 'meta.csv').write_bytes(TABLE.encode(encoding))
    assert read_splits(tmp_path, ['Müller', 's2'], 0) == {'Müller': 'train', 's2': 'test'}


@pytest.mark.parametrize(
    'text',
    [
        TABLE,
        TABLE.replace(';', ','),
        TABLE.replace(';', '\t'),
        TABLE.replace('\n', '\r\n'),
        TABLE.replace('\n', '\n\n'),
        'image_id , "a;b;c" , split\n Müller , 1 , train \ns2,"x\ny",test\n',
        '"image_id","note; of whom","split"\n"Müller","","train"\n"s2","","test"\n',
    ],
)
def test_any_separator(tmp_path, text):
    (tmp_path / 'meta.csv').write_bytes(text.encode())
    assert read_splits(tmp_path, ['Müller', 's2'], 0) == {'Müller': 'train', 's2': 'test'}


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'is empty'),
        (b'\n \n', 'is empty'),
        (b'image_id;split\n', 'no row'),
        (b'PK\3\4whatever', 'save it as CSV'),
        (b'id;part\na;train\n', 'it has id, part'),
        (b'image_id;split\na;train\na;test\n', 'a is in train and in test'),
        (b'image_id;split\na\n', "split ''"),
    ],
)
def test_what_is_no_table_is_one_sentence(tmp_path, content, words):
    (tmp_path / 'meta.csv').write_bytes(content)
    with pytest.raises(DatasetError, match=r'meta\.csv') as error:
        read_splits(tmp_path, ['a'], 0)
    assert words in str(error.value) and '\n' not in str(error.value)
    with pytest.raises(DatasetError, match='no such file'):
        read_table(tmp_path / 'none.csv', DatasetError)


def test_no_subject_moves_when_another_comes(tmp_path):
    ids = [f's{i:03d}' for i in range(400)]
    splits = read_splits(tmp_path, ids, 0)
    assert read_splits(tmp_path, ids[:40], 0).items() <= splits.items()
    assert read_splits(tmp_path, ids[::-1], 0) == splits
    shares = {name: list(splits.values()).count(name) / 400 for name in ('train', 'val', 'test')}
    assert shares['train'] == pytest.approx(0.7, abs=0.06)
    assert shares['test'] == pytest.approx(0.15, abs=0.05)
    assert read_splits(tmp_path, ids, 1) != splits
    for one in ids:
        assert read_splits(tmp_path, [one], 0) == {one: 'train'}
