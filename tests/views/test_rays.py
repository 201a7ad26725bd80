"""Rays of pixels, against projection and against surfaces."""

import torch
import trimesh

from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import look_at, sphere_cameras
from mvdecor.views.rasterizers import make_rasterizer
from mvdecor.views.rays import depth_of, rays_of
from mvdecor.views.views import surface_of


def uneven_cameras() -> Cameras:
    """Wide pictures, unequal focal lengths, an off-centre principal point."""
    centers = torch.tensor([[0.5, 0.3, 2.0], [-2.0, 1.0, 0.2]])
    rotation, translation = look_at(centers, torch.zeros(2, 3))
    matrix = torch.tensor([[40.0, 0, 30], [0, 50, 20], [0, 0, 1]]).expand(2, 3, 3)
    return Cameras(rotation, translation, matrix, 36, 64)


def test_points_along_rays_project_to_the_centres_of_their_pixels():
    cameras = uneven_cameras()
    index = torch.randperm(2 * 36 * 64)[:500]
    rays = rays_of(cameras, index)
    assert len(rays) == 500 and torch.equal(rays.index, index)
    torch.testing.assert_close(rays.directions.norm(dim=1), torch.ones(500))
    distance = 0.2 + 3 * torch.rand(500)
    points = rays.origins + distance[:, None] * rays.directions
    xy, z = cameras.project(points.expand(2, 500, 3))
    view, pixel = index // (36 * 64), index % (36 * 64)
    mine = torch.arange(500)
    torch.testing.assert_close(xy[view, mine], torch.stack([pixel % 64, pixel // 64], 1) + 0.5, atol=2e-3, rtol=0)
    torch.testing.assert_close(z[view, mine], depth_of(cameras, rays, distance))
    torch.testing.assert_close(rays.origins, cameras.centers[view])


def test_all_rays_meet_the_surface_that_the_rasterizer_saw():
    sphere = trimesh.creation.icosphere(2)
    vertices, faces = torch.tensor(sphere.vertices, dtype=torch.float32), torch.tensor(sphere.faces)
    shape, cameras = Shape("sphere", vertices, faces), sphere_cameras(3, 20, seed=4)
    surface = surface_of(shape, make_rasterizer("embree")([shape], [cameras])[0])
    seen = surface.mask.reshape(-1)
    rays = rays_of(cameras)[seen]
    points = surface.points.reshape(-1, 3)[seen]
    distance = (points - rays.origins).norm(dim=1)
    torch.testing.assert_close(rays.origins + distance[:, None] * rays.directions, points, atol=1e-5, rtol=0)
    torch.testing.assert_close(depth_of(cameras, rays, distance), surface.depth.reshape(-1)[seen], atol=1e-5, rtol=0)
