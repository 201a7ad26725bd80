"""Captures of a smaller size: pixels are those of their blocks, rays go through their blocks' middles."""

import pytest
import torch
from torch.nn.functional import normalize

from mvdecor.captures import RaySource, RenderedCaptures
from mvdecor.captures.reduced import reduced
from mvdecor.errors import InputError
from mvdecor.shapes import PartNet


@pytest.fixture(scope="module")
def chairs(made_up_partnet):
    return RenderedCaptures(PartNet(made_up_partnet, "Chair", 1), count=3, size=24, rasterizer="embree")


def test_pixels_are_those_of_their_blocks(chairs):
    capture = chairs.load(chairs.ids("train")[0])
    small = reduced(capture, 2)
    assert (small.cameras.height, small.cameras.width, len(small)) == (12, 12, 3)
    views = (
        (image, labels, depth) for image, labels, depth in zip(capture.images(), capture.labels(), capture.depth())
    )
    for view, (image, labels, depth) in enumerate(views):
        for row, column in ((0, 0), (5, 6), (6, 6), (7, 5), (9, 4)):
            block = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
            mean = image[block].float().mean(dim=(0, 1))
            assert (small.images([view])[0, row, column] - mean).abs().max() <= 0.5
            counts = torch.bincount(labels[block].flatten().long())
            assert counts[small.labels([view])[0, row, column].long()] == counts.max()
            seen = depth[block][depth[block] > 0]
            expected = seen.mean() if len(seen) else torch.tensor(0.0)
            torch.testing.assert_close(small.depth([view])[0, row, column], expected)


def test_rays_go_through_the_middle_of_their_blocks(chairs):
    capture = chairs.load(chairs.ids("train")[0])
    directions = capture.cameras.rays_at(torch.zeros(4, dtype=torch.long), torch.tensor([2, 3, 26, 27]))
    ray = reduced(capture, 2).rays(torch.tensor([1])).directions[0]
    torch.testing.assert_close(ray, normalize(directions.mean(dim=0), dim=0))


def test_the_first_steps_see_smaller_images(chairs):
    source = RaySource(chairs, chairs.ids("train"), 2, 40, coarse_steps=3, coarse_factor=2)
    assert [source.sample(0, step).rgb.shape[1] for step in (0, 2, 3)] == [10, 10, 40]
    assert torch.equal(source.sample(0, 3).rgb, RaySource(chairs, source.ids, 2, 40).sample(0, 3).rgb)


def test_a_factor_that_does_not_divide_is_refused(chairs):
    with pytest.raises(InputError, match="5 does not divide its 24x24 pixels"):
        reduced(chairs.load(chairs.ids("train")[0]), 5)


def test_supersampled_pixels_are_means_of_those_of_larger_images(made_up_partnet):
    shapes = PartNet(made_up_partnet, "Chair", 1)
    large, averaged = (
        RenderedCaptures(shapes, count=2, size=size, supersample=factor) for size, factor in ((36, 1), (12, 3))
    )
    id = large.ids("train")[1]
    expected = large.load(id).images().float().unflatten(1, (12, 3)).unflatten(3, (12, 3)).mean(dim=(2, 4))
    capture = averaged.load(id)
    assert (capture.images().float() - expected).abs().max() <= 0.5
    torch.testing.assert_close(capture.cameras.intrinsics[:, :2] * 3, large.load(id).cameras.intrinsics[:, :2])
    assert len(set(capture.images().flatten().tolist())) > len(set(large.load(id).images().flatten().tolist()))
