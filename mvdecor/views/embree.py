"""Rasterizer by ray casting on the CPU with Embree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from mvdecor.recent import Recent
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.rasterizers import GAP, NEAR, check_request, rasterized_faces, shape_radius
from mvdecor.views.views import Views

RAYS_PER_CALL = 2_000_000  # bounds memory: about 100 bytes a ray
CACHE_SIZE = 8


@dataclass(frozen=True)
class _Scene:
    shape: Shape  # kept alive, so that its id() stays its own
    embree: EmbreeScene
    face_ids: np.ndarray  # int32 [D + 1], the shape's face of each of Embree's faces; -1 for Embree's -1
    near: float
    gap: float


class EmbreeRasterizer:
    """Casts one ray per pixel; the cost depends little on the number of faces. See `rasterizers.Rasterizer`.

    The acceleration structures of the last few shapes stay in memory.
    """

    def __init__(self) -> None:
        self._scenes: Recent[_Scene] = Recent(CACHE_SIZE)

    def __reduce__(self) -> tuple:
        return EmbreeRasterizer, ()  # a worker process builds structures of its own

    def __call__(self, shapes: Sequence[Shape], cameras: Sequence[Cameras], layers: int = 1) -> list[Views]:
        """See `rasterizers.Rasterizer`."""
        check_request(shapes, cameras, layers)
        return [self._rasterize(shape, views, layers) for shape, views in zip(shapes, cameras, strict=True)]

    def _rasterize(self, shape: Shape, cameras: Cameras, layers: int) -> Views:
        scene = self._scenes.get(id(shape), lambda: _build(shape))
        height, width = cameras.height, cameras.width
        face_ids = np.empty((len(cameras), layers, height, width), dtype=np.int32)
        step = max(1, RAYS_PER_CALL // (height * width))
        for start in range(0, len(cameras), step):
            chunk = cameras[start : start + step].to("cpu")
            rays = chunk.rays().reshape(-1, 3).numpy()
            faces = _peel(scene, _origins(chunk), rays, layers).reshape(layers, len(chunk), height, width)
            face_ids[start : start + step] = faces.swapaxes(0, 1)
        return Views(cameras, torch.from_numpy(face_ids).to(cameras.rotation.device))


def _origins(cameras: Cameras) -> np.ndarray:
    """float32 [N H W, 3], where the rays of all pixels begin."""
    pixels = cameras.height * cameras.width
    if not cameras.orthographic:
        return cameras.centers.repeat_interleave(pixels, dim=0).numpy()
    index = torch.arange(len(cameras) * pixels)
    return cameras.origins_at(index // pixels, index % pixels).numpy()


def _build(shape: Shape) -> _Scene:
    face_ids = rasterized_faces(shape)
    embree = EmbreeScene(robust=True)  # watertight along the edges that faces share
    vertices = shape.vertices.cpu().numpy()
    TriangleMesh(embree, np.ascontiguousarray(vertices), shape.faces[face_ids].cpu().numpy().astype(np.int32))
    radius = shape_radius(shape)
    face_ids_or_none = np.append(face_ids.cpu().numpy(), -1).astype(np.int32)
    return _Scene(shape, embree, face_ids_or_none, NEAR * radius, GAP * radius)


def _peel(scene: _Scene, origins: np.ndarray, rays: np.ndarray, layers: int) -> np.ndarray:
    """Faces int32 [L, R] along R rays (float32 [R, 3] each); rays have camera z 1, so distances are camera depths."""
    faces = np.full((layers, len(rays)), -1, dtype=np.int32)
    live = np.arange(len(rays))
    depth = np.full(len(rays), scene.near - scene.gap, dtype=np.float32)  # of the last surface of each live ray
    last = np.full(len(rays), -1, dtype=np.int32)
    for layer in range(layers):
        face_ids, depth = _next_surface(scene, origins[live], rays[live], depth, last)
        faces[layer, live] = face_ids
        hit = face_ids >= 0
        live, depth, last = live[hit], depth[hit], face_ids[hit]
    return faces


def _next_surface(
    scene: _Scene, origins: np.ndarray, rays: np.ndarray, depth: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First face more than the gap beyond `depth` that is not `last`: ids int32 [R] and depths float32 [R].

    A ray that grazes a face may meet it again beyond the gap by rounding; the ray then starts again farther on, each time by
    twice the step, so that it must leave the face behind.
    """
    start = depth + np.float32(scene.gap)
    face_ids = np.empty(len(rays), dtype=np.int32)
    hit_depth = np.empty(len(rays), dtype=np.float32)
    todo = np.arange(len(rays))
    step = np.float32(scene.gap)
    while len(todo):
        direction = np.ascontiguousarray(rays[todo])
        answer = scene.embree.run(origins[todo] + start[todo, None] * direction, direction, output=True)
        face_ids[todo] = scene.face_ids[answer["primID"]]
        hit_depth[todo] = start[todo] + answer["tfar"]
        todo = todo[(face_ids[todo] >= 0) & (face_ids[todo] == last[todo])]
        start[todo] += step
        step *= 2
    return face_ids, hit_depth
