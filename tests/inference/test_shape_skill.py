from massm.inference.model_card import model_card
from massm.inference.shape_skill import no_better_than_mean


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
    known = {'train_shapes': 9, 'volume_ml': [1.0, 2.0]}
    card = model_card(
        {
            'anatomies': ['spleen', 'liver'],
            'windows': [(-200, 400)],
            'modality': 'ct',
            'spacing_mm': 3.0,
            'num_particles': 512,
            'score_threshold': 0.3,
            'intended_use': 'Research.',
            'training_data': 'some',
            'licence': 'none',
            'population': {'spleen': known, 'liver': known},
            'accuracy': metrics(spleen=(1.0, 2.0), liver=(2.1, 2.0)),
        }
    )
    assert 'say nothing: liver.' in card and '| liver | - | - | - | 2.1 | 2 |' in card
