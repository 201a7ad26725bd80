"""Crops of one view, and their matches by the 2D transforms that made them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mvdecor.channels import channel_slice
from mvdecor.correspondences.matches import Matches
from mvdecor.correspondences.matching import nearest_of_each
from mvdecor.views.views import Surface, where


@dataclass(frozen=True)
class Crop:
    """A box of a view, resized to the size of the view and perhaps mirrored left to right.

    Attributes:
        left, top, width, height: the box, in pixels of the view; need not be whole numbers.
        flip: mirrored.
        size: (height, width) of the view and of the crop.
    """

    left: float
    top: float
    width: float
    height: float
    flip: bool
    size: tuple[int, int]

    def to_view(self, xy: Tensor) -> Tensor:
        """Image positions (x, y) [..., 2] in the crop, as positions in the view."""
        height, width = self.size
        x, y = xy.unbind(-1)
        x = width - x if self.flip else x
        return torch.stack([self.left + x * (self.width / width), self.top + y * (self.height / height)], -1)

    def from_view(self, xy: Tensor) -> Tensor:
        """Image positions (x, y) [..., 2] in the view, as positions in the crop (outside [0, size) if not in the box)."""
        height, width = self.size
        x, y = (xy[..., 0] - self.left) * (width / self.width), (xy[..., 1] - self.top) * (height / self.height)
        return torch.stack([width - x if self.flip else x, y], -1)


def sample_crop(
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
    generator: torch.Generator,
) -> Crop:
    """A random box: area uniform in `scale`, ratio log-uniform in `ratio` (cut to fit), uniform position."""
    height, width = size
    uniform = torch.rand(5, generator=generator).tolist()
    area = (scale[0] + (scale[1] - scale[0]) * uniform[0]) * height * width
    aspect = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * uniform[1])
    box_width, box_height = min(width, math.sqrt(area * aspect)), min(height, math.sqrt(area / aspect))
    left, top = (width - box_width) * uniform[2], (height - box_height) * uniform[3]
    return Crop(left, top, box_width, box_height, uniform[4] < flip, size)


def crop_images(images: Tensor, crop: Crop, channels: Sequence[str], normal_frame: str = "camera") -> Tensor:
    """Sample the pixels of a crop bilinearly.

    Mirroring turns the x axis of the camera, so normals in camera axes change the sign of x; world axes stay. Depth
    stays as it is: the crop shows the same surface from the same place.

    Args:
        images: float32 [L, C, H, W], network input of one view.
        crop: the crop.
        channels: names of the channels.
        normal_frame: "camera" or "world", the axes of the normal channel.

    Returns:
        float32 [L, C, H, W].
    """
    height, width = images.shape[-2:]
    xy = crop.to_view(_pixel_centres(height, width, images.device))
    grid = 2 * xy / torch.tensor([width, height], device=images.device) - 1
    cropped = F.grid_sample(
        images, grid.expand(len(images), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
    )
    if crop.flip and "normal" in channels and normal_frame == "camera":
        x = channel_slice(channels, "normal").start
        cropped[:, x] = -cropped[:, x]
    return cropped


def match_crops(surface: Surface, a: Crop, b: Crop) -> Matches:
    """Match two crops of one view by their 2D transforms.

    A pixel of A lies at a position in the view; if a surface is seen there, and the position is inside B's box, it
    matches that position in B, in the same layer. Of several pixels of A that fall into one pixel of the view, or into one
    of B, the nearest to its centre is kept: no surface point is matched twice.

    Args:
        surface: the surface seen in the view, [1, L, H, W].
        a, b: the crops.

    Returns:
        the `Matches` of the pair. Its overlap is their number over the smaller number of the view's foreground pixels
        (centres) in the two boxes.
    """
    layers, height, width = surface.mask.shape[1:]
    mask = surface.mask[0].reshape(layers, -1)
    device = mask.device
    xy = a.to_view(_pixel_centres(height, width, device).reshape(-1, 2))
    source = _pixel(xy, height, width)
    xy_b = b.from_view(xy)
    pixel_b = _pixel(xy_b, height, width)
    layer, pixel = (mask[:, source.clamp_min(0)] & (source >= 0) & (pixel_b >= 0)).nonzero(as_tuple=True)
    for key, position in ((source, xy), (pixel_b, xy_b)):
        off_centre = (position[pixel] - position[pixel].floor() - 0.5).norm(dim=-1)
        every = torch.ones_like(pixel, dtype=torch.bool)
        keep = where(nearest_of_each(layer * (height * width) + key[pixel], off_centre, every, surface.mask.numel()))
        layer, pixel = layer[keep], pixel[keep]

    centres = _pixel_centres(height, width, device).reshape(-1, 2)
    foreground = [int(mask[:, _pixel(crop.from_view(centres), height, width) >= 0].sum()) for crop in (a, b)]
    return Matches(
        pair=torch.zeros_like(pixel),
        pixel_a=layer * (height * width) + pixel,
        layer_b=layer,
        xy_b=xy_b[pixel],
        points=surface.points[0].reshape(layers, -1, 3)[layer, source[pixel]],
        overlap=torch.tensor([len(pixel) / max(1, min(foreground))], device=device),
    )


def _pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """float32 [H, W, 2], (x, y) of each pixel's centre."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], -1) + 0.5


def _pixel(xy: Tensor, height: int, width: int) -> Tensor:
    """int64 [...], index in [H, W] flattened of the pixel at each position [..., 2]; -1 outside of the image."""
    column, row = xy.floor().long().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return torch.where(inside, row * width + column, -1)
