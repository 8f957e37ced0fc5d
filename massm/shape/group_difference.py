"""Do two groups of shapes differ? A permutation test on their mean shapes."""

from dataclasses import dataclass

import numpy as np

from massm.errors import ShapeError


@dataclass(frozen=True, eq=False)
class GroupDifference:
    """``difference`` ``[M, 3]`` mm, second mean minus first; ``p_value`` of the whole shape;
    ``p_particles`` ``[M]``, each particle's, corrected for their number by the largest statistic;
    ``sizes`` of the groups; ``distance`` root mean square of the difference, mm."""

    difference: np.ndarray
    p_value: float
    p_particles: np.ndarray
    sizes: tuple[int, int]
    distance: float


def group_difference(
    first: np.ndarray, second: np.ndarray, permutations: int = 10_000, seed: int = 0
) -> GroupDifference:
    """Compares the mean shapes of two groups of world particles.

    The statistic is the squared distance of the means, of the whole shape and of each particle in
    units of its variance. Group labels are shuffled; a p-value is the share of shuffles, the
    true one counted, that reach the statistic (Phipson and Smyth 2010). Per-particle values take
    the largest statistic of each shuffle, which controls the family-wise error (Nichols and Holmes
    2002).

    Args:
        first, second: ``[N1, M, 3]``, ``[N2, M, 3]``, mm.
        permutations: how many shuffles, at least 1.

    Raises:
        ShapeError: a group has fewer than two shapes, or there is no shuffle.
    """
    if permutations < 1:
        raise ShapeError(
            f'a test by {permutations} permutations says nothing; take at least 1, better thousands'
        )
    sizes = len(first), len(second)
    if min(sizes) < 2:
        raise ShapeError(f'groups of {sizes[0]} and {sizes[1]} shapes; each needs at least two')
    shapes = np.concatenate([first, second])
    centred = (shapes - shapes.mean(0)).reshape(len(shapes), -1)
    contrast = np.where(np.arange(len(shapes)) < sizes[0], -1 / sizes[0], 1 / sizes[1])
    generator = np.random.default_rng(seed)
    # Of all shapes together, which no shuffle changes, so that the test stays exact.
    variance = (centred**2).reshape(len(shapes), -1, 3).sum((0, 2)) / (len(shapes) - 1)
    variance = np.maximum(variance, 1e-6 * max(variance.max(), 1e-12))

    def statistics(contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        squares = ((contrasts @ centred) ** 2).reshape(len(contrasts), -1, 3).sum(-1)
        return squares.sum(1), squares / variance

    whole, each = (values[0] for values in statistics(contrast[None]))
    reach, reach_each, done = 0, np.zeros(len(each), dtype=int), 0
    while done < permutations:
        batch = generator.permuted(np.tile(contrast, (min(500, permutations - done), 1)), axis=1)
        shuffled, shuffled_each = statistics(batch)
        reach += int((shuffled >= whole * (1 - 1e-12)).sum())
        largest = np.sort(shuffled_each.max(1))
        reach_each += len(batch) - np.searchsorted(largest, each * (1 - 1e-12))
        done += len(batch)
    difference = second.mean(0) - first.mean(0)
    return GroupDifference(
        difference,
        (reach + 1) / (permutations + 1),
        (reach_each + 1) / (permutations + 1),
        sizes,
        float(np.sqrt((difference**2).sum(1).mean())),
    )
