"""Losses of features and class distributions, against loops over single pairs and over single numbers."""

import math

import pytest
import torch

from mvdecor.losses.distributions import affinity_loss, divergence_of, feature_loss, relevancy_loss


def slow_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q))


def slow_js(p, q):
    middle = [(a + b) / 2 for a, b in zip(p, q)]
    return (slow_kl(p, middle) + slow_kl(q, middle)) / 2


def distributions(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, generator=generator, dtype=torch.float64)).softmax(dim=-1)


def test_feature_loss_is_one_minus_the_mean_cosine():
    a, b = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    cosines = [float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)) for x, y in zip(a, b)]
    assert float(feature_loss(a, b)) == pytest.approx(1 - sum(cosines) / 6)
    assert float(feature_loss(3 * a, a)) == pytest.approx(0)


@pytest.mark.parametrize(("divergence", "slow"), [("js", slow_js), ("kl", slow_kl)])
def test_relevancy_loss_is_the_mean_divergence(divergence, slow):
    p, q = distributions(7, 4), distributions(7, 4, seed=1)
    expected = sum(slow(a, b) for a, b in zip(p.tolist(), q.tolist())) / 7
    assert float(relevancy_loss(p, q, divergence)) == pytest.approx(expected)


def test_jensen_shannon_is_symmetric_and_bounded_and_kl_is_neither():
    p, q = distributions(50, 5), distributions(50, 5, seed=1)
    assert torch.allclose(divergence_of(p, q), divergence_of(q, p))
    assert not torch.allclose(divergence_of(p, q, "kl"), divergence_of(q, p, "kl"))
    certain, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert float(divergence_of(certain, other)) == pytest.approx(math.log(2), abs=1e-6)
    assert float(divergence_of(certain, other, "kl")) > 20


def slow_affinity(p, affinity, positive, negative, slow):
    """All ordered pairs, one after another."""
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for b in range(len(p)):
        for i in range(p.shape[1]):
            for j in range(p.shape[1]):
                value = float(affinity[b, i, j])
                if i != j and value != 0:
                    sums[value > 0] += value * slow(p[b, i].tolist(), p[b, j].tolist())
                    counts[value > 0] += 1
    return positive * sums[True] / max(counts[True], 1) + negative * sums[False] / max(counts[False], 1)


@pytest.mark.parametrize(("divergence", "slow"), [("js", slow_js), ("kl", slow_kl)])
@pytest.mark.parametrize("level", [0.0, 5.0, -5.0])
def test_affinity_loss_balances_pairs_alike_and_unlike(divergence, slow, level):
    p, values = distributions(2, 6, 3), torch.randn(2, 6, 6, dtype=torch.float64)
    affinity = values + values.transpose(1, 2) + level
    affinity[:, 0, 1] = affinity[:, 1, 0] = 0.0
    if divergence == "kl":  # pairs of a point with itself count, as released
        affinity.diagonal(dim1=1, dim2=2).zero_()
    expected = slow_affinity(p, affinity, 2.0, 0.5, slow)
    assert float(affinity_loss(p, affinity, 2.0, 0.5, divergence)) == pytest.approx(expected)


def test_gradients_are_finite_where_a_probability_is_zero():
    logits = torch.tensor([[0.0, 500.0, -500.0], [500.0, 0.0, -500.0]], requires_grad=True)
    p = logits.softmax(dim=-1)
    affinity = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]])
    for divergence in ("js", "kl"):
        loss = relevancy_loss(p, p.flip(0).detach(), divergence) + affinity_loss(p[None], affinity, 1, 1, divergence)
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        assert bool(gradient.isfinite().all())
