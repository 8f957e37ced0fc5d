"""Whether a model's world shapes say more than the mean shape does."""

from typing import Any


def no_better_than_mean(metrics: dict[str, Any] | None) -> list[str]:
    """Anatomies whose tested world error is not below the mean shape's: their shape scores look
    average whatever the patient.

    Args:
        metrics: as in ``metrics.json``; None where the model was not tested.
    """
    anatomies = metrics['anatomies'] if metrics else {}
    return [name for name, values in anatomies.items() if _is_blind(values)]


def _is_blind(values: dict[str, float | None]) -> bool:
    error, yardstick = values.get('world_rmse_mm'), values.get('world_rmse_mm_mean_shape')
    return error is not None and yardstick is not None and error >= yardstick
