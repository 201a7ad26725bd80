"""The triplet loss against a version that ranks every negative of every anchor, and on cases whose answer is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mvdecor.losses import Triplet


def one_way(anchors: Tensor, others: Tensor, points: Tensor, margin: float, radius: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(anchors)):
        distances = [torch.dist(anchors[i], other) for other in others]
        allowed = [j for j in range(len(points)) if j != i and torch.dist(points[i], points[j]) >= radius]
        if not allowed:
            continue
        ranked = sorted((distances[j] for j in allowed), key=float)
        farther = [distance for distance in ranked if distance > distances[i]]
        negative = farther[0] if farther else ranked[-1]
        total = total + max(distances[i] - negative + margin, torch.zeros(()))
    return total / len(anchors)


def reference(a: Tensor, b: Tensor, points: Tensor, pair: Tensor, margin: float, radius: float) -> Tensor:
    a, b = (z.double() / z.double().square().sum(dim=1, keepdim=True).sqrt() for z in (a, b))
    of_pairs = []
    for p in pair.unique():
        za, zb, xyz = a[pair == p], b[pair == p], points[pair == p].double()
        of_pairs.append((one_way(za, zb, xyz, margin, radius) + one_way(zb, za, xyz, margin, radius)) / 2)
    return sum(of_pairs) / len(of_pairs)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    margin=st.sampled_from([0.1, 0.5, 3.0]),
    radius=st.sampled_from([0.0, 0.3, 0.8, 5.0]),
    seed=st.integers(0, 1000),
)
def test_loss_is_the_reference(matches, counts, margin, radius, seed):
    a, b, points, pair = matches(counts, seed=seed)
    loss, _ = Triplet(margin, radius)(a, b, points, pair)
    torch.testing.assert_close(loss.double(), reference(a, b, points, pair, margin, radius), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("radius", [0.0, 0.4])
def test_gradients_are_the_reference(matches, radius):
    a, b, points, pair = matches([7, 1, 11])
    a.requires_grad_(), b.requires_grad_()
    got = torch.autograd.grad(Triplet(0.5, radius)(a, b, points, pair)[0], (a, b))
    expected = torch.autograd.grad(reference(a, b, points, pair, 0.5, radius), (a, b))
    for g, r in zip(got, expected, strict=True):
        torch.testing.assert_close(g, r, rtol=1e-3, atol=1e-5)


def test_the_negative_is_the_closest_one_beyond_the_match():
    angles = torch.tensor([0.0, 20.0, 50.0, 120.0]).deg2rad()
    b = torch.stack([angles.cos(), angles.sin()], dim=1)
    turned = (angles[1] + torch.tensor(0.0)).repeat(4)  # all of A looks like match 1 of B
    a = torch.stack([turned.cos(), turned.sin()], dim=1)

    def chord(degrees: float) -> float:
        return 2 * math.sin(math.radians(degrees) / 2)

    # match 0 is 20 degrees off, next beyond: 30; match 1 is exact, next: 20; match 2 is 30 off, next: 100; 3 is the farthest
    margin = 0.4
    forth = [
        chord(20) - chord(30) + margin,
        chord(0) - chord(20) + margin,
        max(0, chord(30) - chord(100) + margin),
        chord(100) - chord(30) + margin,
    ]
    # from B to A all distances are the same: no negative is beyond, any is the farthest
    expected = (sum(forth) / 4 + margin) / 2
    loss, _ = Triplet(margin)(a, b, torch.rand(4, 3), torch.zeros(4, dtype=torch.int64))
    assert float(loss) == pytest.approx(expected, abs=1e-3)


def test_embeddings_in_one_point_cost_the_margin(matches):
    _, _, points, pair = matches([12, 5])
    same = torch.ones(17, 4)
    assert float(Triplet(0.3)(same, same, points, pair)[0]) == pytest.approx(0.3)
