"""What of a network's settings its weights cannot tell: windows, profiles' lengths, modes."""

from typing import Any

# Where a checkpoint's meta keeps them.
SETTINGS = 'model_settings'
# Where its files lie, how it is computed, how it is taught, and what a user may choose each time.
FREE = (
    'template_root', 'pretrained', 'init_cfg', 'with_checkpoint', 'test_starts', 'start_turn',
    'alpha',
)  # fmt: skip


def model_settings(settings: Any) -> Any:
    """Settings of a network as JSON holds them, but for those that weights do not depend on and
    those of losses, which no longer matter once it is trained."""
    if isinstance(settings, dict):
        kept = {k: v for k, v in settings.items() if k not in FREE and not k.startswith('loss')}
        return {k: model_settings(v) for k, v in kept.items()}
    if isinstance(settings, list | tuple):
        return [model_settings(v) for v in settings]
    plain = settings is None or isinstance(settings, str | int | float)
    return settings if plain else str(settings)


def first_difference(stored: Any, wanted: Any, name: str = 'model') -> tuple[str, Any, Any] | None:
    """Of two :func:`model_settings` the name of the first that differs, and both values; ``None``
    where one does not set it, which is as much as false."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        keys = [*stored, *(k for k in wanted if k not in stored)]
        parts = [(f'{name}.{k}', stored.get(k), wanted.get(k)) for k in keys]
    elif isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        pairs = enumerate(zip(stored, wanted, strict=True))
        parts = [(f'{name}.{i}', *pair) for i, pair in pairs]
    else:
        is_off = all(value is None or value is False for value in (stored, wanted))
        return None if is_off or stored == wanted else (name, stored, wanted)
    found = (first_difference(a, b, part) for part, a, b in parts)
    return next((difference for difference in found if difference), None)
