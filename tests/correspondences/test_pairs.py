"""Choosing pairs: enough overlap, bounded numbers of tries, pairs known to be bad are not matched again."""

import torch

from mvdecor.correspondences import Matching, choose_pair, match_views
from mvdecor.shapes import Shape
from mvdecor.views import Cameras, Surface, look_at, make_rasterizer, surface_of

SIZE = 16


class Counted:
    """Surfaces of one shape's views, counting what is asked for."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.asked: list[tuple[int, int]] = []

    def __call__(self, index: list[int]) -> Surface:
        self.asked.append((index[0], index[1]))
        return self.surface[index]


def plate(centers: list[list[float]]) -> Counted:
    """A square of no thickness in the plane z = 0, seen from `centers`."""
    corners = torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    shape = Shape("plate", corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    n = len(centers)
    rotation, translation = look_at(torch.tensor(centers), torch.zeros(n, 3))
    intrinsics = torch.tensor([[14.0, 0, 8], [0, 14.0, 8], [0, 0, 1]]).expand(n, 3, 3)
    cameras = Cameras(rotation, translation, intrinsics, SIZE, SIZE)
    return Counted(surface_of(shape, make_rasterizer("embree")([shape], [cameras])[0]))


def apart(count: int, same: tuple[int, int]) -> Counted:
    """Each view sees a wall of its own, but the two of `same` see the same one."""
    place = torch.arange(count).float() * 10
    place[same[1]] = place[same[0]]
    centers = torch.stack([place, torch.zeros(count), torch.zeros(count)], dim=1)
    intrinsics = torch.tensor([[14.0, 0, 8], [0, 14.0, 8], [0, 0, 1]]).expand(count, 3, 3)
    cameras = Cameras(torch.eye(3).expand(count, 3, 3), -centers, intrinsics, SIZE, SIZE)
    points = (centers[:, None, None] + 2 * cameras.rays())[:, None]
    mask = torch.ones(points.shape[:-1], dtype=torch.bool)
    normals = torch.tensor([0.0, 0, -1]).expand_as(points)
    return Counted(Surface(cameras, mask, 2 * mask.float(), points, normals))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_opposite_views_of_a_plate_are_given_up():
    surface, rejected = plate([[0, 0, 1.5], [0, 0, -1.5]]), set()
    assert choose_pair(surface, [0, 1], Matching(), generator(), rejected=rejected) is None
    assert sorted(surface.asked) == [(0, 1), (1, 0)] and rejected == {(0, 1), (1, 0)}  # there are no others
    assert choose_pair(surface, [0, 1], Matching(), generator(), rejected=rejected) is None
    assert len(surface.asked) == 2


def test_a_pair_that_overlaps_comes_with_its_matches():
    surface = plate([[0, 0, 1.5], [0, 0, -1.5], [0.3, 0.2, 1.4], [0.1, 0.1, -1.6]])
    seen = set()
    for seed in range(20):
        found = choose_pair(surface, [0, 1, 2, 3], Matching(), generator(seed))
        assert found is not None
        a, b, matches = found
        assert {a, b} in ({0, 2}, {1, 3})  # the same side of the plate
        expected = match_views(surface.surface[[a]], surface.surface[[b]])
        assert torch.equal(matches.pixel_a, expected.pixel_a) and torch.equal(matches.xy_b, expected.xy_b)
        assert float(matches.overlap[0]) > 0.15
        seen.add((a, b))
    assert seen == {(0, 2), (2, 0), (1, 3), (3, 1)}


def test_no_more_pairs_are_matched_than_tries():
    for tries in (1, 7):
        surface = apart(10, same=(0, 0))
        rejected: set[tuple[int, int]] = set()
        assert choose_pair(surface, range(10), Matching(tries=tries), generator(), rejected=rejected) is None
        assert len(surface.asked) == tries
        assert rejected == set(surface.asked) and len(rejected) == tries  # all different


def test_known_bad_pairs_are_not_matched_again_and_change_no_choice():
    surface, rejected = apart(12, same=(3, 7)), set()
    for seed in range(30):  # two pairs of 132 are good
        for tries in (20, 132):
            known = choose_pair(surface, range(12), Matching(tries=tries), generator(seed), rejected=rejected)
            afresh = choose_pair(apart(12, same=(3, 7)), range(12), Matching(tries=tries), generator(seed))
            assert (known is None) == (afresh is None) and (known is None or known[:2] == afresh[:2])
        assert known is not None and {known[0], known[1]} == {3, 7}
    bad = [pair for pair in surface.asked if set(pair) != {3, 7}]
    assert len(bad) == len(set(bad)) == len(rejected) <= 130


def test_the_same_seed_gives_the_same_pair_and_only_the_given_views_are_sampled():
    surface = plate([[0.1 * i, 0.05 * i, 1.5] for i in range(8)])
    for seed in range(10):
        first, second = (choose_pair(surface, [1, 4, 6], Matching(), generator(seed)) for _ in range(2))
        assert first is not None and second is not None
        assert first[:2] == second[:2] and set(first[:2]) <= {1, 4, 6} and first[0] != first[1]


def test_less_than_two_views_make_no_pair():
    surface = plate([[0, 0, 1.5]])
    assert choose_pair(surface, [0], Matching(), generator()) is None
    assert choose_pair(surface, [], Matching(), generator()) is None
    assert surface.asked == []


def test_the_threshold_is_what_the_overlap_must_exceed():
    surface = plate([[0, 0, 1.5], [0.3, 0.2, 1.4]])
    overlap = float(match_views(surface.surface[[0]], surface.surface[[1]]).overlap[0])
    back = float(match_views(surface.surface[[1]], surface.surface[[0]]).overlap[0])
    assert (
        choose_pair(surface, [0, 1], Matching(min_overlap=min(overlap, back) - 1e-3, tries=5), generator()) is not None
    )
    assert choose_pair(surface, [0, 1], Matching(min_overlap=max(overlap, back), tries=5), generator()) is None


def test_a_choice_does_not_depend_on_earlier_ones_where_one_order_overlaps_more_than_the_other():
    """Two views of parts of a plate: pixels of the near one reach fewer pixels of the other than the other way round."""
    surface = plate([[0, 0, 0.6], [0, 0, 1.5]])
    there, back = (
        float(match_views(surface.surface[[a]], surface.surface[[b]]).overlap[0]) for a, b in ((0, 1), (1, 0))
    )
    assert there != back
    matching = Matching(min_overlap=(there + back) / 2)
    good = (0, 1) if there > back else (1, 0)
    rejected: set[tuple[int, int]] = set()
    for seed in range(20):
        after = choose_pair(surface, [0, 1], matching, generator(seed), rejected)
        afresh = choose_pair(surface, [0, 1], matching, generator(seed))
        assert after is not None and afresh is not None and after[:2] == afresh[:2] == good
    assert rejected == {good[::-1]}
