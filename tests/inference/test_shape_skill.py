from massm.evaluation.agreement import CORRELATION, MODES
from massm.inference.shape_skill import blind_scores, blind_sizes
from tests.inference.cards import card_of


def metrics(**errors):
    rows = {
        name: {'world_rmse_mm': error, 'world_rmse_mm_mean_shape': mean}
        for name, (error, mean) in errors.items()
    }
    return {'anatomies': rows, 'mean': {}}


def following(*scores, **sizes):
    """A test of one anatomy that is nearer than the mean shape."""
    tested = metrics(spleen=(1.0, 2.0))
    told = dict(zip(MODES, scores, strict=False)) | sizes
    tested['anatomies']['spleen'].update({key + CORRELATION: r for key, r in told.items()})
    return tested


def test_an_anatomy_is_named_whose_world_shape_tells_no_more_than_the_mean():
    tested = metrics(spleen=(1.0, 2.0), liver=(2.1, 2.0), sacrum=(2.0, 2.0), kidney=(None, None))
    assert blind_scores(tested) == ['liver', 'sacrum']
    assert blind_scores(None) == []


def test_an_anatomy_is_named_whose_scores_hardly_follow_the_patients():
    assert blind_scores(following(0.7, 0.6, 0.3)) == []
    assert blind_scores(following(0.7, 0.6, -0.1)) == ['spleen']
    assert blind_scores(following(0.6, None, None)) == []
    assert blind_scores(following(None, None, None)) == []


def test_sizes_are_named_that_hardly_follow_the_patients():
    tested = following(volume_ml=0.8, axis1_mm=0.3, axis2_mm=-0.9, axis3_mm=None)
    assert blind_sizes(tested, 'spleen') == ['axis1_mm', 'axis2_mm']
    assert blind_sizes(tested, 'liver') == blind_sizes(None, 'spleen') == []


def test_the_model_card_says_so():
    accuracy = metrics(spleen=(1.0, 2.0), liver=(2.1, 2.0))
    card = card_of(['spleen', 'liver'], accuracy)
    assert 'next to nothing: liver.' in card and '| liver | - | - | - | - | 2.1 | 2 |' in card
    assert 'Correlation' not in card
    card = card_of(['spleen'], following(0.7, 0.1, -0.1, volume_ml=0.25))
    assert 'next to nothing: spleen.' in card
    assert '| spleen | 0.25 | - | - | - | - | 0.70 | 0.10 | -0.10 |' in card
