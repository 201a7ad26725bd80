"""Choosing shapes that differ: k medoids of a set, by their distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError


def k_medoids(distances: NDArray[np.float64], k: int, keep: Sequence[int] = ()) -> list[int]:
    """Choose k of N elements such that each of the N is near one of them: a small sum of distances to the nearest chosen one.

    It starts with the element of the least sum of distances to all (or with `keep`), and adds the one that is farthest from
    those chosen, until there are k. Then, as long as a swap of one chosen element with another lowers the sum, the swap that
    lowers it most is made ("partitioning around medoids"). That ends where no single swap helps, which need not be the least
    sum of all. Among equals the first counts, so the same distances give the same choice.

    Args:
        distances: float64 [N, N], symmetric, not negative, 0 on the diagonal.
        k: how many to choose, `keep` included.
        keep: numbers of elements that are chosen already, and stay.

    Returns:
        their numbers, ascending.

    Raises:
        InputError: k is not in 1..N, or less than `keep` has.
    """
    count = len(distances)
    if not max(1, len(keep)) <= k <= count:
        least = f", of which {len(keep)} are kept" if keep else ""
        raise InputError(f"k={k} shapes were asked for{least}, but there are {count}: choose another k")
    medoids = list(keep) or [int(distances.sum(axis=1).argmin())]
    while len(medoids) < k:
        nearest = distances[:, medoids].min(axis=1)
        nearest[medoids] = -1  # a copy of a medoid is as near, and may still be chosen
        medoids.append(int(nearest.argmax()))
    cost = distances[:, medoids].min(axis=1).sum()
    while swaps := [(*_best_swap(distances, medoids, place), place) for place in range(len(keep), k)]:
        lower, element, place = min(swaps)
        if lower >= cost * (1 - 1e-12):  # a rounding error is no reason to swap
            break
        medoids[place], cost = element, lower
    return sorted(medoids)


def _best_swap(distances: NDArray[np.float64], medoids: list[int], place: int) -> tuple[float, int]:
    """The least sum of distances with another element at one place of `medoids`, and that element."""
    remaining = medoids[:place] + medoids[place + 1 :]
    nearest = distances[:, remaining].min(axis=1, initial=np.inf)
    sums = np.minimum(nearest[:, None], distances).sum(axis=0)
    return float(sums.min()), int(sums.argmin())
