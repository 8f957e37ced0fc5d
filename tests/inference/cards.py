"""What model cards are made from."""

from collections.abc import Sequence
from typing import Any

from massm.inference.model_card import model_card


def card_of(anatomies: Sequence[str], accuracy: dict | None, **more: Any) -> str:
    """The card of a made-up model."""
    known = {'train_shapes': 9, 'volume_ml': [1.0, 2.0]}
    return model_card(
        {
            'anatomies': list(anatomies),
            'windows': [(-200, 400)],
            'modality': 'ct',
            'spacing_mm': 3.0,
            'num_particles': 512,
            'score_thresholds': dict.fromkeys(anatomies, 0.3),
            'intended_use': 'Research.',
            'training_data': 'some',
            'licence': 'none',
            'population': dict.fromkeys(anatomies, known),
            'accuracy': accuracy,
            **more,
        }
    )
