"""A mesh in several poses side by side is rasterized as each alone."""

import torch
from pytorch3d.utils import ico_sphere

from mvdecor.shapes.shape import Shape
from mvdecor.views import Cameras, make_rasterizer
from mvdecor.views.tiles import rasterize_poses


def test_poses_are_rasterized_as_each_alone():
    sphere, size, half = ico_sphere(2), 32, 16.0
    shape = Shape("ball", sphere.verts_packed(), sphere.faces_packed())
    generator = torch.Generator().manual_seed(0)
    stretch = 0.3 + 0.6 * torch.rand(5, 1, 3, generator=generator)
    shift = 0.8 * torch.rand(5, 1, 3, generator=generator) - 0.4
    positions = shape.vertices * stretch + shift
    positions[4] = 5 * shape.vertices / 3  # beyond the image on all sides, and into its neighbour's place
    found = rasterize_poses(make_rasterizer("embree"), shape, positions, size)
    camera = Cameras.scaled_orthographic(
        torch.eye(3)[None], torch.tensor([half]), torch.tensor([[half, half]]), size, size
    )
    alone = make_rasterizer("embree")([shape.with_vertices(x) for x in positions], [camera] * 5)
    alone = torch.cat([views.face_ids[:, 0] for views in alone]).long()
    assert torch.equal((found >= 0)[:4], (alone >= 0)[:4]) and (found == alone)[:4].float().mean() > 0.99
    assert (found[:4] >= 0).float().mean() < 0.9, "no pose reaches into its neighbour's place"
    assert (found[4] >= 0).float().mean() > 0.9
