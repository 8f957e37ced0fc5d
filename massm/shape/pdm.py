"""The point distribution model: mean shape, modes of variation, their variances."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from massm.errors import BROKEN_NPZ, ShapeError


@dataclass(frozen=True, eq=False)
class PointDistributionModel:
    """A linear Gaussian model of world particles (Cootes et al. 1995).

    Args:
        mean: ``[M, 3]``, mm.
        modes: ``[L, M, 3]``, orthonormal as vectors of length 3M.
        variances: ``[L]``, mm², falling.
    """

    mean: np.ndarray
    modes: np.ndarray
    variances: np.ndarray

    def __post_init__(self) -> None:
        if self.modes.shape != (len(self.variances), *self.mean.shape):
            raise ShapeError(
                f'a model of {len(self.variances)} modes over {self.mean.shape} cannot have modes '
                f'of shape {self.modes.shape}'
            )
        for array in (self.mean, self.modes, self.variances):
            array.setflags(write=False)

    @classmethod
    def fit(cls, world: np.ndarray) -> 'PointDistributionModel':
        """Principal components of ``world`` ``[N, M, 3]`` (mm); at most N - 1 modes.

        Raises:
            ShapeError: there are no shapes.
        """
        if len(world) == 0:
            raise ShapeError('a shape model needs at least one shape')
        mean = world.mean(0)
        centred = (world - mean).reshape(len(world), -1)
        _, singular, rows = np.linalg.svd(centred, full_matrices=False)
        # Of shapes that are all alike, what is left is rounding, of the size of the shapes.
        least = max(1e-7 * singular[0], 1e-9 * float(np.linalg.norm(world)))
        rank = int(np.sum(singular > least)) if len(world) > 1 else 0
        modes = rows[:rank].reshape(rank, *mean.shape)
        return cls(mean, modes, singular[:rank] ** 2 / max(len(world) - 1, 1))

    def __len__(self) -> int:
        return len(self.variances)

    @property
    def _rows(self) -> np.ndarray:
        """``[L, 3M]``: the modes as vectors."""
        return self.modes.reshape(len(self), self.mean.size)

    @property
    def displacements(self) -> np.ndarray:
        """``[L, M, 3]`` mm that one standard deviation of each mode moves the particles by."""
        return self.modes * np.sqrt(self.variances)[:, None, None]

    def _scores(self, world: np.ndarray) -> np.ndarray:
        """``[..., L]`` mm along each mode."""
        return (world - self.mean).reshape(*world.shape[:-2], self.mean.size) @ self._rows.T

    def truncate(self, count: int) -> 'PointDistributionModel':
        """The model of the first ``count`` modes."""
        return PointDistributionModel(self.mean, self.modes[:count], self.variances[:count])

    def coefficients(self, world: np.ndarray) -> np.ndarray:
        """``[..., L]`` coefficients in standard deviations of ``[..., M, 3]`` world particles."""
        return self._scores(world) / np.sqrt(self.variances)

    def instance(self, coefficients: np.ndarray) -> np.ndarray:
        """``[..., M, 3]`` world particles of ``[..., L]`` coefficients (standard deviations)."""
        flat = (coefficients * np.sqrt(self.variances)) @ self._rows
        return self.mean + flat.reshape(*flat.shape[:-1], *self.mean.shape)

    def project(self, world: np.ndarray) -> np.ndarray:
        """The shape of the model's span nearest to ``world`` ``[..., M, 3]``."""
        return self.instance(self.coefficients(world))

    def sample(self, count: int = 1, seed: int = 0) -> np.ndarray:
        """``[count, M, 3]`` world particles drawn from the model."""
        draws = np.random.default_rng(seed).standard_normal((count, len(self)))
        return self.instance(draws)

    def mahalanobis(self, world: np.ndarray) -> np.ndarray:
        """``[...]`` distance of ``[..., M, 3]`` from the mean in standard deviations, within the
        model's span."""
        return np.linalg.norm(self.coefficients(world), axis=-1)

    def log_likelihood(self, world: np.ndarray, noise: float = 1.0) -> np.ndarray:
        """``[...]`` log density of ``[..., M, 3]`` under the modes plus independent ``noise`` (mm)
        on every coordinate (probabilistic principal components, Tipping and Bishop 1999)."""
        offset = (world - self.mean).reshape(*world.shape[:-2], -1)
        scores = self._scores(world)
        outside = (offset**2).sum(-1) - (scores**2).sum(-1)
        variances = self.variances + noise**2
        rest = offset.shape[-1] - len(self)
        squares = (scores**2 / variances).sum(-1) + outside / noise**2
        volume = np.log(variances).sum() + rest * np.log(noise**2)
        return -0.5 * (squares + volume + offset.shape[-1] * np.log(2 * np.pi))

    def marginal(self, particles: np.ndarray) -> 'PointDistributionModel':
        """The model of some ``particles`` alone (indices ``[P]``), with modes orthonormal again."""
        root = self.displacements[:, particles]
        _, singular, rows = np.linalg.svd(root.reshape(len(self), -1), full_matrices=False)
        kept = singular > max(singular.max(initial=0), 1e-12) * 1e-7
        modes = rows[kept].reshape(-1, len(particles), 3)
        return PointDistributionModel(self.mean[particles], modes, singular[kept] ** 2)

    def posterior(
        self, particles: np.ndarray, points: np.ndarray, noise: float = 1.0
    ) -> 'PointDistributionModel':
        """The model once some particles were seen (Albrecht et al. 2013).

        Args:
            particles: ``[P]`` indices of those seen.
            points: ``[P, 3]`` where, world mm.
            noise: standard deviation of each coordinate seen, mm.
        """
        scales = np.sqrt(self.variances)
        seen = (self.modes[:, particles] * scales[:, None, None]).reshape(len(self), -1)
        precision = np.eye(len(self)) + seen @ seen.T / noise**2
        offset = (points - self.mean[particles]).ravel()
        best = np.linalg.solve(precision, seen @ offset) / noise**2
        values, vectors = np.linalg.eigh(np.linalg.inv(precision))
        root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T * scales
        _, singular, turns = np.linalg.svd(root, full_matrices=False)
        modes = np.tensordot(turns, self.modes, axes=(1, 0))
        return PointDistributionModel(self.instance(best), modes, singular**2)

    def reconstruct(
        self, particles: np.ndarray, points: np.ndarray, noise: float = 1.0
    ) -> np.ndarray:
        """``[M, 3]``: the most likely whole shape given some of its particles; arguments as for
        :meth:`posterior`."""
        return self.posterior(particles, points, noise).mean

    def save(self, path: Path) -> None:
        """Writes ``mean``, ``modes``, ``variances`` as NPZ."""
        np.savez_compressed(path, mean=self.mean, modes=self.modes, variances=self.variances)

    @classmethod
    def load(cls, path: Path) -> 'PointDistributionModel':
        """Reads what :meth:`save` wrote; nothing in the file can execute.

        Raises:
            ShapeError: the file is missing or is not a model.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                modes = arrays['modes']
                if modes.dtype == np.float16:
                    modes = modes.astype(np.float32)
                return cls(arrays['mean'], modes, arrays['variances'])
        except BROKEN_NPZ as error:
            raise ShapeError(f'{path}: not a shape model ({error}); run build_pdm again') from error
