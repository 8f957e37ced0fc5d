"""Training for a given time, whatever the network and the machine."""

import time
from collections.abc import Iterator
from typing import Any

import psutil
import torch
from mmengine.dist import broadcast
from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop, Runner

from massm.errors import ConfigError
from massm.registry import LOOPS

# Who may keep time for after the last step, and where.
LATE = ('filters', 'thresholds')
SET_ASIDE = 'seconds_set_aside_'
# What a checkpoint keeps of the loop.
COUNTED = ('spent_s', 'preparation_s', 'cpu_s', 'passes')


def set_aside(runner: Runner, who: str, seconds: float) -> None:
    """Tells a budgeted loop, in this run and in those that resume it, how long what one of
    :data:`LATE` does after the last step will take; what the first process says, so that all stop
    alike."""
    runner.message_hub.update_info(SET_ASIDE + who, of_first_process(seconds))


def of_first_process(seconds: float) -> float:
    """What the first process says, in all of them."""
    shared = torch.tensor(seconds, dtype=torch.float64)
    broadcast(shared, src=0)
    return float(shared)


def cpu_seconds() -> float:
    """Of this process and those it started, loaders too: beside the time that went by they tell
    whether the machine had other work."""
    own = psutil.Process()
    spent = [own.cpu_times(), *(_cpu_times(child) for child in own.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in spent if t)


def _cpu_times(process: psutil.Process) -> Any:
    try:
        return process.cpu_times()
    except psutil.Error:  # it has just ended
        return None


@LOOPS.register_module()
class BudgetedTrainLoop(EpochBasedTrainLoop):
    """Trains for ``budget_s`` seconds of wall time.

    An epoch is a share of the budget and no pass over the cohort, so that all that a config counts
    in epochs (learning rate, loss weights, phases, validation) fits the budget by itself. The
    budget holds everything that training does, what hooks do before the first step too, and what
    they :func:`set_aside` for after the last; only validation does not count. Where a run is
    resumed, it goes on with what was left at the checkpoint. ``cpu_s`` are the processor's seconds
    in it.

    Args:
        runner, dataloader, max_epochs, val_begin, val_interval: as mmengine has them.
        budget_s: seconds.

    Raises:
        ConfigError: the budget is not positive.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        max_epochs: int,
        budget_s: float,
        val_begin: int = 1,
        val_interval: int = 1,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval)
        if not budget_s > 0:
            raise ConfigError(f'train_cfg.budget_s must be seconds above 0, got {budget_s}')
        self.budget_s = float(budget_s)
        self.spent_s = self.preparation_s = self.cpu_s = 0.0
        self.passes = 0
        self._batches: Iterator[Any] | None = None
        self._last = self._last_cpu = 0.0

    def run(self) -> BaseModel:
        """Launches training."""
        self._restore()
        # mmengine counts on whole passes. Where gradients are accumulated, it must know that the
        # number of steps is not known.
        self.runner.optim_wrapper.initialize_count_status(self.runner.model, self._iter, -1)
        self.begin_to_count()
        self.runner.call_hook('before_train')
        self._tick()
        self.preparation_s = self.spent_s if self._epoch == 0 else self.preparation_s
        if self._epoch < self._max_epochs and self.spent_s + self._aside >= self.budget_s:
            self.runner.logger.warning(
                f'BudgetedTrainLoop: {self.spent_s:.0f} s were spent of {self.budget_s:.0f} before '
                f'a step, and {self._aside:.0f} s are kept for after the last; give a larger budget'
            )
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._tick()
            self._count_cpu()
            if self._validates():
                self.runner.val_loop.run()
                self.begin_to_count()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Trains until this epoch's share of the budget is spent."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        idx = 0
        self._tick()
        while self.spent_s < self.deadline(self._epoch):
            self.run_iter(idx, self._next_batch())
            idx += 1
            self._tick()
        self._count_cpu()
        self._store()
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def deadline(self, epoch: int) -> float:
        """Seconds spent when ``epoch`` (from 0) ends."""
        left = max(self.budget_s - self.preparation_s - self._aside, 0.0)
        return self.preparation_s + left * (epoch + 1) / self._max_epochs

    @property
    def _aside(self) -> float:
        return sum(self.runner.message_hub.get_info(SET_ASIDE + who, 0.0) for who in LATE)

    def _validates(self) -> bool:
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        return self.runner.val_loop is not None and self._epoch >= self.val_begin and due

    def _next_batch(self) -> Any:
        # The sampler's epoch, of which order and augmentation follow, is the pass; mmengine's hook
        # has set it to the loop's.
        sampler = self.dataloader.sampler
        if self._batches is None:
            sampler.set_epoch(self.passes)
            self._batches = iter(self.dataloader)
        sampler.set_epoch(self.passes)
        batch = next(self._batches, None)
        if batch is None:
            self.passes += 1
            self._batches = None
            return self._next_batch()
        return batch

    def begin_to_count(self) -> None:
        """From now on; what was done since the last time that was counted is free."""
        self._last, self._last_cpu = time.monotonic(), cpu_seconds()

    def _count_cpu(self) -> None:
        """Adds the processor's time since the last call: not at every step, since it asks for all
        processes of the machine."""
        now = cpu_seconds()
        self.cpu_s += now - self._last_cpu
        self._last_cpu = now

    def _tick(self) -> None:
        """Adds the time since the last call; that of the first process, so that all stop alike."""
        now = time.monotonic()
        self.spent_s += of_first_process(now - self._last)
        self._last = now

    def _store(self) -> None:
        """Into what the checkpoint keeps."""
        for name in COUNTED:
            self.runner.message_hub.update_info(f'budget_{name}', getattr(self, name))

    def _restore(self) -> None:
        if self._epoch:
            for name in COUNTED:
                stored = self.runner.message_hub.get_info(f'budget_{name}')
                setattr(self, name, getattr(self, name) if stored is None else stored)
