"""Where anatomies lie relative to each other: what a map leaves open, the others decide.

A left gland looks like a right one and a vertebra like the next. The centres of a cohort have a
joint Gaussian distribution; expectation propagation (Minka 2001) gives each anatomy's map
a Gaussian site and weighs the map with what the other sites say.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from massm.shape.incomplete_gaussian import fit_incomplete_gaussian

# Where the whole patient lies in a scan is not known, mm an axis.
ANYWHERE_STD = 1000.0
# Annealing: standard deviations (mm) that are added to every site, round by round. At first all
# only hint, so that one that is wrong cannot mislead those that agree.
ANNEALING = (30.0, 20.0, 10.0, 5.0)
# Probability that a map's best cells are not by the anatomy at all.
OUTLIER = 0.1


@dataclass(frozen=True)
class Candidates:
    """The most likely cells of each anatomy's map: ``position_mm`` ``[B, K, C, 3]`` and their
    ``probability`` ``[B, K, C]``; the probability ``outlier`` ``[B, K]`` that the anatomy is at
    none of them; the volume's ``low`` and ``high`` corners ``[B, 3]`` in mm."""

    position_mm: Tensor
    probability: Tensor
    outlier: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(
        cls, position_mm: Tensor, probability: Tensor, presence: Tensor, size_mm: Tensor
    ) -> 'Candidates':
        """Candidates of a volume from 0 to ``size_mm`` ``[B, 3]``.

        A flat map, whose best cells hold little of its probability, and one whose ``presence``
        ``[B, K]`` is small beside the surest anatomy's, say little.
        """
        surest = presence.amax(1, keepdim=True).clamp(min=1e-6)
        trust = (1 - OUTLIER) * probability.sum(2) * presence / surest
        parts = (position_mm, probability, 1 - trust, torch.zeros_like(size_mm), size_mm)
        return cls(*(part.double() for part in parts))


@dataclass(frozen=True)
class Gaussians:
    """``precision`` ``[B, K, 3, 3]`` (1/mm²) and ``pull`` ``[B, K, 3]``, precision times mean; zero
    says nothing."""

    precision: Tensor
    pull: Tensor

    @classmethod
    def at(cls, mean: Tensor, covariance: Tensor) -> 'Gaussians':
        """From ``[B, K, 3]`` and ``[B, K, 3, 3]``."""
        precision = torch.linalg.inv(covariance)
        return cls(precision, _times(precision, mean))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance."""
        covariance = torch.linalg.inv(self.precision)
        # Inverses of wide Gaussians are symmetric only nearly.
        covariance = (covariance + covariance.transpose(-1, -2)) / 2
        return _times(covariance, self.pull), covariance

    def without(self, other: 'Gaussians') -> 'Gaussians':
        """The quotient; along axes where it would be no distribution, nothing is said."""
        values, vectors = torch.linalg.eigh(self.precision - other.precision)
        kept = (values > 1e-9).to(values)
        pull = _times(vectors.transpose(-1, -2), self.pull - other.pull) * kept
        precision = vectors @ torch.diag_embed(values * kept) @ vectors.transpose(-1, -2)
        return Gaussians(precision, _times(vectors, pull))

    def times(self, other: 'Gaussians') -> 'Gaussians':
        """The product."""
        return Gaussians(self.precision + other.precision, self.pull + other.pull)

    def wider(self, std: float) -> 'Gaussians':
        """The same with ``std`` (mm) added to every standard deviation; nothing stays nothing."""
        eye = torch.eye(3, dtype=self.pull.dtype, device=self.pull.device)
        shrink = torch.linalg.inv(eye + std**2 * self.precision)
        return Gaussians(shrink @ self.precision, _times(shrink, self.pull))


class CenterPrior(nn.Module):
    """Buffers ``mean`` ``[K, 3]`` and ``covariance`` ``[3K, 3K]`` (mm) of the centres, up to a
    translation that all ``linked`` ``[K, K]`` anatomies share.

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
        self.register_buffer('linked', torch.eye(num_anatomies, dtype=torch.float64))

    @property
    def is_filled(self) -> bool:
        """Whether centres were read or came with a checkpoint."""
        return bool(self.covariance.any())

    def read(self, centers_mm: np.ndarray) -> None:
        """Takes the distribution of ``centers_mm`` ``[S, K, 3]``, NaN where a subject lacks one.

        Nothing is said of an anatomy that none has, nor of anatomies to each other that no chain of
        subjects links.
        """
        centers = np.asarray(centers_mm, dtype=np.float64)
        linked = linked_anatomies(np.isfinite(centers).all(-1))
        placed = _without_translation(centers, linked)
        anywhere = ANYWHERE_STD**2 * np.kron(linked, np.eye(3))
        mean, covariance = fit_incomplete_gaussian(
            placed.reshape(len(placed), -1), self.std, self.strength, anywhere
        )
        self.mean.copy_(torch.as_tensor(mean).view_as(self.mean))
        self.covariance.copy_(torch.as_tensor(covariance))
        self.linked.copy_(torch.as_tensor(linked))

    def expectations(self, found: Candidates) -> tuple[Tensor, Tensor]:
        """What the other anatomies say of each: mean ``[B, K, 3]`` and covariance
        ``[B, K, 3, 3]``, mm."""
        volume = context = _uniform(found)
        for std in ANNEALING:
            tilted = Gaussians.at(*_tilted(found, *context.moments()))
            cavity = self._cavities(tilted.without(context).wider(std))
            # Where the others say little, a map that may be astray is so within the volume.
            context = cavity.times(volume)
        return cavity.moments()

    def _cavities(self, sites: Gaussians) -> Gaussians:
        """The prior of every centre given the sites of all others."""
        batch, count = sites.pull.shape[:2]
        eye = torch.eye(3, dtype=self.mean.dtype, device=self.mean.device)
        prior = torch.linalg.inv(self.covariance + torch.kron(ANYWHERE_STD**2 * self.linked, eye))
        index = torch.arange(count, device=self.mean.device)
        joint = prior.repeat(batch, 1, 1).view(batch, count, 3, count, 3)
        joint[:, index, :, index, :] += sites.precision.transpose(0, 1)
        joint = joint.flatten(3).flatten(1, 2)
        pull = (prior @ self.mean.flatten()) + sites.pull.flatten(1)
        covariance = torch.linalg.inv(joint)
        mean = _times(covariance, pull).view(batch, count, 3)
        own = covariance.view(batch, count, 3, count, 3)[:, index, :, index, :].transpose(0, 1)
        together = Gaussians.at(mean, own)
        precision = together.precision - sites.precision
        return Gaussians(precision, together.pull - sites.pull)


