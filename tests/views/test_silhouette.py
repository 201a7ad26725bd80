"""The soft silhouette against PyTorch3D's, finite differences and Embree's mask; orthographic cameras against both."""

from __future__ import annotations

import torch
from pytorch3d.renderer import BlendParams, MeshRasterizer, RasterizationSettings, SoftSilhouetteShader
from pytorch3d.structures import Meshes
from pytorch3d.utils import ico_sphere
from torch import Tensor

from mvdecor.shapes import Shape
from mvdecor.views import Cameras, blur_radius, make_rasterizer, soft_silhouette, surface_of

HEIGHT, WIDTH = 24, 32


def cameras(count: int = 3) -> Cameras:
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator)).Q
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]
    scale = 6 + 4 * torch.rand(count, generator=generator)
    shift = torch.tensor([WIDTH / 2, HEIGHT / 2]) + 3 * torch.randn(count, 2, generator=generator)
    return Cameras.scaled_orthographic(rotation, scale, shift, HEIGHT, WIDTH)


def lumpy() -> tuple[Tensor, Tensor]:
    """A sphere of 162 vertices with lumps."""
    vertices, faces = ico_sphere(2).get_mesh_verts_faces(0)
    lumps = 1 + 0.3 * torch.sin(5 * vertices).prod(dim=1, keepdim=True)
    return vertices * lumps * torch.tensor([1.0, 0.7, 1.3]), faces


def by_pytorch3d(vertices: Tensor, faces: Tensor, views: Cameras, sigma: float) -> Tensor:
    settings = RasterizationSettings((HEIGHT, WIDTH), blur_radius(sigma), 120, bin_size=0, perspective_correct=False)
    meshes = Meshes([vertices] * len(views), [faces] * len(views))
    fragments = MeshRasterizer(cameras=views.to_pytorch3d(), raster_settings=settings)(meshes)
    assert int((fragments.pix_to_face >= 0).sum(-1).max()) < 120, "some faces were left out"
    return SoftSilhouetteShader(BlendParams(sigma=sigma))(fragments, meshes)[..., 3]


def test_values_and_gradients_are_pytorch3ds() -> None:
    vertices, faces = lumpy()
    views, cotangent = cameras(), torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    for sigma in (1e-4, 1e-3):
        results = []
        for ours in (True, False):
            leaf = vertices.clone().requires_grad_()
            positions = views.project(leaf.expand(3, -1, -1))[0]
            silhouette = (
                soft_silhouette(positions, faces, HEIGHT, WIDTH, sigma)
                if ours
                else by_pytorch3d(leaf, faces, views, sigma)
            )
            results.append((silhouette.detach(), torch.autograd.grad((silhouette * cotangent).sum(), leaf)[0]))
        torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-4)
        cosine = torch.cosine_similarity(results[0][1].flatten(), results[1][1].flatten(), dim=0)
        assert float(cosine) > 0.99999
        torch.testing.assert_close(results[0][1].norm(), results[1][1].norm(), rtol=1e-3, atol=0)


def test_gradient_is_that_of_finite_differences() -> None:
    positions = torch.tensor(
        [[[2.2, 1.7], [9.4, 2.9], [5.1, 8.3], [9.9, 8.8]]], dtype=torch.float64, requires_grad=True
    )
    faces = torch.tensor([[0, 1, 2], [1, 2, 3]])
    assert torch.autograd.gradcheck(lambda x: soft_silhouette(x, faces, 10, 12, 3e-3), positions, eps=1e-7, atol=1e-4)


def test_many_pairs_are_halved_and_lost_vertices_not_seen(monkeypatch) -> None:
    vertices, faces = lumpy()
    positions = cameras().project(vertices.expand(3, -1, -1))[0]
    whole = soft_silhouette(positions, faces, HEIGHT, WIDTH)
    monkeypatch.setattr("mvdecor.views.silhouette.PAIRS", 10)
    assert soft_silhouette(positions.requires_grad_(), faces, HEIGHT, WIDTH).requires_grad
    torch.testing.assert_close(soft_silhouette(positions.detach(), faces, HEIGHT, WIDTH), whole)
    monkeypatch.undo()
    lost = positions.detach().clone()
    lost[1] = torch.nan
    lost[2] = 1e20
    lost.requires_grad_()
    silhouette = soft_silhouette(lost, faces, HEIGHT, WIDTH)
    torch.testing.assert_close(silhouette[0].detach(), whole[0])
    assert not bool(silhouette[1:].any())
    silhouette.sum().backward()
    assert lost.grad is not None and bool(lost.grad.isfinite().all()) and bool(lost.grad[0].any())


def test_hard_limit_is_the_rasterized_mask_of_an_orthographic_camera() -> None:
    vertices, faces = lumpy()
    shape, views = Shape("lumpy", vertices, faces), cameras()
    soft = soft_silhouette(views.project(vertices.expand(3, -1, -1))[0], faces, HEIGHT, WIDTH, 1e-9) > 0.5
    surfaces = {}
    for name in ("embree", "pytorch3d"):
        (rasterized,) = make_rasterizer(name)([shape], [views])
        assert int((rasterized.face_ids[:, 0] >= 0).ne(soft).sum()) <= 2
        surfaces[name] = surface_of(shape, rasterized)
    both = surfaces["embree"].mask & surfaces["pytorch3d"].mask
    assert float((surfaces["embree"].depth - surfaces["pytorch3d"].depth).abs()[both].median()) < 1e-5
    surface = surfaces["embree"]
    for n in range(3):
        (xy,), (z,) = views[[n]].project(surface.points[n, 0][surface.mask[n, 0]][None])
        row, column = surface.mask[n, 0].nonzero().unbind(1)
        torch.testing.assert_close(xy, torch.stack([column + 0.5, row + 0.5], dim=1), rtol=0, atol=1e-4)
        torch.testing.assert_close(z, surface.depth[n, 0][surface.mask[n, 0]], rtol=0, atol=1e-4)


def test_orthographic_is_a_pinhole_far_away() -> None:
    vertices, _ = lumpy()
    views, far = cameras(), 1e4
    translation = torch.tensor([0.0, 0.0, far]).expand(3, 3)
    intrinsics = views.intrinsics.clone()
    intrinsics[:, 0, 0] *= far
    intrinsics[:, 1, 1] *= far
    pinholes = Cameras(views.rotation, translation, intrinsics, HEIGHT, WIDTH)
    points = vertices.expand(3, -1, -1)
    torch.testing.assert_close(views.project(points)[0], pinholes.project(points)[0], rtol=0, atol=5e-3)
    view, pixel = torch.tensor([0, 1, 2]), torch.tensor([5, 100, 700])
    directions = [torch.nn.functional.normalize(c.rays_at(view, pixel), dim=1) for c in (views, pinholes)]
    torch.testing.assert_close(directions[0], directions[1], rtol=0, atol=1e-3)
    whole = views.rays().reshape(3, -1, 3)[view, pixel]
    torch.testing.assert_close(views.rays_at(view, pixel), whole)
    for same in (views[[1]], views.to("cpu"), Cameras.cat([views, views]), views.reduced(2)):
        assert same.orthographic
