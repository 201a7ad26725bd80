"""Pictures of made-up birds: plumage, camera, light, background; masks, keypoints and cameras are known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mvdecor.made_up.birds import KEYPOINTS, BirdMesh, bird_mesh, keypoints, random_bird
from mvdecor.made_up.picture_files import KnownPicture
from mvdecor.shapes import Shape
from mvdecor.views import Cameras, Rasterizer, Surface, barycentric, surface_of

Array = NDArray[np.float64]

RINGS, SIDES = 60, 40  # of the birds in pictures; the template may be coarser
SAMPLES = 2  # rays per pixel along each side
HIDDEN = 0.06  # template units: a keypoint this far behind the surface that its pixel sees is hidden


@dataclass(frozen=True)
class BirdPicture(KnownPicture):
    """One picture and all that is known of it; keypoints in the order of `KEYPOINTS`.

    Attributes:
        bird: the shape's parameters.
    """

    bird: dict[str, float]


def take_picture(rng: np.random.Generator, size: int, rasterizer: Rasterizer) -> BirdPicture:
    """A picture [size, size] of a random bird from a random side, upright within some 20 degrees.

    Args:
        rng: everything follows from it.
        size: pixels per side.
        rasterizer: as of `make_rasterizer("embree")`.
    """
    bird = random_bird(rng)
    mesh = bird_mesh(bird, RINGS, SIDES)
    rotation = _random_rotation(rng)
    scale, shift = _framing(rng, mesh.vertices @ rotation.T, size)
    shape = Shape("bird", torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces))
    cameras = Cameras.scaled_orthographic(
        torch.from_numpy(rotation[None]).float(),
        torch.tensor([SAMPLES * scale], dtype=torch.float32),
        torch.from_numpy(SAMPLES * shift[None]).float(),
        SAMPLES * size,
        SAMPLES * size,
    )
    (views,) = rasterizer([shape], [cameras])
    surface = surface_of(shape, views)
    seen = surface.mask[0, 0].numpy()
    picture = np.repeat(np.repeat(_background(rng, size), SAMPLES, 0), SAMPLES, 1)
    picture[seen] = _shaded(rng, mesh, shape, views.face_ids[0, 0][surface.mask[0, 0]], surface)
    image = picture.reshape(size, SAMPLES, size, SAMPLES, 3).mean(axis=(1, 3)) + rng.normal(0, 0.015, (size, size, 3))
    mask = seen.reshape(size, SAMPLES, size, SAMPLES).mean(axis=(1, 3)) >= 0.5
    points = keypoints(bird) @ rotation.T
    xy = scale * points[:, :2] + shift
    visible = _visible(xy, points[:, 2] + float(cameras.translation[0, 2]), surface, size)
    return BirdPicture(
        (255 * image.clip(0, 1) + 0.5).astype(np.uint8),
        mask,
        np.column_stack([xy, visible]),
        rotation,
        scale,
        shift,
        bird,
    )


def _random_rotation(rng: np.random.Generator) -> Array:
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation, roll = np.radians(rng.normal([10, 0], [12, 8]).clip([-25, -20], [45, 20]))
    turn = np.array([[np.cos(azimuth), 0, np.sin(azimuth)], [0, 1, 0], [-np.sin(azimuth), 0, np.cos(azimuth)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(elevation), -np.sin(elevation)], [0, np.sin(elevation), np.cos(elevation)]])
    lean = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return lean @ tilt @ np.diag([1.0, -1.0, -1.0]) @ turn  # y down, and the camera on the side of +z


def _framing(rng: np.random.Generator, turned: Array, size: int) -> tuple[float, Array]:
    """Scale and shift: the longer side of the bird's box takes 0.7 to 0.9 of the image, with some room moved."""
    low, high = turned[:, :2].min(axis=0), turned[:, :2].max(axis=0)
    share = rng.uniform(0.7, 0.9)
    scale = share * size / float((high - low).max())
    room = (size - scale * (high - low)) / 2
    return scale, size / 2 - scale * (low + high) / 2 + rng.uniform(-0.6, 0.6, 2) * room.clip(max=0.1 * size)


