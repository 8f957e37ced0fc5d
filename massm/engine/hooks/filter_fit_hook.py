"""Fits the linear filters of a shape-fitting head around training."""

import copy
import math
import time
from collections.abc import Iterator, Sequence

import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.dist import get_dist_info
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from massm.cohort.manifest import SubjectEntry
from massm.datasets.check import check_mirroring
from massm.datasets.samplers import SampleIndex
from massm.datasets.shape_dataset import ShapeDataset
from massm.datasets.transforms import LoadMasks, RandomFieldOfView, RandomRemoval
from massm.engine.budgeted_train_loop import set_aside
from massm.engine.distributed import unwrapped
from massm.engine.shape_filter_training import STRENGTHS, FilterFit, FitCase
from massm.errors import ConfigError
from massm.models.massm import MASSM, image_sizes
from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.models.shape_fit.profiles import Seen
from massm.registry import HOOKS, TRANSFORMS

# Epochs of training never reach this: its samples are drawn anew.
FIRST_EPOCH = 1_000_000
# Volumes are kept in memory while those of all processes take no more, bytes; else read again in
# every round.
LARGEST_KEPT = 2e9
# A round that reads regions takes so much longer than one that does not, drawing them included.
COST_OF_REGIONS = 2.0
# Where a checkpoint keeps the seconds that the first rounds took: where training is resumed they
# are fitted again after the last epoch.
FIRST_ROUNDS_S = 'filter_fit_first_rounds_s'


@HOOKS.register_module()
class FilterFitHook(Hook):
    """Fits a head's :class:`LinearOffsets` to the training split, as augmented for training, but
    with all of its anatomies in correspondence, and of cut ones to what the volume shows. Before
    training, unless it is resumed with fitted ones, the rounds that training begins from;
    after the last epoch, before its checkpoint is written, those that read the regions that
    training taught. Does nothing for other local heads. Each process takes its share of the
    patients.

    Args:
        samples: each subject is drawn so often that there are at least so many.
        starts: see :class:`FilterFit`; ``strengths`` too.
        also: transforms that act on these samples alone.

    Raises:
        ConfigError: there are no samples or starts to learn from, or training may end early.
    """

    priority = 'HIGH'

    def __init__(
        self,
        samples: int = 200,
        starts: int = 3,
        strengths: Sequence[float] = STRENGTHS,
        also: Sequence[dict] = (),
    ) -> None:
        if min(samples, starts) < 1 or not strengths:
            raise ConfigError(
                'FilterFitHook needs samples, starts and strengths to fit filters to, got '
                f'{samples}, {starts} and {strengths}'
            )
        self.samples, self.starts, self.strengths = samples, starts, tuple(strengths)
        self.also = [TRANSFORMS.build(step) for step in also]
        self._fit: FilterFit | None = None

    def before_train(self, runner: Runner) -> None:
        """Rounds that read no regions."""
        head = unwrapped(runner.model).local_head
        self._fit = None
        if not isinstance(head, ShapeFitHead):
            return
        if head.rounds_before_regions < len(head.filters):
            _check_whole(runner)
        rest = len(head.filters) / max(1, head.rounds_before_regions) - 1
        # Those of a checkpoint that training only begins from may be of other windows or lengths.
        if runner.epoch and head.filters[0].is_fitted:
            first = runner.message_hub.get_info(FIRST_ROUNDS_S, 0.0)
            set_aside(runner, 'filters', first * (1 + rest * COST_OF_REGIONS) if rest else 0.0)
            return
        began = time.monotonic()
        self._fit_rounds(runner, head.rounds_before_regions)
        first = time.monotonic() - began
        runner.message_hub.update_info(FIRST_ROUNDS_S, first)
        set_aside(runner, 'filters', first * rest * COST_OF_REGIONS)

    def after_train_epoch(self, runner: Runner) -> None:
        """The other rounds, after the last epoch. Where training was resumed, the first ones
        again, since each begins where those before have led."""
        head = unwrapped(runner.model).local_head
        if not (self.is_last_train_epoch(runner) and isinstance(head, ShapeFitHead)):
            return
        if head.rounds_before_regions < len(head.filters):
            self._fit_rounds(runner, len(head.filters))
        self._fit = None

    def _fit_rounds(self, runner: Runner, until: int) -> None:
        model = unwrapped(runner.model)
        if self._fit is None:
            dataset = for_filters(runner.train_dataloader.dataset, self.also)
            passes = math.ceil(self.samples / len(dataset))
            workers = runner.train_dataloader.num_workers
            cases = TrainingCases(model, dataset, passes, workers)
            self._fit = FilterFit(model.local_head, cases, self.starts, self.strengths)
        first, left = self._fit.next_round, self._fit.go_on(until)
        if first == until:
            return
        for name, rounds, known in zip(model.anatomies, left.T, self._fit.taught(), strict=True):
            if not known:
                runner.logger.warning(
                    f'FilterFitHook: no training shape has {name}: its filters are not fitted, and '
                    'it is told as the mean shape where the detector sees it'
                )
                continue
            told = ' '.join(f'{value:.2f}' for value in rounds)
            where = f'rounds {first + 1} to {until}'
            runner.logger.info(f'FilterFitHook: {name}: {told} mm left after {where}')


