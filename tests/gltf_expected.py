"""What a glTF file's faces and colours must be, by plain loops that share nothing with the reader."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mvdecor.shapes.gltf import GltfMesh
from mvdecor.shapes.sampling import sample_texture


@dataclass(frozen=True)
class Paint:
    """How a primitive is coloured: `uv` [V, 2] and `colours` [V, 3] as the file says, in its own conventions."""

    stated: bool = False
    factor: tuple[float, ...] = (1.0, 1.0, 1.0)
    colours: np.ndarray | None = None
    image: np.ndarray | None = None
    uv: np.ndarray | None = None
    wraps: tuple[str, str] = ("repeat", "repeat")
    nearest: bool = False
    offset: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Face:
    """What one face must be: node, instance, mesh, primitive and triangle; world corners [3, 3]; its part's vertices."""

    origin: tuple[int, int, int, int, int]
    corners: np.ndarray
    vertices: tuple[int, int, int]
    paint: Paint


def triangles_of(order: list[int], mode: int) -> list[tuple[int, int, int]]:
    """As the tables of glTF 2.0, section 3.7.2.1, list them."""
    if mode == 4:
        return [(order[i], order[i + 1], order[i + 2]) for i in range(0, len(order), 3)]
    if mode == 5:
        return [(order[i], order[i + 1 + i % 2], order[i + 2 - i % 2]) for i in range(len(order) - 2)]
    return [(order[i + 1], order[i + 2], order[0]) for i in range(len(order) - 2)]


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _srgb(value: float) -> float:
    value = min(max(value, 0.0), 1.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _texel(index: int, size: int, wrap: str) -> int:
    if wrap == "clamp":
        return min(max(index, 0), size - 1)
    if wrap == "mirror":
        index %= 2 * size
        return index if index < size else 2 * size - 1 - index
    return index % size


def expected_colour(
    paint: Paint, vertices: tuple[int, int, int], weights: np.ndarray, blend_first: bool
) -> np.ndarray | None:
    """sRGB [3] in [0, 1] at a point of a face; None where it lies on the border of two texels, either of which is right.

    Texels are tinted and then blended, or with `blend_first` the other way round (as the reader must, where tints vary).
    """
    tint = np.array(paint.factor)
    if paint.colours is not None:
        tint = tint * sum(weight * paint.colours[vertex] for weight, vertex in zip(weights, vertices, strict=True))
    if paint.image is None or paint.uv is None:
        return np.array([_srgb(value) for value in tint])
    u, v = sum(weight * paint.uv[vertex] for weight, vertex in zip(weights, vertices, strict=True))
    u, v = u * paint.scale[0], v * paint.scale[1]
    cos, sin = math.cos(paint.rotation), math.sin(paint.rotation)
    u, v = cos * u + sin * v + paint.offset[0], -sin * u + cos * v + paint.offset[1]
    height, width = paint.image.shape[:2]
    x, y = u * width - 0.5, v * height - 0.5
    if paint.nearest:
        if min(abs((x + 0.5) - round(x + 0.5)), abs((y + 0.5) - round(y + 0.5))) < 1e-3:
            return None
        x, y = float(math.floor(x + 0.5)), float(math.floor(y + 0.5))
    column, row = math.floor(x), math.floor(y)
    colour = np.zeros(3)
    texel_tint = np.ones(3) if blend_first else tint
    for i in (0, 1):
        for j in (0, 1):
            texel = paint.image[_texel(row + i, height, paint.wraps[1]), _texel(column + j, width, paint.wraps[0])]
            share = (y - row if i else 1 - y + row) * (x - column if j else 1 - x + column)
            colour += share * np.array([_srgb(_linear(t / 255) * f) for t, f in zip(texel, texel_tint, strict=True)])
    return np.array([_srgb(_linear(c) * f) for c, f in zip(colour, tint, strict=True)]) if blend_first else colour


def varies(paint: Paint, used: set[int]) -> bool:
    """Whether the colours of vertices differ where there are faces: then the reader resamples."""
    return paint.colours is not None and len(np.unique(paint.colours[sorted(used)], axis=0)) > 1


def check(mesh: GltfMesh, faces: list[Face], seed: int) -> None:
    """Compare what was read with what was written.

    Raises:
        AssertionError: another face, order, place or colour.
    """
    origins = np.stack(
        [mesh.face_nodes, mesh.face_instances, mesh.face_meshes, mesh.face_primitives, mesh.face_triangles], axis=1
    )
    assert origins.tolist() == [list(face.origin) for face in faces], "other faces, or another order"
    corners = np.array([face.corners for face in faces])
    scale = max(1.0, np.abs(corners).max())
    assert np.abs(mesh.vertices[mesh.faces] - corners).max() < 1e-6 * scale, "corners lie elsewhere"
    assert (mesh.texture is not None) == any(face.paint.stated for face in faces), "textured or not"
    if mesh.texture is None:
        return
    used: dict[tuple[int, int], set[int]] = {}
    for face in faces:
        used.setdefault(face.origin[2:4], set()).update(face.vertices)
    inside = np.random.default_rng(seed).dirichlet([1, 1, 1])
    for weights in (*np.eye(3), inside):
        uv = (torch.from_numpy(weights).float()[:, None] * mesh.texture.uv).sum(dim=1)
        colours = sample_texture(mesh.texture, mesh.texture.image_ids, uv).numpy()
        for number, face in enumerate(faces):
            resampled = varies(face.paint, used[face.origin[2:4]])
            if resampled and weights is inside and face.paint.image is not None:
                continue  # exact at the corners only
            right = expected_colour(face.paint, face.vertices, weights, resampled)
            if right is not None:
                off = 255 * np.abs(colours[number] - right).max()
                assert off < (16 if resampled and weights is inside else 1.6), f"face {number}: off by {off:.1f} levels"
