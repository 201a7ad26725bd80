"""k-medoids against all subsets of k, and by what a choice must keep to."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.shapes.diversity import k_medoids


def distances_of(points: np.ndarray) -> np.ndarray:
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))


def cost(distances: np.ndarray, chosen) -> float:
    """Each element's distance to the nearest chosen one, one after another."""
    return sum(min(float(distances[i, j]) for j in chosen) for i in range(len(distances)))


def least(distances: np.ndarray, k: int, keep=()) -> float:
    subsets = combinations(range(len(distances)), k)
    return min(cost(distances, subset) for subset in subsets if set(keep) <= set(subset))


def test_few_elements_are_chosen_almost_as_well_as_by_trying_all_subsets():
    ratios = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        distances, k = distances_of(rng.normal(size=(9, 3))), 1 + seed % 4
        keep = [seed % 9] if seed % 3 == 0 else []
        chosen = k_medoids(distances, k, keep)
        assert chosen == sorted(set(chosen)) and len(chosen) == k and set(keep) <= set(chosen)
        ratios.append(cost(distances, chosen) / least(distances, k, keep))
        if k == 1:
            assert ratios[-1] == pytest.approx(1)
    assert min(ratios) > 1 - 1e-9 and max(ratios) < 1.15 and np.mean(np.array(ratios) < 1 + 1e-9) > 0.8


@settings(max_examples=25)
@given(count=st.integers(1, 12), k=st.integers(1, 12), seed=st.integers(0, 1000), grid=st.booleans())
def test_no_swap_lowers_the_sum(count, k, seed, grid):
    points = np.random.default_rng(seed).normal(size=(count, 2))
    distances = distances_of(points.round() if grid else points)  # on a grid some coincide
    k = min(k, count)
    chosen = k_medoids(distances, k)
    assert len(set(chosen)) == k and chosen == k_medoids(distances, k)
    for place in range(k):
        for element in set(range(count)) - set(chosen):
            swapped = [*chosen[:place], element, *chosen[place + 1 :]]
            assert cost(distances, swapped) >= cost(distances, chosen) - 1e-9


def test_of_groups_far_apart_the_middle_of_each_is_chosen():
    offsets = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    points = np.concatenate([offsets + corner for corner in ([0, 0], [50, 0], [0, 80])]).astype(float)
    assert k_medoids(distances_of(points), 3) == [0, 5, 10]
    assert k_medoids(distances_of(points), 3, keep=[1]) == [1, 5, 10]
    assert k_medoids(distances_of(points), 2, keep=[6, 1]) == [1, 6]
    assert k_medoids(distances_of(points), 15) == list(range(15))


@pytest.mark.parametrize(("k", "keep"), [(0, ()), (4, ()), (1, (0, 2))])
def test_more_or_fewer_than_there_are(k, keep):
    with pytest.raises(InputError, match=f"k={k} shapes were asked for"):
        k_medoids(np.zeros((3, 3)), k, keep)
