"""Lens distortion, and its removal: pictures as a pinhole camera would have taken them."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from mvdecor.errors import InputError

ZOOMS = (0.5, 2.0)  # what undistorting may do to the focal length


@dataclass(frozen=True)
class Distortion:
    """OpenCV's radial (k) and tangential (p) coefficients; all 0 is a pinhole camera."""

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0

    def __bool__(self) -> bool:
        return any(astuple(self))

    def __call__(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where points with x/z and y/z in the camera frame appear on the image plane at z = 1."""
        r2 = x * x + y * y
        radial = 1 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3))
        return (
            x * radial + 2 * self.p1 * x * y + self.p2 * (r2 + 2 * x * x),
            y * radial + self.p1 * (r2 + 2 * y * y) + 2 * self.p2 * x * y,
        )


PINHOLE = Distortion()


@dataclass(frozen=True)
class Undistortion:
    """From pictures of a camera with a lens to those of a pinhole camera of the same size and principal point.

    The focal lengths are multiplied by the least factor with which the new picture lies within the old one, so that every
    pixel was photographed.

    Args:
        focal: (fx, fy) of the camera with the lens, in pixels.
        center: its principal point (cx, cy).
        size: (height, width).
        distortion: of the lens.
        source: what is read, for messages.

    Raises:
        InputError: at first use, if the distortion folds the picture or a factor between 0.5 and 2 does not do.
    """

    focal: tuple[float, float]
    center: tuple[float, float]
    size: tuple[int, int]
    distortion: Distortion
    source: str = field(compare=False)

    @property
    def zoom(self) -> float:
        """The factor of the focal lengths."""
        return _zoom(self)

    def image(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, C], bilinear."""
        values = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
        sampled = grid_sample(values, _grid(self), mode="bilinear", padding_mode="border", align_corners=False)
        return sampled[0].permute(1, 2, 0).round().to(torch.uint8).numpy()

    def labels(self, labels: NDArray[np.int16]) -> NDArray[np.int16]:
        """int16 [H, W], nearest."""
        values = torch.from_numpy(labels)[None, None].float()  # exact: labels are below 2^24
        sampled = grid_sample(values, _grid(self), mode="nearest", padding_mode="border", align_corners=False)
        return sampled[0, 0].to(torch.int16).numpy()

    def positions(self, x: NDArray[np.float64], y: NDArray[np.float64], zoom: float) -> NDArray[np.float64]:
        """[..., 2], positions in the photographed picture of positions (x, y) of the pinhole camera's."""
        (fx, fy), (cx, cy) = self.focal, self.center
        u, v = self.distortion((x - cx) / (fx * zoom), (y - cy) / (fy * zoom))
        return np.stack([u * fx + cx, v * fy + cy], axis=-1)


@lru_cache(maxsize=4)
def _grid(lens: Undistortion) -> Tensor:
    """float32 [1, H, W, 2], where `grid_sample` finds each pixel."""
    height, width = lens.size
    y, x = np.mgrid[0:height, 0:width] + 0.5
    positions = lens.positions(x, y, lens.zoom)
    return torch.from_numpy((positions * (2 / width, 2 / height) - 1).astype(np.float32))[None]


@lru_cache(maxsize=4096)
def _zoom(lens: Undistortion) -> float:
    """The least factor, to 1e-6, by bisection; the picture is inside when the centres of its border pixels are."""
    height, width = lens.size
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    border_x = np.concatenate([x, x, np.full(height, 0.5), np.full(height, width - 0.5)])
    border_y = np.concatenate([np.full(width, 0.5), np.full(width, height - 0.5), y, y])

    def inside(zoom: float) -> bool:
        positions = lens.positions(border_x, border_y, zoom)
        return bool((positions >= 0.5 - 1e-6).all() and (positions <= (width - 0.5 + 1e-6, height - 0.5 + 1e-6)).all())

    low, high = ZOOMS
    if not inside(high) or _folds(lens, high):
        raise InputError(
            f"{lens.source}: its distortion {lens.distortion} cannot be undone within the picture: undistort the images with "
            "the program that estimated it, or estimate it again"
        )
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if inside(middle) and not _folds(lens, middle) else (middle, high)
    return high


def _folds(lens: Undistortion, zoom: float) -> bool:
    """Whether two rays of the pinhole camera's picture fall on one point: the radius must grow all the way to the corners."""
    (fx, fy), (cx, cy), (height, width) = lens.focal, lens.center, lens.size
    corner = np.hypot(max(cx, width - cx) / (fx * zoom), max(cy, height - cy) / (fy * zoom))
    r2 = np.linspace(0, corner, 256) ** 2
    k1, k2, k3 = lens.distortion.k1, lens.distortion.k2, lens.distortion.k3
    return bool((1 + r2 * (3 * k1 + r2 * (5 * k2 + r2 * 7 * k3)) <= 0).any())
