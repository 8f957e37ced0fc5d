"""Ridge regressions: what they are, and what they say of subjects that they do not know."""

import numpy as np
import pytest
import torch

from massm.engine import subject_ridge
from massm.engine.subject_ridge import SubjectRows, fit_ridge

M, F, EACH = 9, 4, 3


def draw(subjects, noise, seed=0):
    """Of every subject ``EACH`` rows that err alike: ``[EACH, M, F]`` and ``[EACH, M]``."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(M, F, generator=generator)
    for _ in range(subjects):
        seen = torch.randn(EACH, M, F, generator=generator).half().float()
        error = noise * torch.randn(1, M, generator=generator)
        yield seen, (seen * weight).sum(-1) + 2.0 + error


def rows_of(cases, shown=None):
    """``shown`` ``[subjects, EACH, M]``; all without."""
    rows = SubjectRows(M, F, torch.device('cpu'))
    cases = list(cases)
    shown = torch.ones(len(cases), EACH, M, dtype=torch.bool) if shown is None else shown
    for i in range(EACH):  # a subject's are not together
        for subject, (seen, goals) in enumerate(cases):
            some = slice(i, i + 1)
            rows.add(subject, seen[some], goals[some], shown[subject, some])
    return rows


def ridge(cases, m, strength, shown=None):
    """Particle ``m``'s regression, solved by NumPy."""
    seen = np.concatenate([s[:, m] for s, _ in cases]).astype(float)
    x = np.c_[seen, np.ones(len(seen))]
    y = np.concatenate([goals[:, m] for _, goals in cases]).astype(float)
    if shown is not None:
        kept = shown[:, :, m].flatten().numpy()
        x, y = x[kept], y[kept]
    return np.linalg.solve(x.T @ x + np.diag([strength] * F + [1e-3]), x.T @ y)


def test_the_weights_are_those_of_a_ridge_regression():
    cases = list(draw(20, noise=1.0))
    found = fit_ridge(rows_of(cases), [5.0])
    for m in range(M):
        assert np.allclose(found.weight[m], ridge(cases, m, 5.0), atol=1e-3)


@pytest.mark.parametrize('at_once', [64, 4])
def test_what_is_told_of_a_subject_is_told_by_the_regression_without_it(monkeypatch, at_once):
    """Solved again without each of them, one by one."""
    monkeypatch.setattr(subject_ridge, 'AT_ONCE', at_once)
    cases = list(draw(12, noise=2.0))
    found = fit_ridge(rows_of(cases), [5.0])
    told = found.told.view(EACH, 12, M).transpose(0, 1)
    for n, (seen, _) in enumerate(cases):
        for m in range(M):
            weight = ridge(cases[:n] + cases[n + 1 :], m, 5.0)
            expected = seen[:, m].numpy() @ weight[:-1] + weight[-1]
            assert np.allclose(told[n, :, m], expected, atol=5e-3)
    goals = torch.stack([goals for _, goals in cases])
    spread = (goals - told).square().mean((0, 1)).sqrt()
    assert torch.allclose(found.spread, spread, rtol=1e-4)


def test_rows_count_for_the_regressions_that_they_are_shown_to():
    """One particle is shown in no row."""
    cases = list(draw(12, noise=2.0))
    shown = torch.rand(12, EACH, M, generator=torch.Generator().manual_seed(1)) < 0.6
    shown[2], shown[..., 4] = False, False
    found = fit_ridge(rows_of(cases, shown), [5.0])
    told = found.told.view(EACH, 12, M).transpose(0, 1)
    goals = torch.stack([goals for _, goals in cases])
    assert not told[~shown].any() and not found.weight[4].any() and found.spread[4].isinf()
    for m in {*range(M)} - {4}:
        assert np.allclose(found.weight[m], ridge(cases, m, 5.0, shown), atol=1e-3)
        others, known = [*cases[:1], *cases[2:]], torch.cat([shown[:1], shown[2:]])
        weight = ridge(others, m, 5.0, known)
        seen, is_shown = cases[1][0][:, m].numpy(), shown[1, :, m]
        assert np.allclose(
            told[1, is_shown, m], (seen @ weight[:-1] + weight[-1])[is_shown], atol=5e-3
        )
        left = (goals - told)[..., m][shown[..., m]]
        assert torch.allclose(found.spread[m], left.square().mean().sqrt(), rtol=1e-4)


@pytest.mark.parametrize(('noise', 'best'), [(0.01, 1e-2), (30.0, 1e4)])
def test_the_strength_is_that_which_serves_unknown_subjects(noise, best):
    rows = rows_of(draw(6, noise))
    chosen = fit_ridge(rows, [1e-2, 1e4])
    assert torch.allclose(chosen.weight, fit_ridge(rows, [best]).weight)


def test_of_what_nobody_has_nothing_is_known():
    found = fit_ridge(SubjectRows(M, F, torch.device('cpu')), [1.0])
    assert found.spread.isinf().all() and not found.weight.any() and found.told.shape == (0, M)


def test_one_subject_tells_nothing_of_others():
    rows = rows_of(draw(1, noise=1.0))
    found = fit_ridge(rows, [1.0, 1e5])
    assert torch.equal(found.weight, fit_ridge(rows, [1e5]).weight)
    assert found.told.isfinite().all() and found.spread.isfinite().all()
