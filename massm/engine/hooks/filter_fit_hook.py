"""Fits the linear filters of a shape-fitting head before training starts."""

import copy
import math
from collections.abc import Iterator, Sequence

from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.datasets.check import check_mirroring
from massm.datasets.samplers import SampleIndex
from massm.datasets.shape_dataset import ShapeDataset
from massm.datasets.transforms import RandomFieldOfView, RandomRemoval
from massm.engine.distributed import unwrapped
from massm.engine.shape_filter_training import STRENGTHS, FilterCase, fit_filters
from massm.models.massm import MASSM, image_sizes
from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.models.shape_fit.profiles import Seen
from massm.registry import HOOKS, TRANSFORMS

# Epochs of training never reach this: its samples are drawn anew.
FIRST_EPOCH = 1_000_000
# Volumes are kept in memory while those of all processes take no more, bytes; else read again in
# every round.
LARGEST_KEPT = 2e9
# Steps of a pipeline that take whole anatomies in correspondence from a sample: filters learn from
# nothing else.
COSTS_SHAPES = (RandomFieldOfView, RandomRemoval)


@HOOKS.register_module()
class FilterFitHook(Hook):
    """Fits :class:`LinearOffsets` to the training split, as augmented for training, but with all
    of its whole anatomies, unless a loaded checkpoint brought fitted ones. Does nothing for other
    local heads. Each process takes its share of the subjects.

    Args:
        samples: each subject is drawn so often that there are at least so many.
        starts: see :func:`fit_filters`; ``strengths`` too.
        also: transforms that act on these samples alone.
    """

    priority = 'HIGH'

    def __init__(
        self,
        samples: int = 200,
        starts: int = 3,
        strengths: Sequence[float] = STRENGTHS,
        also: Sequence[dict] = (),
    ) -> None:
        self.samples, self.starts, self.strengths = samples, starts, tuple(strengths)
        self.also = [TRANSFORMS.build(step) for step in also]

    def before_train(self, runner: Runner) -> None:
        """See the class."""
        model = unwrapped(runner.model)
        head = model.local_head
        if not isinstance(head, ShapeFitHead) or head.filters.is_fitted:
            return
        dataset = for_filters(runner.train_dataloader.dataset, self.also)
        cases = TrainingCases(model, dataset, math.ceil(self.samples / len(dataset)))
        left = fit_filters(head, cases, self.starts, self.strengths)
        for name, rounds in zip(model.anatomies, left.T, strict=True):
            told = ' '.join(f'{value:.2f}' for value in rounds)
            runner.logger.info(f'FilterFitHook: {name}: {told} mm left after each round')


class TrainingCases:
    """This process's share of a training set, each subject drawn ``passes`` times."""

    def __init__(self, model: MASSM, dataset: ShapeDataset, passes: int) -> None:
        rank, world_size = get_dist_info()
        self.model, self.dataset = model, dataset
        self.draws = [(i, p) for p in range(passes) for i in range(len(dataset))]
        self.draws = self.draws[rank::world_size]
        # Half precision keeps HU to 2 where it matters.
        taken = 2 * dataset.sizes().prod(1).mean() * passes * len(dataset)
        self.kept: dict | None = {} if taken < LARGEST_KEPT else None

    def __call__(self) -> Iterator[FilterCase]:
        """The same cases at every call."""
        for subject, draw in self.draws:
            yield self._case(self._item(subject, draw))

    def _item(self, subject: int, draw: int) -> dict:
        if self.kept is not None and (subject, draw) in self.kept:
            return self.kept[subject, draw]
        item = self.dataset[SampleIndex.of(subject, FIRST_EPOCH + draw)]
        item['inputs'] = item['inputs'].half()
        item['data_samples'].pop('masks', None)
        if self.kept is not None:
            self.kept[subject, draw] = item
        return item

    def _case(self, item: dict) -> FilterCase:
        sample = item['data_samples']
        data = {'inputs': [item['inputs']], 'data_samples': [sample]}
        data = self.model.data_preprocessor(data)
        images, (sample,) = data['inputs'], data['data_samples']
        spacing = self.model.spacing
        return FilterCase(
            Seen(images, image_sizes(images, [sample])),
            sample.local_vox.float() * spacing,
            sample.boxes[:, :3].float() * spacing,
            sample.has_shape,
            sample.seed,
            sample.fold,
        )


def for_filters(dataset: ShapeDataset, also: Sequence[BaseTransform] = ()) -> ShapeDataset:
    """The same without the steps that take whole anatomies from a sample, and ``also`` others
    before it is packed.

    Raises:
        ConfigError, DatasetError: patients are to be mirrored that cannot be.
    """
    kept = copy.copy(dataset)
    *steps, pack = dataset.pipeline.transforms
    steps = [step for step in steps if not isinstance(step, COSTS_SHAPES)]
    kept.pipeline = Compose([*steps, *also, pack])
    check_mirroring(kept)
    return kept
