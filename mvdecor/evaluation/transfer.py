"""Transfer of surface points between views by embedding similarity, and its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.correspondences import Matches
from mvdecor.errors import InputError
from mvdecor.lifting.embeddings import nearest
from mvdecor.shapes.shape import Shape
from mvdecor.views import Surface

WITHIN = (2, 5, 10)
"""Percent of the shape's height within which a landing is counted."""
SAME_PIXEL = 1.5
"""Pixels: a landing nearer than this hit the pixel of the true point or one beside it."""
ANGLE_STEP = 15  # degrees
DISTANCES = tuple(range(0, 31))  # percent of the height


@dataclass(frozen=True)
class Landings:
    """M surface points, each seen in two views A and B, carried from A to B.

    Attributes:
        pixel: int64 [M], where it lands: the foreground pixel of B, as an index into [L, H, W], whose embedding is most
            similar (cosine) to that of the point's pixel in A.
        similarity: float32 [M], that cosine.
        error: float32 [M], distance in space from the point to the surface seen there, in percent of the shape's height.
        pixels: float32 [M], distance in B's image from the point's true position to that pixel's centre, in pixels.
        angle: float32 [M], degrees between the two lines of sight to the point.
        chance: float32 [M], the error of landing on a random foreground pixel of B, in percent of the height.
    """

    pixel: Tensor
    similarity: Tensor
    error: Tensor
    pixels: Tensor
    angle: Tensor
    chance: Tensor

    def __len__(self) -> int:
        return len(self.pixel)

    @staticmethod
    def cat(landings: Sequence[Landings]) -> Landings:
        """Those of several pairs as one, on the CPU."""
        return Landings(*(torch.cat([getattr(x, field.name).cpu() for x in landings]) for field in fields(Landings)))


def height_of(shape: Shape) -> float:
    """Extent of the shape along y (up), in its own units.

    Raises:
        InputError: it is flat.
    """
    y = shape.vertices[shape.faces.reshape(-1), 1]
    height = float(y.max() - y.min())
    if not height > 0:
        raise InputError(f"shape {shape.id}: is flat and has no height to measure by: leave it out (figures.shapes)")
    return height


def pixel_centers(pixel: Tensor, height: int, width: int) -> Tensor:
    """float32 [M, 2], image positions (x, y) of the centres of int64 [M] pixels, indices into [L, height, width]."""
    in_image = pixel % (height * width)
    return torch.stack([in_image % width, in_image // width], dim=1) + 0.5


def land(
    a: Surface,
    b: Surface,
    embedded_a: Tensor,
    embedded_b: Tensor,
    matches: Matches,
    height: float,
    generator: torch.Generator,
) -> Landings:
    """Carry the matched points of view A to view B by embedding.

    Args:
        a, b: surfaces of one view each, [1, L, H, W].
        embedded_a, embedded_b: their embeddings [L, D, H, W].
        matches: of this one pair; they tell where the points truly lie.
        height: of the shape, in units of the world.
        generator: CPU generator of the random pixels.
    """
    layers, _, rows, columns = embedded_b.shape
    assert len(a) == len(b) == len(matches.overlap) == 1, "one pair at a time"
    candidates = b.mask.flatten().nonzero()[:, 0]
    vectors_a, vectors_b = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (embedded_a, embedded_b))
    best, similarity = nearest(vectors_a[matches.pixel_a], vectors_b[candidates])
    pixel = candidates[best]
    random_choice = torch.randint(len(candidates), (len(matches),), generator=generator).to(candidates.device)
    points_b = b.points.reshape(layers * rows * columns, 3)
    sight_a, sight_b = (normalize(x.cameras.centers - matches.points, dim=1) for x in (a, b))
    return Landings(
        pixel,
        similarity,
        100 * (points_b[pixel] - matches.points).norm(dim=1) / height,
        (pixel_centers(pixel, rows, columns) - matches.xy_b).norm(dim=1),
        torch.rad2deg(torch.acos((sight_a * sight_b).sum(dim=1).clamp(-1, 1))),
        100 * (points_b[candidates[random_choice]] - matches.points).norm(dim=1) / height,
    )


def summarize_landings(landings: Landings) -> dict:
    """Shares of the landings, in percent, as plain values.

    Returns:
        `points`; `median_error` in percent of the height; `within`: by percent of the height, the share of points that land
        within it, and `chance` the same for random pixels; `same_pixel`: share that lands less than `SAME_PIXEL` pixels off;
        `by_angle`: a row for each step of `ANGLE_STEP` degrees that has points; `by_distance`: a row for each of `DISTANCES`.
    """
    rows = []
    for start in range(0, 180, ANGLE_STEP):
        stop = start + ANGLE_STEP
        inside = (landings.angle >= start) & ((landings.angle < stop) | (stop == 180))
        if bool(inside.any()):
            rows.append({"from": start, "to": stop, **_shares(landings, inside)})
    all_landings = torch.ones(len(landings), dtype=torch.bool)
    return {
        **_shares(landings, all_landings),
        "median_error": float(landings.error.median()),
        "by_angle": rows,
        "by_distance": [
            {"distance": d, "share": _share(landings.error <= d), "chance": _share(landings.chance <= d)}
            for d in DISTANCES
        ],
    }


def _shares(landings: Landings, inside: Tensor) -> dict:
    return {
        "points": int(inside.sum()),
        "within": {str(d): _share(landings.error[inside] <= d) for d in WITHIN},
        "chance": {str(d): _share(landings.chance[inside] <= d) for d in WITHIN},
        "same_pixel": _share(landings.pixels[inside] < SAME_PIXEL),
    }


def _share(flags: Tensor) -> float:
    return 100 * float(flags.double().mean())
