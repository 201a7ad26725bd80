"""Which vertices views see, and the weights of pixels, against rays and the definition."""

import numpy as np
import torch
import trimesh
from pytorch3d.utils import ico_sphere

from mvdecor.shapes.shape import Shape
from mvdecor.views import Cameras, make_rasterizer
from mvdecor.views.visibility import pixel_weights, visible_vertices


def test_visible_vertices_and_weights_of_pixels():
    sphere = ico_sphere(1)
    shape = Shape("ball", sphere.verts_packed() * torch.tensor([1.0, 0.6, 0.8]), sphere.faces_packed())
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    rotation = rotation * torch.linalg.det(rotation)
    size, scale = 64, 28.0
    cameras = Cameras.scaled_orthographic(
        rotation[None], torch.tensor([scale]), torch.tensor([[30.0, 34.0]]), size, size
    )
    face_ids = make_rasterizer("embree")([shape], [cameras])[0].face_ids[:, 0]
    visible = visible_vertices(face_ids, shape.faces, 42)[0].numpy()

    mesh = trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)
    toward = -rotation[2].numpy()
    blocked = mesh.ray.intersects_any(shape.vertices.numpy() + 1e-3 * toward, np.tile(toward, (42, 1)))
    facing = mesh.vertex_normals @ toward > 0.3  # not on the rim
    assert (visible | blocked)[facing].all(), "a vertex in sight has a face in sight"
    assert not (visible & blocked)[mesh.vertex_normals @ toward < -0.7].any()
    corners_seen = np.unique(shape.faces.numpy()[np.unique(face_ids[face_ids >= 0])])
    assert set(np.flatnonzero(visible)) == set(corners_seen)

    flat = (shape.vertices @ rotation[:2].T * scale + torch.tensor([30.0, 34.0])) / (size / 2) - 1
    corners, weights = pixel_weights(face_ids, shape.faces, flat[None])
    seen = face_ids[0] >= 0
    assert torch.equal(weights[0].sum(dim=2) > 0.5, seen)
    place = (weights[0, ..., None] * flat[corners[0]]).sum(dim=2)
    rows, columns = seen.nonzero(as_tuple=True)
    centres = torch.stack([(2 * columns + 1) / size - 1, (2 * rows + 1) / size - 1], dim=1)
    torch.testing.assert_close(place[seen], centres, atol=1e-3, rtol=0)