def _shaded(rng: np.random.Generator, mesh: BirdMesh, shape: Shape, faces: torch.Tensor, surface: Surface) -> Array:
    """float64 [Q, 3], colours of the foreground."""
    points, normals = surface.points[surface.mask], surface.normals[surface.mask].double().numpy()
    weights = barycentric(shape, faces, points).double().numpy()
    corners = mesh.coordinates[mesh.faces[faces.numpy()]]
    angle = 2 * np.pi * corners[..., 1]
    s = (weights * corners[..., 0]).sum(axis=1)
    t = np.arctan2((weights * np.sin(angle)).sum(axis=1), (weights * np.cos(angle)).sum(axis=1)) / (2 * np.pi)
    light = rng.normal(size=3) + np.array([0, 1.5, 0])
    lit = (normals @ (light / np.linalg.norm(light))).clip(0)
    return _plumage(rng, s, t) * (0.55 + 0.55 * lit)[:, None]


def _plumage(rng: np.random.Generator, s: Array, t: Array) -> Array:
    """float64 [Q, 3], colours at (s, t): back, belly, wings with bars, head, beak, tail, eyes; different on each bird."""
    turn = np.abs((t + 0.5) % 1 - 0.5)
    back, belly, wing, head, tail = rng.uniform(0.1, 0.95, (5, 3))
    beak, bars, spots = np.array([0.9, 0.6, 0.15]) * rng.uniform(0.3, 1.1), rng.uniform(0, 0.5), rng.uniform(0, 0.35)
    below = 1 / (1 + np.exp(-(turn - rng.uniform(0.22, 0.34)) / 0.02))
    colour = back + below[:, None] * (belly - back)
    colour = colour * (1 - spots * (np.sin(70 * s) * np.sin(40 * np.pi * turn) > 0.4))[:, None]
    on_wing = (np.abs(s - 0.43) < 0.13) & (np.abs(turn - 0.24) < 0.1)
    striped = wing * (1 - bars * (np.sin(2 * np.pi * s / rng.uniform(0.04, 0.09)) > 0))[:, None]
    colour = np.where(on_wing[:, None], striped, colour)
    colour = np.where((s < 0.22)[:, None], tail, colour)
    colour = np.where((s > rng.uniform(0.68, 0.76))[:, None], head, colour)
    colour = np.where((s > 0.88)[:, None], beak, colour)
    eye = (np.abs(s - KEYPOINTS["left_eye"][0]) < 0.014) & (np.abs(turn - KEYPOINTS["left_eye"][1]) < 0.035)
    return np.where(eye[:, None], 0.04, colour).clip(0, 1)


def _background(rng: np.random.Generator, size: int) -> Array:
    """float64 [size, size, 3]: a few soft patches of colour, some of them with lines like twigs."""
    colours = 0.5 * rng.uniform(0.1, 0.9, (5, 5, 3)) + 0.5 * rng.uniform(0.1, 0.9, (5, 5, 1))
    patches = Image.fromarray((255 * colours).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    picture = np.asarray(patches) / 255.0
    y, x = np.mgrid[:size, :size] / size
    for _ in range(rng.integers(0, 4)):
        normal = rng.uniform(0, np.pi)
        distance = np.abs((x - 0.5) * np.cos(normal) + (y - 0.5) * np.sin(normal) - rng.uniform(-0.5, 0.5))
        picture = np.where((distance < rng.uniform(0.01, 0.04))[..., None], rng.uniform(0.1, 0.6, 3), picture)
    return picture


def _visible(xy: Array, depth: Array, surface: Surface, size: int) -> NDArray[np.bool_]:
    """bool [15], whether a keypoint lies in the image and on the surface that is seen around its pixel."""
    column, row = (np.floor(SAMPLES * xy[:, axis]).astype(int) for axis in (0, 1))
    inside = (xy >= 0).all(axis=1) & (xy < size).all(axis=1)
    row, column = row.clip(0, SAMPLES * size - 1), column.clip(0, SAMPLES * size - 1)
    front = np.where(surface.mask[0, 0].numpy(), surface.depth[0, 0].numpy(), np.inf)[row, column]
    return inside & (depth <= front + HIDDEN)
