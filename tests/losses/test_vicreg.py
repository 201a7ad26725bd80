"""Dense VICReg against sums written out entry by entry, and on cases whose answer is known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mvdecor.losses import VICReg


def spread(z: Tensor) -> tuple[Tensor, Tensor]:
    """What the variance and covariance terms say of the embeddings of one view of one pair."""
    k, d = z.shape
    mean = [sum(z[i, x] for i in range(k)) / k for x in range(d)]
    lost, redundant = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for x in range(d):
        for y in range(d):
            covariance = sum((z[i, x] - mean[x]) * (z[i, y] - mean[y]) for i in range(k)) / (k - 1)
            if x == y:
                lost = lost + max(torch.zeros(()), 1 - torch.sqrt(covariance + 1e-4))
            else:
                redundant = redundant + covariance**2
    return lost / d, redundant / d


def reference(a: Tensor, b: Tensor, pair: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    of_pairs = []
    for p in sorted(set(pair.tolist())):
        za, zb = a[pair == p].double(), b[pair == p].double()
        total = invariance * sum((x - y) ** 2 for x, y in zip(za.flatten(), zb.flatten(), strict=True)) / za.numel()
        if len(za) > 1:
            (lost_a, redundant_a), (lost_b, redundant_b) = spread(za), spread(zb)
            total = total + variance * (lost_a + lost_b) / 2 + covariance * (redundant_a + redundant_b)
        of_pairs.append(total)
    return sum(of_pairs) / len(of_pairs)


@settings(max_examples=15, deadline=None)
@given(
    counts=st.lists(st.integers(0, 7), min_size=1, max_size=3).filter(any),
    weights=st.sampled_from([(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]),
    size=st.sampled_from([0.05, 1.0]),
    seed=st.integers(0, 1000),
)
def test_loss_is_the_reference(matches, counts, weights, size, seed):
    a, b, points, pair = matches(counts, dim=4, seed=seed)
    loss, _ = VICReg(*weights)(size * a, size * b, points, pair)
    torch.testing.assert_close(
        loss.double(), reference(size * a, size * b, pair, *weights).double(), rtol=1e-4, atol=1e-5
    )


def test_gradients_are_the_reference(matches):
    a, b, points, pair = matches([7, 1, 5], dim=4)
    a, b = (0.2 * a).requires_grad_(), (0.2 * b).requires_grad_()
    got = torch.autograd.grad(VICReg()(a, b, points, pair)[0], (a, b))
    for g, r in zip(got, torch.autograd.grad(reference(a, b, pair, 25.0, 25.0, 1.0), (a, b)), strict=True):
        torch.testing.assert_close(g, r, rtol=1e-3, atol=1e-5)


def test_whitened_equal_embeddings_cost_nothing_and_collapsed_ones_the_variance(matches):
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    points, pair = torch.rand(4, 3), torch.zeros(4, dtype=torch.int64)
    assert float(VICReg()(z, z, points, pair)[0]) == pytest.approx(0, abs=1e-6)
    same = torch.ones(4, 2, requires_grad=True)
    loss, _ = VICReg(variance=25)(same, same, points, pair)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(25 * 0.99)  # the deviation is sqrt(1e-4)
    assert bool(same.grad.isfinite().all())


def test_shapes_that_differ_do_not_make_up_for_points_that_do_not():
    """Two pairs, each collapsed into a point of its own, cost as much as one."""
    z = torch.tensor([[5.0, 5.0]] * 3 + [[-5.0, -5.0]] * 3)
    points, pair = torch.rand(6, 3), torch.tensor([0, 0, 0, 1, 1, 1])
    assert float(VICReg()(z, z, points, pair)[0]) == pytest.approx(25 * 0.99)
