from massm.inference.shape_skill import no_better_than_mean
from tests.inference.cards import card_of


def metrics(**errors):
    rows = {
        name: {'world_rmse_mm': error, 'world_rmse_mm_mean_shape': mean}
        for name, (error, mean) in errors.items()
    }
    return {'anatomies': rows, 'mean': {}}


def test_an_anatomy_is_named_whose_world_shape_tells_no_more_than_the_mean():
    tested = metrics(spleen=(1.0, 2.0), liver=(2.1, 2.0), sacrum=(2.0, 2.0), kidney=(None, None))
    assert no_better_than_mean(tested) == ['liver', 'sacrum']
    assert no_better_than_mean(None) == []


def test_the_model_card_says_so():
    accuracy = metrics(spleen=(1.0, 2.0), liver=(2.1, 2.0))
    card = card_of(['spleen', 'liver'], accuracy)
    assert 'say nothing: liver.' in card and '| liver | - | - | - | 2.1 | 2 |' in card
