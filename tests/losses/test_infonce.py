"""InfoNCE against an obvious version that visits every pair of matches, and on cases whose answer is known."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.losses import InfoNCE, infonce_blocks
from mvdecor.losses.alike import alike_matches
from mvdecor.losses.infonce import infonce


def most_alike(a: Tensor, b: Tensor, members: list[int], share: float) -> set[frozenset[int]]:
    """The share of all pairs of matches whose mean embeddings have the largest cosines, one pair after another."""
    z = {m: [float(x) for x in (a[m] / a[m].norm() + b[m] / b[m].norm()).detach()] for m in members}

    def cosine(i: int, j: int) -> float:
        return sum(x * y for x, y in zip(z[i], z[j], strict=True)) / math.hypot(*z[i]) / math.hypot(*z[j])

    ranked = sorted(combinations(members, 2), key=lambda ij: -cosine(*ij))
    return {frozenset(ij) for ij in ranked[: int(share * len(ranked))]}


def reference(
    a: Tensor,
    b: Tensor,
    points: Tensor,
    pair: Tensor,
    temperature: float,
    radius: float,
    negatives: str = "pair",
    mirror: str | None = None,
    alike: float = 0.0,
) -> Tensor:
    """The loss in float64, one term after another."""

    def far(i: int, j: int) -> bool:
        here, there = points[i].tolist(), points[j].tolist()
        if mirror is None:
            return math.dist(here, there) >= radius
        image = [-x if axis == mirror else x for axis, x in zip("xyz", there, strict=True)]
        return math.dist(here, there) >= radius and math.dist(here, image) >= radius

    def similarity(i: int, j: int) -> Tensor:
        return (a[i] @ b[j]) / (a[i] @ a[i]).sqrt() / (b[j] @ b[j]).sqrt() / temperature

    pair_losses = []
    for p in sorted(set(pair.tolist())):
        members = [m for m in range(len(pair)) if int(pair[m]) == p]
        similar = most_alike(a, b, members, alike)
        terms = []
        for i in members:
            apart = [i]
            for j in range(len(pair)):
                is_negative = j != i and far(i, j) and {i, j} not in similar
                if int(pair[j]) == p and is_negative and negatives in ("pair", "both"):
                    apart.append(j)
                if int(pair[j]) != p and negatives in ("batch", "both"):
                    apart.append(j)
            forth = sum(torch.exp(similarity(i, j)) for j in apart)
            back = sum(torch.exp(similarity(j, i)) for j in apart)
            own = torch.exp(similarity(i, i))
            terms.append((-torch.log(own / forth) - torch.log(own / back)) / 2)
        pair_losses.append(sum(terms) / len(terms))
    return sum(pair_losses) / len(pair_losses)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    temperature=st.sampled_from([0.07, 0.5, 2.0]),
    radius=st.sampled_from([0.0, 0.3, 0.8, 5.0]),
    negatives=st.sampled_from(["pair", "batch", "both"]),
    seed=st.integers(0, 1000),
)
def test_loss_is_the_reference(matches, counts, temperature, radius, negatives, seed):
    a, b, points, pair = matches(counts, seed=seed)
    loss, _ = InfoNCE(temperature, radius, negatives)(a, b, points, pair)
    expected = reference(a.double(), b.double(), points.double(), pair, temperature, radius, negatives)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=3).filter(any),
    radius=st.sampled_from([0.3, 0.8]),
    negatives=st.sampled_from(["pair", "batch", "both"]),
    mirror=st.sampled_from([None, "x", "y", "z"]),
    alike=st.sampled_from([0.0, 0.2, 0.5, 0.99]),
    seed=st.integers(0, 1000),
)
def test_what_is_left_out_is_what_the_reference_leaves_out(matches, counts, radius, negatives, mirror, alike, seed):
    a, b, points, pair = matches(counts, seed=seed)
    points = points - 0.5  # on both sides of the mirror
    a.requires_grad_(), b.requires_grad_()
    loss, _ = InfoNCE(0.2, radius, negatives, mirror, alike)(a, b, points, pair)
    slow = reference(a.double(), b.double(), points.double(), pair, 0.2, radius, negatives, mirror, alike)
    torch.testing.assert_close(loss.double(), slow, rtol=1e-4, atol=1e-5)
    if slow.requires_grad:
        for g, r in zip(torch.autograd.grad(loss, (a, b)), torch.autograd.grad(slow, (a, b)), strict=True):
            torch.testing.assert_close(g, r, rtol=1e-3, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 700), min_size=1, max_size=3).filter(any),  # one block, and several
    temperature=st.sampled_from([0.01, 0.07, 1.0]),
    left_out=st.sampled_from([(0.0, None, 0.0), (0.2, None, 0.0), (0.2, "y", 0.0), (0.0, None, 0.03), (0.2, "x", 0.3)]),
    seed=st.integers(0, 1000),
)
def test_blocks_are_the_plain_loss(matches, counts, temperature, left_out, seed):
    """Loss, accuracy and gradients of what trains, against the ten lines of the paper's equation."""
    a, b, points, pair = (x.requires_grad_(x.is_floating_point()) for x in matches(counts, seed=seed))
    radius, mirror, alike = left_out
    loss, accuracy = InfoNCE(temperature, radius, "pair", mirror, alike)(a, b, points, pair)
    plain_loss, plain_accuracy = infonce(a, b, points, pair, temperature, radius, mirror, alike)
    torch.testing.assert_close(loss, plain_loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(accuracy, plain_accuracy)
    for x in (a, b):
        (got,), (expected,) = (torch.autograd.grad(value, x, retain_graph=True) for value in (loss, plain_loss))
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-9)


