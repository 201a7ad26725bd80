"""Regions to look at first: against a slow flood fill, and what they promise."""

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.lifting import uncertain_regions
from mvdecor.lifting.regions import LEAST_SURE
from mvdecor.shapes.shape import Shape


def ball(subdivisions: int = 3) -> Shape:
    return Shape.from_trimesh(trimesh.creation.icosphere(subdivisions))


def flooded(shape: Shape, chosen: set[int]) -> list[set[int]]:
    """Pieces of the chosen faces, by loops: faces are neighbours if they have two vertices in common."""
    corners = [set(face) for face in shape.faces.tolist()]
    pieces, left = [], set(chosen)
    while left:
        piece, todo = set(), [left.pop()]
        while todo:
            face = todo.pop()
            piece.add(face)
            near = {other for other in left if len(corners[face] & corners[other]) == 2}
            left -= near
            todo += near
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize("seed", range(3))
def test_regions_are_the_pieces_of_the_least_sure_fifth(seed):
    shape = ball()
    confidence = torch.rand(shape.num_faces, generator=torch.Generator().manual_seed(seed))
    areas = (shape.face_areas / shape.face_areas.sum()).double().numpy()
    order = np.argsort(confidence.numpy(), kind="stable")
    chosen = {int(face) for face, before in zip(order, np.cumsum(areas[order]), strict=True) if before <= LEAST_SURE}
    expected = {frozenset(piece) for piece in flooded(shape, chosen)}
    regions = uncertain_regions(shape, confidence)
    assert {frozenset(region.faces.tolist()) for region in regions} == expected
    for region in regions:
        assert region.area == pytest.approx(areas[region.faces].sum())
        assert region.wrong == pytest.approx((areas * (1 - confidence.double().numpy()))[region.faces].sum())
    wrong = [region.wrong for region in regions]
    assert wrong == sorted(wrong, reverse=True) and sum(region.area for region in regions) <= LEAST_SURE


def test_the_larger_of_two_caps_comes_first_and_calibration_does_not_matter():
    shape = ball(4)
    height = shape.face_centers[:, 1]
    confidence = torch.where(height > 0.8, 0.3, torch.where(height < -0.9, 0.25, 0.95))
    top, bottom, *_ = uncertain_regions(shape, confidence)
    assert set(top.faces.tolist()) >= set((height > 0.8).nonzero()[:, 0].tolist())
    assert set(bottom.faces.tolist()) >= set((height < -0.9).nonzero()[:, 0].tolist())
    again = uncertain_regions(shape, 0.5 + confidence / 2)
    assert {frozenset(r.faces.tolist()) for r in again} == {
        frozenset(r.faces.tolist()) for r in uncertain_regions(shape, confidence)
    }


def test_twins_are_in_one_region_and_count_once():
    single = ball(2)
    double = Shape("double", single.vertices, torch.cat([single.faces, single.faces.flip(1)]))
    confidence = torch.rand(single.num_faces, generator=torch.Generator().manual_seed(0))
    for one, two in zip(
        uncertain_regions(single, confidence), uncertain_regions(double, confidence.repeat(2)), strict=True
    ):
        assert two.faces.tolist() == [*one.faces, *(one.faces + single.num_faces)]
        assert (two.area, two.wrong) == pytest.approx((one.area, one.wrong))


def test_a_shape_of_one_face_is_one_region():
    shape = Shape("one", torch.eye(3), torch.tensor([[0, 1, 2]]))
    (region,) = uncertain_regions(shape, torch.tensor([0.25]))
    assert (region.faces.tolist(), region.area, region.wrong) == ([0], 1.0, 0.75)
