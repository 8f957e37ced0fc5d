"""A round's filters: what they say of what is seen."""

import torch

from massm.models.shape_fit.linear_offsets import LinearOffsets, linear_offsets

K, M, F = 2, 3, 4


def test_filters_that_were_not_fitted_say_nothing_of_anything():
    filters = LinearOffsets(K, M, F, reach=6.0)
    offsets = filters(torch.randn(K, 5, M, F), torch.ones(K, 5, M, dtype=torch.bool))
    assert not filters.is_fitted and not offsets.mean.any()
    assert torch.allclose(offsets.precision, torch.tensor(0.15 / 2.0**2))


def test_an_offset_is_as_sure_as_its_filter_and_hidden_particles_say_nothing():
    filters = LinearOffsets(K, M, F, reach=6.0)
    filters.weight.normal_()
    filters.log_spread.copy_(torch.arange(K * M).view(K, M) / 4)
    filters.independence.copy_(torch.tensor([0.5, 1.0]))
    seen, visible = torch.randn(K, 5, M, F), torch.rand(K, 5, M) > 0.5
    offsets = filters(seen, visible)
    for k in range(K):
        for m in range(M):
            told = seen[k, :, m] @ filters.weight[k, m, :-1] + filters.weight[k, m, -1]
            sure = filters.independence[k] / filters.log_spread[k, m].exp() ** 2
            assert torch.allclose(offsets.mean[k, :, m], told, atol=1e-5)
            assert torch.allclose(offsets.precision[k, :, m], sure * visible[k, :, m])


def test_filters_travel_with_a_checkpoint_and_can_be_forgotten():
    filters, again = (LinearOffsets(K, M, F, reach=6.0) for _ in range(2))
    filters.weight.normal_()
    filters.independence.fill_(0.6)
    again.load_state_dict(filters.state_dict())
    seen = torch.randn(K, 2, M, F)
    assert again.is_fitted
    assert torch.equal(linear_offsets(again.weight, seen), linear_offsets(filters.weight, seen))
    again.forget()
    assert not again.is_fitted and again.independence[0] == LinearOffsets(1, 1, 1, 1.0).independence