class TrainingCases:
    """This process's share of a training set, each subject drawn ``passes`` times. What was
    generated from a patient is of that patient: a filter that knows one knows the other.

    Args:
        model: which looks at them.
        dataset: whose samples they are.
        passes: draws of each subject.
        workers: processes that draw them beside this one; they are the same with any number.
    """

    def __init__(self, model: MASSM, dataset: ShapeDataset, passes: int, workers: int = 0) -> None:
        rank, world_size = get_dist_info()
        self.model, self.dataset, self.workers = model, dataset, workers
        known = {s.id: s for s in dataset.manifest.subjects}
        ids = [dataset.get_data_info(i)['id'] for i in range(len(dataset))]
        self.patients = patients_of([known[name] for name in ids])
        own = [i for i, patient in enumerate(self.patients) if patient % world_size == rank]
        self.draws = [SampleIndex.of(i, FIRST_EPOCH + p) for p in range(passes) for i in own]
        # Half precision keeps HU to 2 where it matters.
        taken = 2 * dataset.sizes().prod(1).mean() * passes * len(dataset)
        self._keeps = taken < LARGEST_KEPT
        self._kept: list[dict] = []

    def __call__(self) -> Iterator[FitCase]:
        """The same cases at every call."""
        for draw, item in zip(self.draws, self._items(), strict=True):
            yield self._case(item, self.patients[draw])

    def _items(self) -> Iterator[dict]:
        if self._kept:
            yield from self._kept
            return
        drawn = DataLoader(
            self.dataset,
            batch_size=None,
            sampler=self.draws,
            num_workers=self.workers,
            collate_fn=_as_arrays,
        )
        kept = []
        for item in map(_as_tensors, drawn):
            yield item
            if self._keeps:
                kept.append(item)
        self._kept = kept

    def _case(self, item: dict, patient: int) -> FitCase:
        sample = item['data_samples']
        data = {'inputs': [item['inputs']], 'data_samples': [sample]}
        data = self.model.data_preprocessor(data)
        images, (sample,) = data['inputs'], data['data_samples']
        spacing = self.model.spacing
        return FitCase(
            Seen.of_scan(images, image_sizes(images, [sample])),
            sample.local_vox.float() * spacing,
            sample.boxes[:, :3].float() * spacing,
            sample.has_shape | sample.is_cut,
            sample.seed,
            patient,
        )


def _as_arrays(item: dict) -> dict:
    """As a process hands it to another: each tensor that it gave would keep a file open there."""
    return {
        'inputs': item['inputs'].half().numpy(),
        'data_samples': item['data_samples'].numpy(),
    }


def _as_tensors(item: dict) -> dict:
    return {
        'inputs': torch.from_numpy(item['inputs']),
        'data_samples': item['data_samples'].to_tensor(),
    }


def patients_of(subjects: Sequence[SubjectEntry]) -> list[int]:
    """Of every subject the number of its patient: what was generated from one
    (:mod:`massm.apis.augment`) is no other."""
    bases = {s.id: s.generated_from for s in subjects}

    def patient(name: str) -> str:
        for _ in bases:  # no longer, should a file name a circle
            name = bases.get(name) or name
        return name

    numbers: dict[str, int] = {}
    return [numbers.setdefault(patient(s.id), len(numbers)) for s in subjects]


def _check_whole(runner: Runner) -> None:
    """The last rounds are fitted in the last epoch, which must come."""
    if any(isinstance(hook, EarlyStoppingHook) for hook in runner.hooks):
        raise ConfigError(
            'custom_hooks: EarlyStoppingHook would end training before the filters that read '
            'regions are fitted, in the last epoch; leave it out'
        )


def for_filters(dataset: ShapeDataset, also: Sequence[BaseTransform] = ()) -> ShapeDataset:
    """The same without what filters learn nothing from, masks and the step that takes whole
    anatomies from a sample, and with ``also`` others; volumes are cut last: a warp after it would
    show repeated slices where a cut particle comes to lie.

    Raises:
        ConfigError, DatasetError: patients are to be mirrored that cannot be.
    """
    kept = copy.copy(dataset)
    *steps, pack = dataset.pipeline.transforms
    steps = [step for step in [*steps, *also] if not isinstance(step, LoadMasks | RandomRemoval)]
    steps.sort(key=lambda step: isinstance(step, RandomFieldOfView))
    kept.pipeline = Compose([*steps, pack])
    check_mirroring(kept)
    return kept
