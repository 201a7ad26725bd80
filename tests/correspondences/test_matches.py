"""`Matches`: samples, joining, and embeddings at both ends, against counts, single look-ups and `grid_sample`."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.correspondences import Matches, embeddings_at_a, embeddings_at_b, sample_matches


def some_matches(counts: list[int], seed: int = 0) -> Matches:
    rng, m = torch.Generator().manual_seed(seed), sum(counts)
    return Matches(
        torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        torch.arange(m),
        torch.zeros(m, dtype=torch.int64),
        torch.rand(m, 2, generator=rng),
        torch.rand(m, 3, generator=rng),
        torch.rand(len(counts), generator=rng),
    )


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 12), min_size=1, max_size=5), count=st.integers(0, 10), seed=st.integers(0, 99))
def test_samples_are_at_most_count_a_pair_without_replacement(counts, count, seed):
    matches = some_matches(counts)
    sampled = sample_matches(matches, count, torch.Generator().manual_seed(seed))
    assert torch.bincount(sampled.pair, minlength=len(counts)).tolist() == [min(n, count) for n in counts]
    assert bool((sampled.pair.diff() >= 0).all())
    assert len(sampled.pixel_a.unique()) == len(sampled)
    for name in ("pair", "layer_b", "xy_b", "points"):  # rows stay together
        assert torch.equal(getattr(sampled, name), getattr(matches, name)[sampled.pixel_a])
    assert torch.equal(sampled.overlap, matches.overlap)
    again = sample_matches(matches, count, torch.Generator().manual_seed(seed))
    assert torch.equal(sampled.pixel_a, again.pixel_a)


def test_samples_with_replacement_are_count_of_every_pair_that_has_any():
    matches = some_matches([3, 0, 50, 1])
    sampled = sample_matches(matches, 40, torch.Generator().manual_seed(0), replace=True)
    assert torch.bincount(sampled.pair, minlength=4).tolist() == [40, 0, 40, 40]
    assert bool((sampled.pair.diff() >= 0).all())
    for name in ("pair", "layer_b", "xy_b", "points"):  # rows stay together
        assert torch.equal(getattr(sampled, name), getattr(matches, name)[sampled.pixel_a])
    assert torch.equal(sampled.overlap, matches.overlap)
    rng = torch.Generator().manual_seed(1)
    large = some_matches([1000, 10])
    sampled = sample_matches(large, 1000, rng, replace=True)
    different = len(sampled.pixel_a[sampled.pair == 0].unique())
    assert 590 < different < 675  # 1000 (1 - (1 - 1/1000) ** 1000) = 632 expected
    times = torch.bincount(sampled.pixel_a[sampled.pair == 1] - 1000, minlength=10)
    assert int(times.sum()) == 1000 and int(times.min()) > 60 and int(times.max()) < 140


def test_every_match_is_sampled_about_as_often():
    matches, rng = some_matches([5, 20]), torch.Generator().manual_seed(0)
    times = torch.zeros(25)
    for _ in range(2000):
        times[sample_matches(matches, 4, rng).pixel_a] += 1
    torch.testing.assert_close(times / 2000, torch.tensor([0.8] * 5 + [0.2] * 20), rtol=0, atol=0.05)


def test_cat_numbers_the_pairs_on():
    both = Matches.cat([some_matches([2, 0, 1]), some_matches([0, 3], seed=1)])
    assert both.pair.tolist() == [0, 0, 2, 4, 4, 4]
    assert len(both) == 6 and both.overlap.shape == (5,)


def test_embeddings_at_a_are_those_of_the_pixels():
    rng = torch.Generator().manual_seed(0)
    embeddings = torch.rand(3, 2, 5, 4, 6, generator=rng)  # [P, L, D, H, W]
    matches = some_matches([4, 1, 7])
    got = embeddings_at_a(embeddings, matches.select(torch.arange(12)))
    pixel = matches.pixel_a
    for m in range(12):
        layer, row, column = int(pixel[m]) // 24, int(pixel[m]) % 24 // 6, int(pixel[m]) % 6
        assert torch.equal(got[m], embeddings[matches.pair[m], layer, :, row, column])


def test_embeddings_at_b_are_bilinear_and_stay_inside_at_the_border():
    rng = torch.Generator().manual_seed(0)
    height, width, counts = 5, 7, [30, 20]
    embeddings = torch.rand(2, 3, 4, height, width, generator=rng, dtype=torch.float64)
    matches = some_matches(counts)
    xy = matches.xy_b * torch.tensor([width, height])
    xy[:3] = torch.tensor([[0.0, 0.0], [width - 1e-3, height - 1e-3], [2.5, 3.5]])
    layer = torch.randint(3, (50,), generator=rng)
    matches = Matches(matches.pair, matches.pixel_a, layer, xy, matches.points, matches.overlap)
    got = embeddings_at_b(embeddings, matches)
    grid = (2 * xy.double() / torch.tensor([width, height]) - 1)[:, None, None]
    images = embeddings[matches.pair, layer]
    expected = F.grid_sample(images, grid, "bilinear", padding_mode="border", align_corners=False)[..., 0, 0]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert torch.equal(got[2], embeddings[0, layer[2], :, 3, 2])  # a pixel's centre
    embeddings.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: embeddings_at_b(e, matches.select(torch.arange(6))), embeddings)
