"""A loop under a clock of its own: the steps cost what the test says."""

import subprocess
import sys

import pytest

from massm.engine import budgeted_train_loop
from massm.engine.budgeted_train_loop import BudgetedTrainLoop, set_aside
from massm.engine.hooks import ValidatedCheckpointHook
from massm.errors import ConfigError


class Sampler:
    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch


class Loader:
    """Three batches a pass, named by the pass."""

    def __init__(self):
        self.sampler, self.dataset = Sampler(), type('Data', (), {'metainfo': {}})()

    def __len__(self):
        return 3

    def __iter__(self):
        return iter([(self.sampler.epoch, i) for i in range(3)])


class Runner:
    """Each step, hook before training and validation takes its seconds."""

    def __init__(self, step=2.0, before=0.0, validation=0.0, aside=0.0):
        self.now, self.step, self.before, self.events = 0.0, step, before, []
        self.aside = aside
        self.visualizer, self.model = type('V', (), {})(), self
        self.logger = type('L', (), {'warning': lambda _, text: self.events.append(text)})()
        self.kept = {}
        self.message_hub = type(
            'Hub',
            (),
            {
                'update_info': lambda _, key, value: self.kept.update({key: value}),
                'get_info': lambda _, key, default=None: self.kept.get(key, default),
            },
        )()
        self.optim_wrapper = type(
            'W',
            (),
            {'initialize_count_status': lambda _, *counted: self.counted.append(counted[1:])},
        )()
        self.counted = []
        self.val_loop = type('Val', (), {'run': lambda _: self.validate(validation)})()
        self.batches, self.validated = [], 0

    def validate(self, seconds):
        self.now += seconds
        self.validated += 1

    def call_hook(self, name, **_):
        self.events.append(name)
        if name == 'before_train':
            self.now += self.before
            if self.aside:
                set_aside(self, 'filters', self.aside)

    def train(self):
        pass

    def train_step(self, batch, optim_wrapper):
        self.now += self.step
        self.batches.append(batch)


@pytest.fixture
def make(monkeypatch):
    def build(runner, **settings):
        monkeypatch.setattr(budgeted_train_loop.time, 'monotonic', lambda: runner.now)
        monkeypatch.setattr(budgeted_train_loop, 'cpu_seconds', lambda: 2 * runner.now)
        return BudgetedTrainLoop(runner, Loader(), **settings)

    return build


def test_epochs_are_shares_of_the_budget_and_passes_go_on_through_them(make):
    runner = Runner(step=2.0)
    make(runner, max_epochs=5, budget_s=20.0, val_interval=5).run()
    assert len(runner.batches) == 10 and runner.events.count('after_train_epoch') == 5
    assert runner.batches[:7] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert runner.validated == 1 and runner.events[-1] == 'after_train'


def test_preparation_counts_and_validation_does_not(make):
    runner = Runner(step=1.0, before=4.0, validation=100.0)
    loop = make(runner, max_epochs=4, budget_s=10.0, val_interval=2)
    loop.run()
    assert loop.preparation_s == 4.0 and len(runner.batches) == 6
    assert runner.validated == 2 and loop.spent_s == 10.0 and loop.cpu_s == 20.0


def test_what_hooks_do_after_the_last_step_is_in_the_budget(make):
    class Late(Runner):
        def call_hook(self, name, **_):
            super().call_hook(name)
            if name == 'after_train_epoch' and len(self.batches) == 7:
                self.now += 6.0

    runner = Late(step=2.0, aside=6.0)
    loop = make(runner, max_epochs=2, budget_s=20.0, val_begin=9)
    loop.run()
    assert len(runner.batches) == 7 and loop.spent_s == 20.0


def test_steps_longer_than_an_epoch_leave_epochs_out_and_not_the_schedule(make):
    runner = Runner(step=7.0)
    make(runner, max_epochs=10, budget_s=20.0, val_interval=3).run()
    assert len(runner.batches) == 3 and runner.events.count('after_train_epoch') == 10
    assert runner.validated == 4


