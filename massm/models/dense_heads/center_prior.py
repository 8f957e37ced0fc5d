"""Where anatomies lie relative to each other: what a map leaves open, the others decide.

A left gland looks like a right one and a vertebra like the next. The centres of a cohort have a
joint Gaussian distribution; each anatomy's map is weighed with what the others' centres say of it
(expectation propagation, Minka 2001, with Gaussian sites).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from massm.shape.incomplete_gaussian import fit_incomplete_gaussian

# Where the whole patient lies in a scan is not known, mm an axis.
ANYWHERE_STD = 1000.0
# Standard deviations (mm) that are added to every anatomy's own finding, round by round: at first
# all of them only hint, so that one that is wrong cannot mislead those that agree.
HINTS = (30.0, 20.0, 10.0, 5.0)
# How often a map's best cells are not by the anatomy at all.
ASTRAY = 0.1


@dataclass(frozen=True)
class Candidates:
    """The most likely cells of each anatomy's map: ``position_mm`` ``[B, K, C, 3]`` and their
    ``share`` ``[B, K, C]`` of the map; and the ``density`` ``[B]`` (1/mm³) of a map that says
    nothing."""

    position_mm: Tensor
    share: Tensor
    density: Tensor


class CenterPrior(nn.Module):
    """Buffers ``mean`` ``[K, 3]`` and ``covariance`` ``[3K, 3K]`` (mm) of the centres, up to a
    common translation.

    Args:
        num_anatomies: K.
        std: of a centre about its mean before a subject is seen, mm; ``strength`` subjects' worth.
    """

    def __init__(self, num_anatomies: int, std: float = 20.0, strength: float = 4.0) -> None:
        super().__init__()
        self.std, self.strength = std, strength
        size = 3 * num_anatomies
        self.register_buffer('mean', torch.zeros(num_anatomies, 3, dtype=torch.float64))
        self.register_buffer('covariance', torch.zeros(size, size, dtype=torch.float64))

    @property
    def is_filled(self) -> bool:
        """Whether centres were read or came with a checkpoint."""
        return bool(self.covariance.any())

    def read(self, centers_mm: np.ndarray) -> None:
        """Takes the distribution of ``centers_mm`` ``[S, K, 3]``, NaN where a subject lacks one."""
        centers = np.asarray(centers_mm, dtype=np.float64)
        some = np.isfinite(centers).all(-1).any(1)
        placed = without_translation(centers[some])
        mean, covariance = fit_incomplete_gaussian(
            placed.reshape(len(placed), -1), self.std, self.strength
        )
        self.mean.copy_(torch.as_tensor(mean).view_as(self.mean))
        self.covariance.copy_(torch.as_tensor(covariance))

    def expectations(self, found: Candidates) -> tuple[Tensor, Tensor]:
        """What the other anatomies say of each: mean ``[B, K, 3]`` and covariance
        ``[B, K, 3, 3]``, mm."""
        position = found.position_mm.double()
        weight = found.share.double()
        center, spread = _moments(position, weight / weight.sum(2, keepdim=True))
        eye = torch.eye(3, device=center.device, dtype=center.dtype)
        for hint in HINTS:
            mean, covariance = self._others(center, spread + hint**2 * eye)
            center, spread = _tilted(found, mean, covariance)
        return mean, covariance

    def _others(self, center: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """The prior of every centre given the findings of all but itself."""
        batch, count = center.shape[:2]
        everywhere = ANYWHERE_STD**2 * torch.eye(3, device=center.device, dtype=center.dtype)
        prior = self.covariance + everywhere.repeat(count, count)
        seen = torch.zeros(batch, count, 3, count, 3, device=center.device, dtype=center.dtype)
        index = torch.arange(count, device=center.device)
        seen[:, index, :, index, :] = spread.transpose(0, 1)
        seen = prior + seen.flatten(3).flatten(1, 2)
        # Leave one out in closed form: with P = seen⁻¹, the others predict a finding x_k as
        # x_k - P_kk⁻¹ (P away)_k with covariance P_kk⁻¹ (Rasmussen & Williams 2006, 5.12), the
        # finding's own spread included.
        inverse = torch.linalg.inv(seen)
        away = (center - self.mean).flatten(1)
        pull = (inverse @ away.unsqueeze(-1)).view(batch, count, 3)
        own = inverse.view(batch, count, 3, count, 3)[:, index, :, index, :].transpose(0, 1)
        covariance = torch.linalg.inv(own)
        mean = center - (covariance @ pull.unsqueeze(-1)).squeeze(-1)
        eye = torch.eye(3, device=center.device, dtype=center.dtype)
        return mean, _positive(covariance - spread) + eye


def weighed(found: Candidates, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Share of every candidate ``[B, K, C]``, and of all places that are none ``[B, K]``, when maps
    are weighed with a Gaussian; together one."""
    normal = torch.distributions.MultivariateNormal(mean.unsqueeze(2), covariance.unsqueeze(2))
    density = normal.log_prob(found.position_mm.double()).exp()
    points = (1 - ASTRAY) * found.share.double() * density
    elsewhere = (ASTRAY * found.density).unsqueeze(1).expand(points.shape[:2])
    total = points.sum(2) + elsewhere
    return points / total.unsqueeze(2), elsewhere / total


def without_translation(centers_mm: np.ndarray, steps: int = 30) -> np.ndarray:
    """``[S, K, 3]`` with every subject, who has at least one centre, moved onto the mean of all as
    far as those it has tell."""
    seen = np.isfinite(centers_mm)
    placed = centers_mm - np.nanmean(centers_mm, axis=1, keepdims=True)
    for _ in range(steps):
        mean = np.nansum(placed, axis=0) / np.maximum(seen.sum(0), 1)
        placed = placed - np.nanmean(placed - mean, axis=1, keepdims=True)
    return placed


def _tilted(found: Candidates, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the maps weighed with a Gaussian."""
    points, elsewhere = weighed(found, mean, covariance)
    position = torch.cat([found.position_mm.double(), mean.unsqueeze(2)], 2)
    share = torch.cat([points, elsewhere.unsqueeze(2)], 2)
    center, spread = _moments(position, share)
    return center, spread + elsewhere[..., None, None] * covariance


def _moments(position: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    center = (share.unsqueeze(-1) * position).sum(2)
    away = position - center.unsqueeze(2)
    return center, torch.einsum('bkc,bkci,bkcj->bkij', share, away, away)


def _positive(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp(min=0)) @ vectors.transpose(-1, -2)
