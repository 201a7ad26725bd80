"""The circle loss against a version that adds up one exponential after another, and on cases whose answer is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mvdecor.losses import Circle


def reference(a: Tensor, b: Tensor, points: Tensor, pair: Tensor, margin: float, scale: float, radius: float) -> Tensor:
    a, b = (z.double() / z.double().square().sum(dim=1, keepdim=True).sqrt() for z in (a, b))
    of_pairs = []
    for p in sorted(set(pair.tolist())):
        members = (pair == p).nonzero().flatten().tolist()
        terms = []
        for x, y in ((a, b), (b, a)):
            for i in members:
                own = x[i] @ y[i]
                weight = max(0.0, 1 + margin - float(own.detach()))
                pull = torch.exp(-scale * weight * (own - (1 - margin)))
                push = torch.zeros((), dtype=torch.float64)
                for j in members:
                    if j != i and torch.dist(points[i], points[j]) >= radius:
                        other = x[i] @ y[j]
                        weight = max(0.0, float(other.detach()) + margin)
                        push = push + torch.exp(scale * weight * (other - margin))
                terms.append(torch.log(1 + push * pull))
        of_pairs.append(sum(terms) / len(terms))
    return sum(of_pairs) / len(of_pairs)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    margin=st.sampled_from([0.0, 0.25, 0.4]),
    scale=st.sampled_from([1.0, 16.0, 80.0]),
    radius=st.sampled_from([0.0, 0.3, 0.8, 5.0]),
    seed=st.integers(0, 1000),
)
def test_loss_is_the_reference(matches, counts, margin, scale, radius, seed):
    a, b, points, pair = matches(counts, seed=seed)
    loss, _ = Circle(margin, scale, radius)(a, b, points, pair)
    torch.testing.assert_close(
        loss.double(), reference(a, b, points, pair, margin, scale, radius), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("radius", [0.0, 0.4, 9.0])
def test_gradients_are_the_reference(matches, radius):
    a, b, points, pair = matches([7, 1, 11])
    a.requires_grad_(), b.requires_grad_()
    got = torch.autograd.grad(Circle(0.25, 16.0, radius)(a, b, points, pair)[0], (a, b))
    expected = torch.autograd.grad(reference(a, b, points, pair, 0.25, 16.0, radius), (a, b))
    for g, r in zip(got, expected, strict=True):
        torch.testing.assert_close(g, r, rtol=1e-3, atol=1e-4)


def test_two_orthogonal_matches_cost_what_the_formula_says():
    """s_p = 1 with weight m and target distance m; s_n = 0 with weight m and target distance -m, twice the same exponent."""
    loss, _ = Circle(0.25, 10.0)(torch.eye(2), torch.eye(2), torch.rand(2, 3), torch.zeros(2, dtype=torch.int64))
    assert float(loss) == pytest.approx(math.log1p(math.exp(-2 * 10 * 0.25**2)), rel=1e-5)


def test_the_largest_exponents_do_not_overflow():
    a = torch.eye(2)
    b = a.flip(0) - 0.01 * a  # every match is wrong, every negative is right
    a.requires_grad_()
    loss, accuracy = Circle(scale=1000.0)(a, b, torch.rand(2, 3), torch.zeros(2, dtype=torch.int64))
    loss.backward()
    assert math.isfinite(float(loss.detach())) and bool(a.grad.isfinite().all()) and float(accuracy) == 0
