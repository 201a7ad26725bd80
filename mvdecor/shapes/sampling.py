"""Colours of textures at texture coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from mvdecor.rows import rows_of
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
    return sample_textures([texture], image_ids.reshape(-1), uv.reshape(-1, 2)).view(*image_ids.shape, 3)


def image_numbers(textures: Sequence[Texture]) -> Tensor:
    """int64 [F], the image of each face of several textures, their images counted in a row."""
    if len(textures) == 1:
        return textures[0].image_ids
    first = accumulate([0, *(len(texture.images) for texture in textures)])
    return torch.cat([texture.image_ids + number for texture, number in zip(textures, first, strict=False)])


def image_samplers(textures: Sequence[Texture]) -> Tensor | None:
    """int64 [I, 3], the samplers of all images of several textures in a row; None if no texture has any."""
    if all(texture.samplers is None for texture in textures):
        return None
    return torch.cat([t.image_ids.new_zeros(len(t.images), 3) if t.samplers is None else t.samplers for t in textures])


def sample_textures(textures: Sequence[Texture], image_ids: Tensor, uv: Tensor) -> Tensor:
    """`sample_texture` of several textures, their images counted in a row: int64 [Q] and float32 [Q, 2] to float32 [Q, 3]."""
    offsets, sizes, samplers = _tables(textures)
    height, width = rows_of(sizes, image_ids).unbind(-1)
    offset = rows_of(offsets, image_ids)
    if samplers is None:
        uv = uv - uv.floor()
        x = uv[..., 0] * width - 0.5  # texel centres lie at half
        y = (1 - uv[..., 1]) * height - 0.5
    else:
        wrap_u, wrap_v, nearest = rows_of(samplers, image_ids).unbind(-1)
        x = _texel(uv[..., 0], width, wrap_u, nearest)
        y = _texel(1 - uv[..., 1], height, wrap_v, nearest)
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    left, top = x0.long() % width, y0.long() % height
    right, bottom = (left + 1) % width, (top + 1) % height
    above, below = offset + top * width, offset + bottom * width
    texels = torch.stack([above + left, above + right, below + left, below + right])
    colours = _pixels(textures, texels.view(-1)).view(*texels.shape, 3).float()  # most of the time goes here
    upper_left, upper_right, lower_left, lower_right = colours
    upper, lower = torch.lerp(upper_left, upper_right, fx), torch.lerp(lower_left, lower_right, fx)
    return torch.lerp(upper, lower, fy) / 255


def _tables(textures: Sequence[Texture]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of each image of all textures: where its pixels start, its size, and its samplers if any has some."""
    if len(textures) == 1:
        return *textures[0].packed[1:], textures[0].samplers
    ends = accumulate([0, *(texture.num_pixels for texture in textures)])
    offsets = torch.cat([texture.packed[1] + end for texture, end in zip(textures, ends, strict=False)])
    return offsets, torch.cat([texture.packed[2] for texture in textures]), image_samplers(textures)


def _pixels(textures: Sequence[Texture], index: Tensor) -> Tensor:
    """uint8 [Q, 3], pixels of all textures in a row; without making one list of them, which may take gigabytes."""
    if len(textures) == 1:
        return rows_of(textures[0].packed[0], index)
    pixels, start = torch.zeros(len(index), 3, dtype=torch.uint8, device=index.device), 0
    for texture in textures:
        packed, place = texture.packed[0], index - start
        inside = (place >= 0) & (place < len(packed))
        pixels = torch.where(inside[:, None], rows_of(packed, place.clamp(0, len(packed) - 1)), pixels)
        start += len(packed)
    return pixels


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