@pytest.mark.parametrize("negatives", ["pair", "batch", "both"])
@pytest.mark.parametrize("radius", [0.0, 0.4])
def test_gradients_are_the_reference(matches, radius, negatives):
    a, b, points, pair = matches([7, 3, 11])
    a.requires_grad_(), b.requires_grad_()
    loss, _ = InfoNCE(0.2, radius, negatives)(a, b, points, pair)
    got = torch.autograd.grad(loss, (a, b))
    slow = reference(a.double(), b.double(), points.double(), pair, 0.2, radius, negatives)
    for g, r in zip(got, torch.autograd.grad(slow, (a, b)), strict=True):
        torch.testing.assert_close(g, r, rtol=1e-3, atol=1e-6)


def test_random_embeddings_give_log_k_and_accuracy_one_in_k(matches):
    a, b, points, pair = matches([400, 400], dim=256)
    loss, accuracy = InfoNCE(temperature=1.0)(a, b, points, pair)
    assert float(loss) == pytest.approx(math.log(400), abs=0.05)
    assert float(accuracy) < 0.02
    same = torch.ones(400, 8)
    assert float(InfoNCE()(same, same, points[:400], pair[:400])[0]) == pytest.approx(math.log(400), abs=1e-4)


def test_near_points_are_no_negatives_even_far_from_the_origin_and_in_crowds(matches):
    # 30 points twice: copies are 1e-4 apart, which distances computed by products in float32 cannot tell from 1e-3
    a, b, points, _ = matches([60], dim=8)
    points = 3 + points[:30].repeat(2, 1) + 1e-4 * torch.arange(2).repeat_interleave(30)[:, None]
    pair = torch.zeros(60, dtype=torch.int64)
    loss, _ = InfoNCE(0.5, radius=1e-3)(a, b, points, pair)
    torch.testing.assert_close(
        loss.double(), reference(a.double(), b.double(), points, pair, 0.5, 1e-3), rtol=1e-4, atol=0
    )
    assert float(InfoNCE(0.5)(a, b, points, pair)[0]) > float(loss) + 0.01


def test_twins_by_symmetry_cost_nothing_within_the_mirror_and_something_without(matches):
    """Each point and its mirror image look the same; nothing else is near either."""
    a, _, points, _ = matches([12], dim=16)
    points[:, 0] += 0.2
    points, a = torch.cat([points, points * torch.tensor([-1.0, 1, 1])]), torch.cat([a, a])
    pair = torch.zeros(24, dtype=torch.int64)
    with_twins, accuracy = InfoNCE(radius=1e-3)(a, a, points, pair)
    without, right = InfoNCE(radius=1e-3, mirror="x")(a, a, points, pair)
    assert float(with_twins) > math.log(2) > 0.2 > float(without)
    assert float(accuracy) < 1 and float(right) == 1
    assert InfoNCE(radius=1e-3, mirror="y")(a, a, points, pair)[0] == with_twins
    # the same without points: the 12 pairs of twins are the most similar ones of the 276 pairs
    assert InfoNCE(alike=12.5 / 276)(a, a, points, pair)[0] == pytest.approx(float(without), abs=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.9])
