"""Votes against a slow loop over pixels, and what must not change them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.lifting import LAYER_ORDERS, VOTE_RULES, FaceVoter, seen_faces, vote
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import Views


def strip_with_twins(faces: int) -> Shape:
    """Separate triangles; each of even number has a twin, turned around and with vertices of its own, at the end."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]) + torch.arange(faces)[:, None, None] * 2.0
    corners = torch.cat([corners, corners[::2].flip(1)])
    return Shape("strip", corners.reshape(-1, 3), torch.arange(3 * len(corners)).reshape(-1, 3))


def views_of(face_ids: torch.Tensor) -> Views:
    n, _, h, w = face_ids.shape
    eye = torch.eye(3).expand(n, 3, 3)
    return Views(Cameras(eye, torch.zeros(n, 3), eye, h, w), face_ids.int())


def slow_vote(shape, face_ids, logits, rule, layer_order, power):
    """One pixel at a time, one face at a time."""
    n, layers, c, height, width = logits.shape
    groups = shape.twin_groups.tolist()
    votes: dict[tuple[int, int], list[tuple[float, list[float]]]] = {}
    for i in range(n):
        for layer in range(layers):
            for y in range(height):
                for x in range(width):
                    face = int(face_ids[i, layer, y, x])
                    if face < 0 or (layer_order == "outer_only" and layer > 0):
                        continue
                    values = logits[i, layer, :, y, x].double().tolist()
                    top = max(values)
                    p = [math.exp(v - top) for v in values]
                    p = [v / sum(p) for v in p]
                    weight = 1.0
                    if rule == "entropy" and c > 1:
                        entropy = -sum(v * math.log(v) for v in p if v > 0)
                        weight = max(max(1 - entropy / math.log(c), 0) ** power, 1e-12)
                    if rule in ("logits", "official"):
                        p = values
                    if rule == "official":
                        weight = image_weight(face_ids[i, layer], logits[i, layer], power)
                    if rule == "majority":
                        p = [float(k == values.index(top)) for k in range(c)]
                    key = (groups[face], layer if layer_order == "outer_first" else 0)
                    votes.setdefault(key, []).append((weight, p))
    scores, seen, weights = [], [], []
    for group in groups:
        of_group = next((votes[group, layer] for layer in range(layers) if (group, layer) in votes), [])
        total = sum(w for w, _ in of_group)
        mean = [sum(w * p[k] for w, p in of_group) / total if of_group else 0.0 for k in range(c)]
        if rule in ("logits", "official") and of_group:
            mean = [math.exp(v - max(mean)) for v in mean]
            mean = [v / sum(mean) for v in mean]
        scores.append(mean)
        seen.append(bool(of_group))
        weights.append(total)
    return torch.tensor(scores), torch.tensor(seen), torch.tensor(weights, dtype=torch.float32)


def image_weight(ids, logits, power):
    """(1 - mean entropy in nats of the foreground) ** power of one image."""
    pixels = [logits[:, y, x].double() for y, x in (ids >= 0).nonzero().tolist()]
    probabilities = [(v - v.max()).exp() / (v - v.max()).exp().sum() for v in pixels]
    entropies = [-sum(q * math.log(q) for q in p.tolist() if q > 0) for p in probabilities]
    return max((1 - sum(entropies) / len(entropies)) ** power, 1e-100)


def random_case(seed: int, faces=6, views=3, layers=2, labels=4, size=4):
    generator = torch.Generator().manual_seed(seed)
    shape = strip_with_twins(faces)
    ids = torch.randint(-1, shape.num_faces, (views, layers, size, size), generator=generator)
    logits = 3 * torch.randn(views, layers, labels, size, size, generator=generator)
    return shape, views_of(ids), logits


