"""The hardest-contrastive loss against a version that visits every negative, and on cases whose answer is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mvdecor.losses import HardestContrastive


def reference(
    a: Tensor, b: Tensor, points: Tensor, pair: Tensor, positive_margin: float, negative_margin: float, radius: float
) -> Tensor:
    a, b = (z.double() / z.double().square().sum(dim=1, keepdim=True).sqrt() for z in (a, b))
    zero = torch.zeros((), dtype=torch.float64)
    of_pairs = []
    for p in sorted(set(pair.tolist())):
        members = (pair == p).nonzero().flatten().tolist()
        pull = [max(zero, torch.dist(a[i], b[i]) - positive_margin) ** 2 for i in members]
        total = sum(pull) / len(pull)
        for x, y in ((a, b), (b, a)):
            push = []
            for i in members:
                allowed = [j for j in members if j != i and torch.dist(points[i], points[j]) >= radius]
                if allowed:
                    hardest = min((torch.dist(x[i], y[j]) for j in allowed), key=float)
                    push.append(max(zero, negative_margin - hardest) ** 2)
            if push:
                total = total + sum(push) / len(push) / 2
        of_pairs.append(total)
    return sum(of_pairs) / len(of_pairs)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    margins=st.sampled_from([(0.1, 1.4), (0.0, 0.5), (1.0, 2.0)]),
    radius=st.sampled_from([0.0, 0.3, 0.8, 5.0]),
    seed=st.integers(0, 1000),
)
def test_loss_is_the_reference(matches, counts, margins, radius, seed):
    a, b, points, pair = matches(counts, seed=seed)
    loss, _ = HardestContrastive(*margins, radius)(a, b, points, pair)
    torch.testing.assert_close(loss.double(), reference(a, b, points, pair, *margins, radius), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("radius", [0.0, 0.4])
def test_gradients_are_the_reference(matches, radius):
    a, b, points, pair = matches([7, 1, 11])
    a.requires_grad_(), b.requires_grad_()
    got = torch.autograd.grad(HardestContrastive(radius=radius)(a, b, points, pair)[0], (a, b))
    expected = torch.autograd.grad(reference(a, b, points, pair, 0.1, 1.4, radius), (a, b))
    for g, r in zip(got, expected, strict=True):
        torch.testing.assert_close(g, r, rtol=1e-3, atol=1e-5)


def test_right_angles_are_nearly_far_enough():
    """Of orthogonal embeddings only the negatives cost: they are sqrt(2) apart."""
    a = torch.eye(6)
    points, pair = torch.rand(6, 3), torch.zeros(6, dtype=torch.int64)
    assert float(HardestContrastive()(a, a, points, pair)[0]) == 0
    loss, _ = HardestContrastive(negative_margin=1.8)(a, a, points, pair)
    assert float(loss) == pytest.approx((1.8 - math.sqrt(2)) ** 2, rel=1e-5)


def test_embeddings_in_one_point_cost_the_squared_margin_and_a_lone_match_its_distance(matches):
    _, _, points, pair = matches([12, 5])
    same = torch.ones(17, 4)
    assert float(HardestContrastive(0.1, 1.4)(same, same, points, pair)[0]) == pytest.approx(1.4**2)
    loss, _ = HardestContrastive(0.1)(torch.eye(1, 2), -torch.eye(1, 2), points[:1], pair[:1])
    assert float(loss) == pytest.approx(1.9**2)