def test_about_the_share_asked_for_is_alike_whatever_the_embeddings(matches, share):
    a, b, _, _ = matches([1500], dim=8)
    for spread in (1.0, 1e-2):  # the second as at the start of a training, when all are similar
        za, zb = (torch.nn.functional.normalize(1 + spread * x, dim=1) for x in (a, b))
        alike = alike_matches(za, zb, share)
        assert torch.equal(alike, alike.T) and not bool(alike.diagonal().any())
        assert float(alike.double().mean()) == pytest.approx(share, rel=0.25)


def test_negatives_of_the_batch_add_up_and_leave_the_accuracy_alone(matches):
    a, b, points, pair = matches([20, 30, 1])
    results = {negatives: InfoNCE(negatives=negatives)(a, b, points, pair) for negatives in ("pair", "batch", "both")}
    assert float(results["both"][0]) > max(float(results["pair"][0]), float(results["batch"][0]))
    assert results["pair"][1] == results["batch"][1] == results["both"][1]


def test_one_pair_has_no_negatives_in_the_batch(matches):
    a, b, points, pair = matches([6])
    a.requires_grad_()
    loss, _ = InfoNCE(negatives="batch")(a, b, points, pair)
    loss.backward()
    assert float(loss.detach()) == 0 and bool((a.grad == 0).all())
    torch.testing.assert_close(InfoNCE(negatives="both")(a, b, points, pair), InfoNCE()(a, b, points, pair))


@pytest.mark.parametrize("negatives", ["pair", "batch", "both"])
@pytest.mark.parametrize("rows", [1, 4, 5])
@pytest.mark.parametrize(("mirror", "alike"), [(None, 0.0), ("x", 0.2)])
def test_rows_at_a_time_change_nothing(matches, monkeypatch, rows, negatives, mirror, alike):
    a, b, points, pair = matches([9, 1, 12])
    a.requires_grad_(), b.requires_grad_()

    def both():
        loss, accuracy = InfoNCE(0.2, 0.3, negatives, mirror, alike)(a, b, points, pair)
        return loss, accuracy, *torch.autograd.grad(3 * loss, (a, b))

    whole = both()
    monkeypatch.setattr(infonce_blocks, "ROWS", rows)
    for got, expected in zip(both(), whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.006, 0.01, 0.03])
def test_low_temperatures_and_opposite_embeddings_keep_their_gradients(matches, temperature):
    a, b, points, pair = matches([8], dim=3)
    b = -a + 0.01 * b
    a.requires_grad_(), b.requires_grad_()
    loss, _ = InfoNCE(temperature)(a, b, points, pair)
    slow = reference(a.double(), b.double(), points.double(), pair, temperature, 0.0)
    torch.testing.assert_close(loss.double(), slow, rtol=1e-4, atol=0)
    for g, r in zip(torch.autograd.grad(loss, (a, b)), torch.autograd.grad(slow, (a, b)), strict=True):
        torch.testing.assert_close(g, r, rtol=1e-2, atol=1e-3 * float(r.abs().max()))


def test_temperatures_too_low_for_float64_are_refused():
    with pytest.raises(InputError, match=r"loss\.temperature=0\.001: give at least 0\.003"):
        InfoNCE(0.001)


def test_no_gradient_is_kept_where_none_is_asked_for(matches):
    a, b, points, pair = matches([9])
    a.requires_grad_()
    loss, _ = InfoNCE()(a, b, points, pair)
    (grad,) = torch.autograd.grad(loss, (a,))
    assert bool(torch.isfinite(grad).all()) and b.grad is None
    with torch.no_grad():
        assert not InfoNCE()(a, b, points, pair)[0].requires_grad
