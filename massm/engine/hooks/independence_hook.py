"""How many independent measurements an anatomy's particles are worth, learnt from validation."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from massm.engine.distributed import unwrapped
from massm.models.massm import MASSM, image_sizes, stack_targets
from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.models.shape_fit.profiles import Seen
from massm.registry import HOOKS


@HOOKS.register_module()
class IndependenceHook(Hook):
    """Before each validation, sets the ``independence`` of every anatomy of a
    :class:`ShapeFitHead` to that of the ``choices`` whose fits come nearest to the particles of the
    validation split. Does nothing for other local heads.

    Args:
        choices: shares of the particles.
    """

    def __init__(self, choices: Sequence[float] = (0.03, 0.07, 0.15, 0.3, 0.6)) -> None:
        self.choices = tuple(choices)

    def before_val_epoch(self, runner: Runner) -> None:
        """See the class."""
        model = unwrapped(runner.model)
        head = model.local_head
        if not isinstance(head, ShapeFitHead):
            return
        left = torch.zeros(len(self.choices), len(model.anatomies), device=head.independence.device)
        for data in runner.val_dataloader:
            left += distances(model, data, self.choices)
        all_reduce(left)
        best = torch.tensor(self.choices).to(left)[left.argmin(0)]
        head.independence.copy_(torch.where(left[0] > 0, best, head.independence))
        told = zip(model.anatomies, head.independence.tolist(), strict=True)
        runner.logger.info('IndependenceHook: ' + ', '.join(f'{n} {v:.2f}' for n, v in told))


@torch.no_grad()
def distances(model: MASSM, data: dict, choices: Sequence[float]) -> Tensor:
    """``[len(choices), K]`` voxels: from the fits of a batch to its particles, root mean squares
    added up over its samples; zero where none has the anatomy."""
    data = model.data_preprocessor(data, False)
    images, samples = data['inputs'], data['data_samples']
    sizes, truth = image_sizes(images, samples), stack_targets(samples)
    _, boxes, _ = model.detect(images, sizes)
    head, known = model.local_head, model.local_head.independence.clone()
    found = []
    for choice in choices:
        head.independence.fill_(choice)
        error = head.predict(Seen(images, sizes), boxes[..., :3]).local_vox - truth.local_vox
        each = error.square().sum(-1).mean(-1).sqrt()
        found.append(torch.where(truth.has_shape, each, torch.zeros_like(each)).sum(0))
    head.independence.copy_(known)
    return torch.stack(found)