def linked_anatomies(seen: np.ndarray) -> np.ndarray:
    """``[K, K]``, 1 for pairs that a chain of subjects links, from ``[S, K]``; else 0."""
    seen = seen.astype(np.float64)
    _, group = connected_components(seen.T @ seen, directed=False)
    return (group[:, None] == group[None]).astype(np.float64)


def weighed(found: Candidates, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of every candidate ``[B, K, C]``, and that it is none ``[B, K]``, when maps are
    weighed with a Gaussian; together one."""
    normal = torch.distributions.MultivariateNormal(
        mean.unsqueeze(2), covariance.unsqueeze(2), validate_args=False
    )
    points = (1 - found.outlier).unsqueeze(2) * found.probability
    points = points * normal.log_prob(found.position_mm).exp()
    # A map that is astray may have its peak anywhere in the volume. A Gaussian wider than that says
    # nothing of places in it.
    uniform = 1 / (found.high - found.low).prod(1, keepdim=True)
    highest = torch.exp(-0.5 * torch.logdet(covariance)) / (2 * math.pi) ** 1.5
    none = found.outlier * torch.minimum(uniform, highest)
    total = points.sum(2) + none
    return points / total.unsqueeze(2), none / total


def tells_a_place(found: Candidates, covariance: Tensor) -> Tensor:
    """``[B, K]``: whether Gaussians of ``covariance`` ``[B, K, 3, 3]`` (mm²) are narrower than the
    volume; an anatomy that is alone, or beside silent ones, has one that is not."""
    volume = (found.high - found.low).square().div(12).log().sum(1, keepdim=True)
    return torch.logdet(covariance) < volume


def _tilted(found: Candidates, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the maps weighed with a Gaussian."""
    points, none = weighed(found, mean, covariance)
    position = torch.cat([found.position_mm, mean.unsqueeze(2)], 2)
    probability = torch.cat([points, none.unsqueeze(2)], 2)
    center = (probability.unsqueeze(-1) * position).sum(2)
    away = position - center.unsqueeze(2)
    spread = torch.einsum('bkc,bkci,bkcj->bkij', probability, away, away)
    eye = torch.eye(3, dtype=spread.dtype, device=spread.device)
    return center, spread + none[..., None, None] * covariance + eye


def _uniform(found: Candidates) -> Gaussians:
    """As wide as the volume, for every anatomy."""
    shape = found.position_mm.shape[:2]
    center = ((found.low + found.high) / 2).unsqueeze(1).expand(*shape, 3)
    variance = (found.high - found.low).square() / 12
    return Gaussians.at(center, torch.diag_embed(variance).unsqueeze(1).expand(*shape, 3, 3))


def _without_translation(centers: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """Each subject's linked centres about their own middle."""
    placed = centers.copy()
    for members in np.unique(linked, axis=0).astype(bool):
        part = centers[:, members]
        count = np.isfinite(part).all(-1).sum(1)
        middle = np.nansum(part, 1) / np.maximum(count, 1)[:, None]
        placed[:, members] = part - middle[:, None]
    return placed


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
