import pytest

from massm.visualization.measure_table import place_in_words


@pytest.mark.parametrize(
    ('value', 'percentile', 'words'),
    [
        (5, 1.2, '1st'), (5, 11, '11th'), (5, 22, '22nd'), (5, 93.4, '93rd'), (5, 50, '50th'),
        (0.9, 0, 'below all'), (9.1, 100, 'above all'), (1, 0, '0th'),
    ],
)  # fmt: skip
def test_places_in_words(value, percentile, words):
    assert place_in_words(value, [1, 3, 9], percentile) == words
