"""What DeepSSM needs around its steps: a shape model before, and stages."""

from collections.abc import Iterator, Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.datasets.shape_dataset import ShapeDataset
from massm.datasets.unaugmented import unaugmented
from massm.engine.distributed import unwrapped
from massm.engine.epochs import warn_if_never
from massm.errors import ConfigError
from massm.registry import HOOKS
from massm.structures.shape_sample import ShapeSample
from projects.deepssm.deepssm import DeepSSM


@HOOKS.register_module()
class DeepSSMPreparationHook(Hook):
    """Fits the model's decoders and canvas to the training split, as it is without augmentation,
    unless a loaded checkpoint brought them."""

    priority = 'HIGH'

    def before_train(self, runner: Runner) -> None:
        """See the class."""
        model: DeepSSM = unwrapped(runner.model)
        if bool(model.is_prepared):
            return
        found, exists, sizes = [], [], []
        for sample in plain_samples(runner.train_dataloader.dataset):
            size = torch.tensor([sample.image_shape])
            target = model.targets(sample.local_vox[None], sample.world_mm[None], size)
            found.append(target[0])
            exists.append(sample.has_shape)
            sizes.append(size[0])
        kept = model.prepare(
            torch.stack(found).double().numpy(),
            torch.stack(exists).numpy(),
            torch.stack(sizes).numpy(),
        )
        told = ', '.join(f'{n} {k}' for n, k in zip(model.anatomies, kept, strict=True))
        runner.logger.info(f'DeepSSMPreparationHook: scores of each anatomy: {told}')


def plain_samples(dataset: ShapeDataset) -> Iterator[ShapeSample]:
    """Every subject as it is, whatever the dataset's own pipeline does."""
    plain = unaugmented(dataset)
    for subject in range(len(plain)):
        yield plain[subject]['data_samples']


@HOOKS.register_module()
class DeepSSMStageHook(Hook):
    """Sets ``model.stage`` at the start of every epoch.

    Args:
        begins: the first epoch of each of the decoder's stages, in order; the first is 0.
    """

    priority = 'VERY_HIGH'

    def __init__(self, begins: Sequence[int]) -> None:
        self.begins = tuple(begins)

    def before_train(self, runner: Runner) -> None:
        """Holds the stages against the decoder's and against the training's length.

        Raises:
            ConfigError: the decoder has another number of stages.
        """
        model: DeepSSM = unwrapped(runner.model)
        if len(self.begins) != len(model.stages) or self.begins[0] != 0:
            raise ConfigError(
                f'DeepSSMStageHook: begins must give an epoch for each of {model.stages}, from 0; '
                f'got {self.begins}'
            )
        for stage, begin in zip(model.stages, self.begins, strict=True):
            warn_if_never(runner, f'the stage {stage}', begin)

    def before_train_epoch(self, runner: Runner) -> None:
        """See the class."""
        model: DeepSSM = unwrapped(runner.model)
        model.stage = model.stages[sum(begin <= runner.epoch for begin in self.begins) - 1]
