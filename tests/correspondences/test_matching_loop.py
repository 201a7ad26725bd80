"""The loop of the CPU against the tensor operations of a GPU: the same matches, but for those that rounding decides."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.correspondences import Matches
from mvdecor.correspondences.matching import match_by_tensors
from mvdecor.correspondences.matching_loop import match_by_loop
from mvdecor.shapes import PartNet, RenderPeople
from mvdecor.views import Surface
from tests.correspondences.test_matching import box, from_trimesh, look, random_direction


def check_same(a: Surface, b: Surface, tolerance: float, min_cosine: float, unique: bool) -> int:
    """Both find the same matches but for one in a thousand (and two), and they agree on each; returns how many."""
    loop, tensors = (match(a, b, tolerance, min_cosine, unique) for match in (match_by_loop, match_by_tensors))
    index = [(m.pair * a.mask[0].numel() + m.pixel_a) for m in (loop, tensors)]
    both = set(index[0].tolist()) & set(index[1].tolist())
    assert max(len(loop), len(tensors)) - len(both) <= 2 + len(both) // 1000
    x, y = (m.select(torch.isin(i, torch.tensor(sorted(both)))) for m, i in zip((loop, tensors), index, strict=True))
    for name in ("pair", "pixel_a", "points"):
        assert torch.equal(getattr(x, name), getattr(y, name))
    assert (x.layer_b != y.layer_b).sum() <= 2 + len(both) // 1000
    torch.testing.assert_close(x.xy_b, y.xy_b, rtol=0, atol=1e-3)
    smaller = torch.minimum(*(s.mask.flatten(1).sum(1) for s in (a, b))).clamp_min(1)
    assert float(((loop.overlap - tensors.overlap) * smaller).abs().max()) <= 2.5 + len(both) // 1000
    check_types(loop, tensors)
    return len(both)


def check_types(x: Matches, y: Matches) -> None:
    for name in ("pair", "pixel_a", "layer_b", "xy_b", "points", "overlap"):
        assert getattr(x, name).dtype == getattr(y, name).dtype
        assert getattr(x, name).shape[1:] == getattr(y, name).shape[1:]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    pairs=st.integers(1, 3),
    layers=st.integers(1, 3),
    reach=st.floats(1.2, 2.2),
    tolerance=st.sampled_from([1e-3, 5e-3, 0.05]),
    min_cosine=st.sampled_from([-1.0, 0.0, 0.5, 0.9]),
    unique=st.booleans(),
)
def test_boxes_from_all_sides(seed, pairs, layers, reach, tolerance, min_cosine, unique):
    shape = from_trimesh(box(0.9, 0.6, 0.3), box(0.2, 0.2, 1.2))
    first = [(1.6 * random_direction(seed + p)).tolist() for p in range(pairs)]
    second = [(reach * random_direction(seed + 10 * p + 1)).tolist() for p in range(pairs)]
    a, b = look(shape, first, layers).surface, look(shape, second, layers).surface
    check_same(a, b, tolerance, min_cosine, unique)


@pytest.mark.parametrize("layers, unique", product([1, 3], [True, False]))
def test_a_person_and_a_refrigerator(people_root, partnet_root, layers, unique):
    people = RenderPeople(people_root, texture_size=64)
    fridges = PartNet(partnet_root, "Refrigerator", splits="splits_local.json")
    for shape in (people.load(people.ids("train")[0]), fridges.load(fridges.ids("train")[0])):
        a = look(shape, [[0.9, 0.5, 1.3], [0.9, 0.5, 1.3]], layers, size=128).surface
        b = look(shape, [[1.2, 0.4, 1.0], [1.5, 0.9, 0.2]], layers, size=128).surface
        assert check_same(a, b, 5e-3, 0.5, unique) > 1000


def test_views_that_are_not_contiguous_in_memory_and_none_at_all():
    shape = from_trimesh(box(0.9, 0.6, 0.3))
    surface = look(shape, [[0.9, 0.5, 1.3], [0.7, 0.4, 1.4], [1.2, 0.4, 1.0], [0.2, 0.9, 1.3]]).surface
    assert check_same(surface[::2], surface[1::2], 5e-3, 0.5, True) > 100
    assert len(match_by_loop(surface[:0], surface[:0], 5e-3, 0.5, True)) == 0
