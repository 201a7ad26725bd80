"""Colours of a `Texture` at texture coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdecor.shapes.shape import MIRROR, REPEAT, Texture


def sample_texture(texture: Texture, image_ids: Tensor, uv: Tensor) -> Tensor:
    """Colours at texture coordinates, bilinear and repeating where `Texture.samplers` does not say otherwise.

    Args:
        texture: on the device of the arguments.
        image_ids: int64 [...], image of each point.
        uv: float32 [..., 2].

    Returns:
        float32 [..., 3], in [0, 1].
    """
    pixels, offsets, sizes = texture.packed
    height, width = sizes[image_ids].unbind(-1)
    offset = offsets[image_ids]
    if texture.samplers is None:
        uv = uv - uv.floor()
        x = uv[..., 0] * width - 0.5  # texel centres lie at half
        y = (1 - uv[..., 1]) * height - 0.5
    else:
        wrap_u, wrap_v, nearest = texture.samplers[image_ids].unbind(-1)
        x = _texel(uv[..., 0], width, wrap_u, nearest)
        y = _texel(1 - uv[..., 1], height, wrap_v, nearest)
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    left, top = x0.long() % width, y0.long() % height
    right, bottom = (left + 1) % width, (top + 1) % height
    above, below = offset + top * width, offset + bottom * width
    texels = torch.stack([above + left, above + right, below + left, below + right])
    colours = pixels.index_select(0, texels.view(-1)).view(*texels.shape, 3).float()  # most of the time goes here
    upper_left, upper_right, lower_left, lower_right = colours
    upper, lower = torch.lerp(upper_left, upper_right, fx), torch.lerp(lower_left, lower_right, fx)
    return torch.lerp(upper, lower, fy) / 255


def _texel(coordinate: Tensor, size: Tensor, wrap: Tensor, nearest: Tensor) -> Tensor:
    """Where a coordinate lies among the centres of `size` texels, 0 at the first one's."""
    repeats = wrap == REPEAT
    folded = 1 - (coordinate.remainder(2) - 1).abs()
    inside = torch.where(wrap == MIRROR, folded, coordinate.clamp(0, 1))
    inside = torch.where(repeats, coordinate - coordinate.floor(), inside)
    texel = inside * size - 0.5
    texel = torch.where(nearest > 0, (texel + 0.5).floor(), texel)
    # beyond the first and the last centre there is no other texel: a mirrored one has the same colour
    return torch.where(repeats, texel, torch.minimum(texel.clamp_min(0), size - 1))
