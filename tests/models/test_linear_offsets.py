"""Closed-form filters: what they are, and that what is said of them is of subjects unknown to
them."""

import numpy as np
import pytest
import torch

from massm.models.shape_fit.linear_offsets import LinearOffsets, RidgeSums, linear_offsets

K, M, F = 2, 3, 4


def subjects(count, noise, seed=0):
    """Per subject one fit of each anatomy: ``seen`` ``[K, 1, M, F]``, ``offsets`` ``[K, 1, M]``."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(K, M, F + 1, generator=generator)
    for _ in range(count):
        seen = torch.randn(K, 1, M, F, generator=generator)
        error = noise * torch.randn(K, 1, M, generator=generator)
        yield seen, linear_offsets(weight, seen) + error


def summed(cases):
    sums = RidgeSums(K, M, F, torch.device('cpu'))
    for n, (seen, offsets) in enumerate(cases):
        for k in range(K):
            sums.add(n % 2, k, seen[k], offsets[k])
    sums.share()
    return sums


def test_filters_are_those_of_a_ridge_regression():
    cases = list(subjects(60, noise=1.0))
    found = summed(cases).solve([5.0])
    for k in range(K):
        for m in range(M):
            x = np.array([[*seen[k, 0, m], 1.0] for seen, _ in cases])
            y = np.array([float(offsets[k, 0, m]) for _, offsets in cases])
            penalty = np.diag([5.0] * F + [1e-3])
            expected = np.linalg.solve(x.T @ x + penalty, x.T @ y)
            assert np.allclose(found.weight[k, m], expected, atol=1e-3)


def test_the_spread_is_of_subjects_that_the_filters_do_not_know():
    cases = list(subjects(40, noise=2.0))
    found = summed(cases).solve([1.0])
    squares = torch.zeros(K, M)
    for n, (seen, offsets) in enumerate(cases):
        left = offsets - linear_offsets(found.without[:, n % 2], seen)
        squares += left.square().sum(1)
    assert torch.allclose(found.spread, (squares / 40).sqrt(), rtol=1e-2)
    known = torch.stack([(o - linear_offsets(found.weight, s)).square()[:, 0] for s, o in cases])
    assert (known.mean(0).sqrt() < found.spread).all()


@pytest.mark.parametrize(('noise', 'best'), [(0.01, 1e-2), (30.0, 1e4)])
def test_the_strength_is_that_which_serves_unknown_subjects(noise, best):
    sums = summed(subjects(12, noise))
    chosen = sums.solve([1e-2, 1e4])
    assert torch.allclose(chosen.weight, sums.solve([best]).weight)


def test_filters_that_were_not_fitted_say_nothing_of_anything():
    filters = LinearOffsets(K, M, F, reaches=[12.0, 6.0])
    mean, log_spread = filters(1, torch.randn(K, 5, M, F))
    assert not filters.is_fitted and not mean.any()
    assert torch.allclose(log_spread.exp(), torch.tensor(2.0))


def test_some_particles_get_their_own_filters():
    filters = LinearOffsets(K, M, F, reaches=[12.0])
    filters.weight.normal_()
    seen, some = torch.randn(K, 5, M, F), torch.tensor([0, 2])
    whole, _ = filters(0, seen)
    part, spread = filters(0, seen[:, :, some], some)
    assert torch.allclose(part, whole[:, :, some], atol=1e-5) and spread.shape == (K, 1, 2)


def test_an_anatomy_that_nobody_has_says_nothing():
    sums = RidgeSums(K, M, F, torch.device('cpu'))
    for n, (seen, offsets) in enumerate(subjects(10, noise=1.0)):
        sums.add(n % 2, 0, seen[0], offsets[0])
    sums.share()
    found = sums.solve([1.0])
    assert found.spread[0].isfinite().all() and found.weight[0].any()
    assert found.spread[1].isinf().all() and not found.weight[1].any()


def test_with_one_fold_the_strongest_ridge_is_taken():
    sums = RidgeSums(K, M, F, torch.device('cpu'))
    for seen, offsets in subjects(6, noise=1.0):
        for k in range(K):
            sums.add(0, k, seen[k], offsets[k])
    sums.share()
    assert torch.allclose(sums.solve([1.0, 1e4]).weight, sums.solve([1e4]).weight)


def fitted(cases):
    filters = LinearOffsets(K, M, F, reaches=[6.0])
    filters.take(0, slice(0, K), summed(cases).solve([1.0]))
    return filters


def test_a_subject_of_training_meets_filters_that_do_not_know_it():
    cases = list(subjects(40, noise=2.0))
    filters = fitted(cases)
    seen = torch.cat([s for s, _ in cases], 1)
    fold = torch.arange(40).expand(K, -1) % 2
    own, spread = filters(0, seen)
    other, same = filters(0, seen, fold=fold)
    offsets = torch.cat([o for _, o in cases], 1)
    assert torch.equal(spread, same)
    assert torch.allclose((other - offsets).square().mean(1).sqrt(), spread[:, 0].exp(), rtol=0.02)
    assert (own - offsets).square().mean() < (other - offsets).square().mean()
    # Of some particles the same.
    some = torch.tensor([2, 0])
    assert torch.equal(filters(0, seen[:, :, some], some, fold)[0], other[:, :, some])


def test_training_goes_on_from_a_checkpoint_with_the_same_filters():
    filters = fitted(list(subjects(40, noise=2.0)))
    again = LinearOffsets(K, M, F, reaches=[6.0])
    again.load_state_dict(filters.state_dict())
    assert torch.equal(again.without, filters.without) and again.is_fitted
    again.forget()
    assert again.without is None and 'without' not in again.state_dict()