@pytest.mark.parametrize("layer_order", LAYER_ORDERS)
@pytest.mark.parametrize("rule", VOTE_RULES)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    faces=st.integers(1, 30),
    views=st.integers(1, 6),
    layers=st.integers(1, 3),
    labels=st.integers(1, 12),
    power=st.sampled_from([0.0, 2.0, 5.0, 20.0]),
)
def test_every_rule_equals_a_loop_over_pixels(rule, layer_order, seed, faces, views, layers, labels, power):
    power += rule == "official" and power % 2
    shape, seen_by, logits = random_case(seed, faces, views, layers, labels, size=3)
    votes = vote(shape, seen_by, logits, rule, layer_order, power)
    scores, seen, weight = slow_vote(shape, seen_by.face_ids, logits, rule, layer_order, power)
    assert torch.equal(votes.seen, seen)
    torch.testing.assert_close(votes.scores, scores, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(votes.weight.float(), weight, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("layer_order", LAYER_ORDERS)
@pytest.mark.parametrize("rule", VOTE_RULES)
def test_batches_and_order_of_views_do_not_matter(rule, layer_order):
    shape, views, logits = random_case(3, views=11)
    whole = vote(shape, views, logits, rule, layer_order)
    voter = FaceVoter(shape, logits.shape[2], rule, layer_order, views.layers)
    for part in torch.randperm(len(views), generator=torch.Generator().manual_seed(0)).split(3):
        voter.add(views.face_ids[part], logits[part])
    parts = voter.result()
    assert torch.equal(parts.seen, whole.seen)
    torch.testing.assert_close(parts.scores, whole.scores)
    torch.testing.assert_close(parts.weight, whole.weight)


@pytest.mark.parametrize("rule", VOTE_RULES)
def test_renamed_labels_give_renamed_scores(rule):
    shape, views, logits = random_case(4)
    order = torch.tensor([2, 0, 3, 1])
    renamed = vote(shape, views, logits[:, :, order], rule)
    torch.testing.assert_close(renamed.scores, vote(shape, views, logits, rule).scores[:, order])


def test_a_vote_for_one_twin_reaches_both():
    shape = strip_with_twins(3)  # faces 0..2, twins of 0 and 2 are 3 and 4
    logits = torch.zeros(1, 1, 2, 1, 1)
    logits[:, :, 1] = 5
    for face, seen in [(0, [0, 3]), (3, [0, 3]), (1, [1]), (4, [2, 4])]:
        views = views_of(torch.full((1, 1, 1, 1), face))
        votes = vote(shape, views, logits)
        assert votes.seen.nonzero()[:, 0].tolist() == seen
        assert votes.scores.argmax(1)[seen].tolist() == [1] * len(seen)
        assert torch.equal(seen_faces(shape, views), votes.seen)


def test_one_sure_pixel_outweighs_many_unsure_ones_by_entropy_only():
    shape = strip_with_twins(1)
    logits = torch.zeros(1, 1, 3, 1, 10)
    logits[0, 0, 0] = 0.5  # nine pixels lean to label 0
    logits[0, 0, :, 0, 9] = torch.tensor([0.0, 10.0, 0.0])  # one is sure of label 1
    views = views_of(torch.zeros(1, 1, 1, 10))
    winner = {rule: int(vote(shape, views, logits, rule).scores[0].argmax()) for rule in VOTE_RULES}
    assert winner == {"entropy": 1, "mean": 0, "majority": 0, "logits": 1, "official": 1}


def test_summed_logits_let_one_loud_pixel_win_against_many_that_are_sure():
    shape = strip_with_twins(1)
    logits = torch.zeros(1, 1, 2, 1, 10)
    logits[0, 0, 0] = 6.0  # nine pixels are sure of label 0
    logits[0, 0, :, 0, 9] = torch.tensor([0.0, 60.0])
    views = views_of(torch.zeros(1, 1, 1, 10))
    assert [int(vote(shape, views, logits, r).scores[0].argmax()) for r in ("mean", "logits", "official")] == [0, 1, 1]


@pytest.mark.parametrize(("labels", "winner"), [(4, 0), (51, 1)])
def test_official_weight_falls_with_doubt_only_while_there_are_few_classes(labels, winner):
    """One view is sure of label 0, another leans to label 1 and knows next to nothing."""
    shape = strip_with_twins(1)
    logits = torch.zeros(2, 1, labels, 2, 2)
    logits[0, :, 0] = 20.0
    logits[1, :, 1] = 0.3
    votes = vote(shape, views_of(torch.zeros(2, 1, 2, 2)), logits, "official")
    assert int(votes.scores[0].argmax()) == winner
    assert bool(torch.isfinite(votes.scores).all())
    if labels == 51:  # entropy about log 51 = 3.93 nats
        assert float(votes.weight[0]) == pytest.approx(4 * (math.log(51) - 1) ** 20, rel=0.05)


def test_official_weights_beyond_float32_and_of_exactly_1_nat_are_borne():
    shape = strip_with_twins(2)
    logits = torch.zeros(2, 1, 51, 1, 1)
    logits[0, 0, 3] = 0.5
    votes = vote(shape, views_of(torch.zeros(2, 1, 1, 1)), logits, "official", power=100)
    assert float(votes.weight[0]) > 3e38 and int(votes.scores[0].argmax()) == 3
    low, high = 0.0, 10.0  # the logit of label 0 that makes the entropy 1 nat
    for _ in range(200):
        middle = (low + high) / 2
        p = torch.tensor([middle, 0, 0, 0], dtype=torch.float64).softmax(0)
        low, high = (middle, high) if float(torch.special.entr(p).sum()) > 1 else (low, middle)
    logits = torch.tensor([low, 0, 0, 0])[None, None, :, None, None]
    votes = vote(shape, views_of(torch.ones(1, 1, 1, 1)), logits, "official")
    assert votes.seen.tolist() == [False, True, False]
    assert votes.scores[1].tolist() == pytest.approx(p.tolist(), abs=1e-5)


def test_official_needs_an_even_power():
    shape, views, logits = random_case(7)
    with pytest.raises(InputError, match=r"lifting.power=3: .*official.*even"):
        vote(shape, views, logits, "official", power=3.0)


def test_a_sure_pixel_weighs_one_and_a_face_of_unsure_pixels_is_still_seen():
    shape = strip_with_twins(2)
    logits = torch.zeros(1, 1, 4, 1, 2)
    logits[0, 0, 2, 0, 0] = 100
    votes = vote(shape, views_of(torch.tensor([[[[0, 1]]]])), logits)
    assert votes.weight[0] == pytest.approx(1.0)
    assert bool(votes.seen.all())
    torch.testing.assert_close(votes.scores[1], torch.full((4,), 0.25))


def test_half_precision_logits_are_summed_in_float32():
    shape = strip_with_twins(1)
    logits = torch.zeros(1, 1, 2, 64, 64, dtype=torch.half)
    votes = vote(shape, views_of(torch.zeros(1, 1, 64, 64)), logits, "mean")
    assert votes.scores.dtype == torch.float32
    assert float(votes.weight[0]) == 64 * 64  # half would stop at 2048


def test_outer_layers_win_or_vote_alone():
    shape = strip_with_twins(3)
    ids = torch.tensor([[[[0]], [[1]]], [[[-1]], [[0]]]])  # face 0: outer once, inner once; face 1: inner only
    logits = torch.zeros(2, 2, 2, 1, 1)
    logits[0, 0, 0] = 1  # outer: label 0, less sure
    logits[:, 1, 1] = 9  # inner: label 1, sure
    label = {
        order: vote(shape, views_of(ids), logits, "mean", order).scores.argmax(1)[:2].tolist() for order in LAYER_ORDERS
    }
    assert label["all"] == [1, 1]
    assert label["outer_first"] == [0, 1]
    outer = vote(shape, views_of(ids), logits, "mean", "outer_only")
    assert outer.seen.tolist() == [True, False, False, True, False]
    assert int(outer.scores[0].argmax()) == 0
    assert float(outer.scores[1].sum()) == 0


def test_background_logits_do_not_count():
    shape, views, logits = random_case(5)
    wild = torch.where((views.face_ids < 0)[:, :, None], torch.nan, logits)
    assert torch.equal(vote(shape, views, wild).scores, vote(shape, views, logits).scores)


@pytest.mark.parametrize("rule", VOTE_RULES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_logits_are_an_error(rule, value):
    shape, views, logits = random_case(6)
    i, layer, y, x = (views.face_ids >= 0).nonzero()[0].tolist()
    logits[i, layer, 1, y, x] = value
    with pytest.raises(InputError, match=r"strip.*diverged"):
        vote(shape, views, logits, rule)


def test_unknown_rules_are_refused_with_the_valid_ones():
    shape, views, logits = random_case(7)
    with pytest.raises(InputError, match=r"=median .*entropy, mean, majority, logits or official"):
        vote(shape, views, logits, "median")
    with pytest.raises(InputError, match=r"=inner .*all, outer_first or outer_only"):
        vote(shape, views, logits, "mean", "inner")
    with pytest.raises(InputError, match="power"):
        vote(shape, views, logits, power=-1.0)
