"""Loss weights that change with the epoch (the paper's schedule)."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.engine.distributed import unwrapped
from massm.engine.epochs import warn_if_never
from massm.errors import ConfigError
from massm.registry import HOOKS


def ramped_weight(base: float, phases: list[dict], epoch: int) -> float:
    """The weight in ``epoch`` (from 0).

    Args:
        base: weight before the first phase.
        phases: in order; each has ``begin`` (its first epoch) and either ``value``, a constant,
            or ``step`` and ``until``: ``step`` in its first epoch, one more ``step`` each next
            one, up to ``until``.
    """
    weight = base
    for phase in phases:
        if epoch < phase['begin']:
            break
        if 'value' in phase:
            weight = phase['value']
        else:
            weight = min(phase['until'], phase['step'] * (epoch - phase['begin'] + 1))
    return float(weight)


@HOOKS.register_module()
class LossWeightRampHook(Hook):
    """Sets ``model.loss_weights`` at the start of every epoch; depends on the epoch alone, so a
    resumed run goes on as if it had never stopped.

    Args:
        ramps: loss name (``L_h``, ``L_r``, ``L_o``, ``L_l``, ``L_w``) to its phases
            (:func:`ramped_weight`).
    """

    priority = 'VERY_HIGH'

    def __init__(self, ramps: dict[str, list[dict]]) -> None:
        self.ramps = ramps
        self.base: dict[str, float] = {}

    def before_train(self, runner: Runner) -> None:
        """Remembers the config's weights.

        Raises:
            ConfigError: a ramp names a loss the model does not have.
        """
        weights = _model(runner).loss_weights
        unknown = sorted(set(self.ramps) - set(weights))
        if unknown:
            raise ConfigError(
                f'LossWeightRampHook: no loss {", ".join(unknown)}; there are {", ".join(weights)}'
            )
        self.base = {name: weights[name] for name in self.ramps}
        for name, phases in self.ramps.items():
            for phase in phases:
                warn_if_never(runner, f'a phase of the weight of {name}', phase['begin'])

    def before_train_epoch(self, runner: Runner) -> None:
        """Sets this epoch's weights and logs them."""
        weights = _model(runner).loss_weights
        for name, phases in self.ramps.items():
            weights[name] = ramped_weight(self.base[name], phases, runner.epoch)
            runner.message_hub.update_scalar(f'train/weight_{name}', weights[name])


def _model(runner: Runner):
    return unwrapped(runner.model)
