"""Rays of batches: which pixels they pass, and those of mirror images."""

import pytest
import torch

from mvdecor.captures import RaySource, RenderedCaptures, sample_pixels
from mvdecor.shapes import PartNet


@pytest.fixture(scope="module")
def chairs(made_up_partnet):
    return RenderedCaptures(PartNet(made_up_partnet, "Chair", 1), count=3, size=24, rasterizer="embree")


def test_rays_along_the_outline(chairs):
    """Each such pixel has one of the other kind among its neighbours in its own view, by a plain loop."""
    capture = chairs.load(chairs.ids("train")[0])
    mask = capture.alpha() >= 128
    pixels = sample_pixels(capture, [0, 1, 2], 200, 0.25, torch.Generator().manual_seed(0), outline=0.5)
    assert bool(mask.view(-1)[pixels[:50]].all())
    for pixel in pixels[50:150].tolist():
        view, row, column = pixel // 576, pixel % 576 // 24, pixel % 24
        window = mask[view, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        assert bool(window.any()) and not bool(window.all())
    inside = mask.view(-1)[pixels[50:150]]
    assert 20 < int(inside.sum()) < 80  # from both sides


def test_a_mirrored_capture_is_an_object_of_its_own(chairs):
    ids = chairs.ids("train")[:2]
    batch = RaySource(chairs, ids, 4, 30, foreground=0.5, mirrored=True).sample(0, 0)
    assert sorted(batch.objects.tolist()) == [0, 1, 2, 3]
    for b in range(4):
        capture = chairs.load(ids[batch.objects[b] % 2])
        x = batch.origins[b, :, 0] * (-1 if batch.objects[b] >= 2 else 1)
        assert (x[:, None] - capture.cameras.centers[:, 0]).abs().min(dim=1).values.max() < 1e-5
        points = batch.origins[b] + batch.distance[b][:, None] * batch.directions[b]
        if batch.objects[b] >= 2:
            points = points * torch.tensor([-1.0, 1.0, 1.0])
        xy, z = capture.cameras.project(points.expand(len(capture), -1, -1))
        for ray in batch.mask[b].nonzero()[:, 0].tolist():  # some view shows this colour at this point
            column, row = xy[:, ray].floor().long().clamp(0, 23).unbind(1)
            seen = (capture.depth()[torch.arange(3), row, column] - z[:, ray]).abs() < 1e-4
            colours = capture.images()[torch.arange(3), row, column][seen].float() / 255
            assert bool((colours == batch.rgb[b, ray]).all(dim=1).any())
