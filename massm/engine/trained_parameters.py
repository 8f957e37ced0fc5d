"""An optimiser over what is trained, and nothing else."""

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from massm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainedParametersConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, which hands frozen parameters to the optimiser as well unless
    ``paramwise_cfg`` is used; there a gradient left over from elsewhere would move them."""

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Builds the optimiser of ``model``'s unfrozen parameters, and its wrapper."""
        if self.paramwise_cfg:
            return super().__call__(model)
        return super().__call__(nn.ParameterList(p for p in model.parameters() if p.requires_grad))
