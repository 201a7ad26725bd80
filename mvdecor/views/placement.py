"""Where the cameras stand: rings and poles on a sphere (the recipe), and close-ups of the surface."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.errors import InputError
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.settings import ViewSettings

NEARLY_PARALLEL = 1e-3  # sine of the angle to `up` below which another `up` is taken
CLOSE_UP_TILT = 0.3  # standard deviation of the noise added to a close-up's unit normal, each coordinate
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def look_at(
    centers: Tensor, targets: Tensor, up: tuple[float, float, float] = (0.0, 1.0, 0.0)
) -> tuple[Tensor, Tensor]:
    """Pose of cameras that stand at `centers` and look at `targets`.

    A camera that looks along `up` (a pole) has no upright image; there the coordinate axis that is most across
    `up` takes its place (z for +y).

    Args:
        centers: float32 [N, 3], world.
        targets: float32 [N, 3], world.
        up: world direction that is up in the image.

    Returns:
        float32 [N, 3, 3] and float32 [N, 3], rotation and translation of `Cameras` (OpenCV axes, proper rotations).

    Raises:
        InputError: if a camera stands at its target, or `up` is zero.
    """
    ahead = targets - centers
    if not bool((ahead.norm(dim=-1) > 1e-9).all()) or not any(up):
        raise InputError("look_at: a camera stands at its own target (or up is zero); it has no viewing direction")
    forward = normalize(ahead, dim=-1)
    first = normalize(torch.tensor(up, dtype=forward.dtype, device=forward.device), dim=0).expand_as(forward)
    right = torch.linalg.cross(forward, first)
    across = torch.zeros_like(forward)
    across[:, min((2, 0, 1), key=lambda axis: abs(up[axis]))] = 1.0
    fallback = torch.linalg.cross(forward, across)
    right = normalize(torch.where(right.norm(dim=-1, keepdim=True) < NEARLY_PARALLEL, fallback, right), dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=1)
    return rotation, -(rotation @ centers[..., None])[..., 0]


def sphere_cameras(
    count: int = 86,
    size: int = 256,
    seed: int = 0,
    fov: float = 60.0,
    distance: tuple[float, float] = (1.4, 2.0),
    jitter: float = 0.06,
    max_jitter: float = 0.25,
) -> Cameras:
    """Cameras all around a shape in the unit sphere, looking at the origin, up +y (MvDeCor's recipe).

    Their directions are `directions(count)`, each turned by a small random angle.

    Args:
        count: number of cameras, at least 1.
        size: rows and columns of the image.
        seed: of jitter and distances; equal arguments give equal cameras.
        fov: full field of view, degrees.
        distance: least and greatest distance from the origin, sampled uniformly.
        jitter: standard deviation, radians, by which each direction is turned, north-south and east-west.
        max_jitter: greatest such turn, radians.

    Returns:
        `count` cameras on the CPU.

    Raises:
        InputError: if an argument is out of its range.
    """
    _check(count, size, fov, distance)
    rng = torch.Generator().manual_seed(seed)
    outward = directions(count)
    turn = (torch.randn(count, 2, generator=rng) * jitter).clamp(-max_jitter, max_jitter)
    outward = _turned(outward, turn)
    reach = distance[0] + (distance[1] - distance[0]) * torch.rand(count, 1, generator=rng)
    centers = outward * reach
    rotation, translation = look_at(centers, torch.zeros_like(centers))
    return Cameras(rotation, translation, pinhole(count, size, fov), size, size)


def close_up_cameras(
    shape: Shape,
    count: int,
    size: int = 256,
    seed: int = 0,
    fov: float = 60.0,
    distance: tuple[float, float] = (0.5, 0.9),
) -> Cameras:
    """Cameras near the surface, each aimed at a random point of it (the paper's close-up views of RenderPeople).

    Points are sampled by area. A camera stands off its point along the face's normal, turned to point away from the
    middle of the bounding box (windings may be wrong) and tilted by Gaussian noise of `CLOSE_UP_TILT`.
    Nothing checks that no other part of the shape is in the way.

    Args:
        shape: the shape, in the frame of the cameras.
        count: number of cameras, at least 1.
        size: rows and columns of the image.
        seed: of points, tilts and distances.
        fov: full field of view, degrees.
        distance: least and greatest distance from the surface point, sampled uniformly.

    Returns:
        `count` cameras on the CPU.

    Raises:
        InputError: if an argument is out of its range, or the shape has no area.
    """
    _check(count, size, fov, distance)
    areas = shape.face_areas.float().cpu()
    if not bool(areas.sum() > 0):
        raise InputError(f"shape {shape.id}: its faces have no area; close-ups need a surface to look at")
    rng = torch.Generator().manual_seed(seed)
    faces = torch.multinomial(areas, count, replacement=True, generator=rng)
    corners = shape.vertices.cpu()[shape.faces.cpu()[faces]]
    u = torch.rand(count, 2, generator=rng)
    root = u[:, :1].sqrt()  # uniform over the triangle
    weights = torch.cat([1 - root, root * (1 - u[:, 1:]), root * u[:, 1:]], dim=1)
    targets = (weights[..., None] * corners).sum(dim=1)
    vertices = shape.vertices.cpu()[shape.faces.cpu().reshape(-1)]
    middle = (vertices.amin(dim=0) + vertices.amax(dim=0)) / 2
    normals = shape.face_normals.cpu()[faces]
    normals = torch.where((normals * (targets - middle)).sum(-1, keepdim=True) < 0, -normals, normals)
    outward = normalize(normals + CLOSE_UP_TILT * torch.randn(count, 3, generator=rng), dim=-1)
    reach = distance[0] + (distance[1] - distance[0]) * torch.rand(count, 1, generator=rng)
    rotation, translation = look_at(targets + reach * outward, targets)
    return Cameras(rotation, translation, pinhole(count, size, fov), size, size)


def place_cameras(
    shape: Shape,
    count: int,
    size: int,
    seed: int = 0,
    close_ups: int = 0,
    fov: float = 60.0,
    distance: tuple[float, float] = (1.4, 2.0),
    jitter: float = 0.06,
) -> Cameras:
    """The views of one shape: `count - close_ups` on the sphere, then `close_ups` near the surface.

    Args:
        shape: the shape, normalised to the unit sphere.
        count: number of cameras in all.
        size: rows and columns of the image.
        seed: of everything random.
        close_ups: how many of them are close-ups.
        fov, distance, jitter: of `sphere_cameras`; close-ups share `fov`.

    Raises:
        InputError: if an argument is out of its range.
    """
    ViewSettings.of({"count": count, "size": size, "close_ups": close_ups}, "views")
    parts = []
    if close_ups < count:
        parts.append(sphere_cameras(count - close_ups, size, seed, fov, distance, jitter))
    if close_ups:
        parts.append(close_up_cameras(shape, close_ups, size, seed, fov))
    return Cameras.cat(parts)


def directions(count: int) -> Tensor:
    """Unit directions spread over the sphere in rings of latitude, with both poles from 5 directions up.

    The rings are equally far apart in latitude and hold cameras in proportion to their length, so that neighbours are
    about as far apart along a ring as across. 86 gives two poles and 7 rings of 6, 12, 16, 17, 15, 12 and 6.

    Returns:
        float32 [count, 3], from the north pole to the south.
    """
    poles = 2 if count >= 5 else 0
    on_rings = count - poles
    rings = max(1, round(math.sqrt(math.pi * on_rings / 4)) - 1) if poles else 1
    latitudes = [math.pi * (0.5 - (k + 1) / (rings + 1)) for k in range(rings)]
    points = [(0.0, 1.0, 0.0)] if poles else []
    for k, (latitude, size) in enumerate(zip(latitudes, _ring_sizes(latitudes, on_rings), strict=True)):
        for i in range(size):
            azimuth = k * GOLDEN_ANGLE + 2 * math.pi * i / size  # rings are not in step with each other
            flat = math.cos(latitude)
            points.append((flat * math.sin(azimuth), math.sin(latitude), flat * math.cos(azimuth)))
    if poles:
        points.append((0.0, -1.0, 0.0))
    return torch.tensor(points, dtype=torch.float32)


def pinhole(count: int, size: int, fov: float) -> Tensor:
    """Intrinsics float32 [count, 3, 3] of square images of `size` pixels and `fov` degrees, centred."""
    focal = size / 2 / math.tan(math.radians(fov) / 2)
    matrix = torch.tensor([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])
    return matrix.expand(count, 3, 3).clone()


def _ring_sizes(latitudes: list[float], total: int) -> list[int]:
    """`total` shared among the rings by their length, largest remainders rounded up, the middle rings first."""
    lengths = [math.cos(latitude) for latitude in latitudes]
    shares = [total * length / sum(lengths) for length in lengths]
    sizes = [int(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda k: (sizes[k] - shares[k], abs(latitudes[k]), k))
    for k in order[: total - sum(sizes)]:
        sizes[k] += 1
    return sizes


def _turned(outward: Tensor, turn: Tensor) -> Tensor:
    """Unit directions [N, 3] turned by two angles [N, 2] along two tangents; sound at the poles too."""
    axis = torch.where(outward[:, 1:2].abs() < 0.9, torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    east = normalize(torch.linalg.cross(axis, outward), dim=-1)
    north = torch.linalg.cross(outward, east)
    return normalize(outward + turn[:, :1].tan() * east + turn[:, 1:].tan() * north, dim=-1)


def _check(count: int, size: int, fov: float, distance: tuple[float, float]) -> None:
    ViewSettings.of({"count": count, "size": size, "fov": fov, "distance": distance}, "views")


def meeting_point(cameras: Cameras) -> NDArray[np.float64]:
    """float64 [3], the point with the least sum of squared distances to the optical axes; of parallel ones the nearest to 0."""
    centers, forward = cameras.centers.double().cpu().numpy(), cameras.rotation[:, 2].double().cpu().numpy()
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # takes away what lies along an axis
    return np.linalg.lstsq(across.sum(axis=0), np.einsum("nij,nj->i", across, centers), rcond=1e-6)[0]