def test_a_preparation_that_takes_it_all_is_told(make):
    runner = Runner(before=30.0)
    make(runner, max_epochs=2, budget_s=20.0).run()
    assert not runner.batches
    assert any('30 s were spent of 20 before a step' in event for event in runner.events)


def test_what_is_kept_for_after_the_last_step_may_leave_time_for_none_and_is_told(make):
    runner = Runner(before=8.0, aside=14.0)
    make(runner, max_epochs=2, budget_s=20.0).run()
    assert not runner.batches
    told = '8 s were spent of 20 before a step, and 14 s are kept for after the last; give a larger'
    assert any(told in event for event in runner.events)


def test_a_resumed_run_has_what_was_left(make):
    whole = Runner(step=1.0, before=2.0)
    make(whole, max_epochs=4, budget_s=10.0).run()
    first = Runner(step=1.0, before=2.0)
    loop = make(first, max_epochs=4, budget_s=10.0)
    loop._last = 0.0
    first.call_hook('before_train')
    loop._tick()
    loop.preparation_s = loop.spent_s
    loop.run_epoch()
    loop.run_epoch()
    second = Runner(step=1.0)
    second.kept = dict(first.kept)
    rest = make(second, max_epochs=4, budget_s=10.0)
    rest._epoch = 2
    rest.run()
    assert len(first.batches) + len(second.batches) == len(whole.batches) == 8
    assert rest.preparation_s == 2.0 and rest.cpu_s == 20.0


def test_the_processors_seconds_are_of_all_processes():
    before = budgeted_train_loop.cpu_seconds()
    burn = 'import time\nwhile time.process_time() < 0.3: pass\ninput()'
    with subprocess.Popen(
        [sys.executable, '-c', burn], stdin=subprocess.PIPE, text=True
    ) as process:
        while budgeted_train_loop.cpu_seconds() < before + 0.3:
            assert process.poll() is None
        process.communicate('\n')
    assert budgeted_train_loop.cpu_seconds() >= before + 0.3  # it has ended


def test_a_validation_that_is_made_up_for_is_free(make):
    runner = Runner(validation=50.0)
    loop = make(runner, max_epochs=2, budget_s=10.0)
    loop._epoch, loop.spent_s = 2, 10.0
    runner.train_loop, runner.epoch = loop, 2

    def call_hook(name):
        if name == 'before_train':
            ValidatedCheckpointHook().before_train(runner)

    runner.call_hook = call_hook
    runner.logger.info = runner.events.append
    loop.run()
    assert runner.validated == 1 and loop.spent_s == 10.0 and loop.cpu_s == 0.0
    assert not any('were spent' in event for event in runner.events)


def test_no_budget_is_one_sentence(make):
    with pytest.raises(ConfigError, match='budget_s must be seconds above 0'):
        make(Runner(), max_epochs=2, budget_s=0.0)


def test_all_processes_set_aside_what_the_first_says(monkeypatch):
    runner = Runner()
    monkeypatch.setattr(budgeted_train_loop, 'broadcast', lambda seconds, src: seconds.fill_(7.0))
    set_aside(runner, 'filters', 5.0)
    assert runner.kept == {f'{budgeted_train_loop.SET_ASIDE}filters': 7.0}


def test_early_stopping_stops_it(make):
    class Stopping(Runner):
        def call_hook(self, name, **_):
            super().call_hook(name)
            self.loop.stop_training = name == 'after_train_epoch'

    runner = Stopping(step=1.0)
    runner.loop = make(runner, max_epochs=5, budget_s=20.0)
    runner.loop.run()
    assert runner.events.count('after_train_epoch') == 1 and runner.events[-1] == 'after_train'


def test_what_several_hooks_keep_adds_up(make):
    runner = Runner(step=2.0, aside=6.0)
    set_aside(runner, 'thresholds', 4.0)
    loop = make(runner, max_epochs=2, budget_s=20.0, val_begin=9)
    loop.run()
    assert len(runner.batches) == 5


def test_accumulated_gradients_are_counted_without_an_end(make):
    runner = Runner(step=2.0)
    make(runner, max_epochs=2, budget_s=20.0).run()
    assert runner.counted == [(0, -1)]
