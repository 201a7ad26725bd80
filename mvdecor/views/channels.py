"""Channels of the network's input, computed from face id and ray without rasterizing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.channels import find_channel, num_channels
from mvdecor.errors import InputError
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import Surface, Views, barycentric, where

GREY, AMBIENT, DIFFUSE = 0.8, 0.3, 0.7  # of a surface without texture
LIGHT_SPREAD = 0.6  # of `random_lights`


def render_channels(
    shape: Shape,
    views: Views,
    surface: Surface,
    names: Sequence[str] = ("rgb",),
    lights: Tensor | None = None,
    depth: str = "minmax",
    normal_frame: str = "camera",
) -> Tensor:
    """Images of the named channels, one after another in the order of `names`. All are 0 on the background.

    - rgb: in [0, 1]; the texture, unshaded and bilinear, or where the shape has none two-sided Lambert shading of a
      light grey (each face shows its side that faces the camera).
    - depth: camera z; "minmax": scaled over each image's foreground (each view and layer) to [0, 1], near = 0, and 0.5
      where an image has only one depth; "metric": as it is.
    - normal: unit normal that faces the camera, in camera or world axes.
    - points: world position.
    - front_depth: how far (camera z, metric) behind the surface of the layer in front; 0 in layer 0.
    - layer: number of the layer over the last layer's number, l / max(1, L - 1).

    Args:
        shape: the shape, on the views' device.
        views: N views in L layers of it.
        surface: `surface_of(shape, views)`.
        names: see `mvdecor.channels`, which also tells how to add one of your own.
        lights: float32 [N, 3], unit directions *towards* the light, world frame, one per view; default: a light at each
            camera. Textured shapes do not use it.
        depth: "minmax" or "metric".
        normal_frame: "camera" (OpenCV axes) or "world".

    Returns:
        float32 [N, L, C, H, W], C = `num_channels(names)`, on the views' device.

    Raises:
        InputError: for an unknown channel, `depth` or `normal_frame`.
    """
    num_channels(names)
    if depth not in ("minmax", "metric"):
        raise InputError(f"depth={depth!r} is unknown; choose minmax or metric")
    if normal_frame not in ("camera", "world"):
        raise InputError(f"normal_frame={normal_frame!r} is unknown; choose camera or world")
    images = []
    for name in names:
        if name == "rgb":
            image = _shade(surface, lights) if shape.texture is None else _textured(shape, views, surface)
        elif name == "depth":
            image = (_minmax(surface) if depth == "minmax" else surface.depth)[..., None]
        elif name == "normal":
            image = _in_camera(surface) if normal_frame == "camera" else surface.normals
        elif name == "points":
            image = surface.points
        elif name == "front_depth":
            image = _front_depth(surface)[..., None]
        elif name == "layer":
            image = _layer(surface)[..., None]
        else:
            image = _own(name, shape, views, surface)
        images.append(image)
    return torch.cat(images, dim=-1).permute(0, 1, 4, 2, 3).contiguous()


def _own(name: str, shape: Shape, views: Views, surface: Surface) -> Tensor:
    """The image of a channel from outside the package."""
    channel = find_channel(name)
    assert channel.render is not None, "the channels of the table are rendered above"
    image = channel.render(shape, views, surface)
    expected = (*surface.mask.shape, channel.width)
    if image.shape != expected or image.dtype != torch.float32:
        raise InputError(f"channels: {name} renders {image.dtype} {list(image.shape)}: give float32 {list(expected)}")
    return image


def random_lights(cameras: Cameras, *generators: torch.Generator | None) -> Tensor:
    """Directions towards a light around each camera: the way to the camera plus Gaussian noise of `LIGHT_SPREAD`.

    Args:
        cameras: N cameras.
        generators: of the CPU, each for equally many of the cameras, in order; none: PyTorch's own.

    Returns:
        float32 [N, 3], unit, world frame, on the cameras' device.
    """
    per_generator = len(cameras) // max(1, len(generators))
    noise = torch.cat([torch.randn(per_generator, 3, generator=generator) for generator in generators or (None,)])
    noise = noise.to(cameras.rotation.device, non_blocking=True)
    return normalize(_headlights(cameras) + LIGHT_SPREAD * noise, dim=-1)


def _textured(shape: Shape, views: Views, surface: Surface) -> Tensor:
    texture = shape.texture
    assert texture is not None
    seen = where(surface.mask.reshape(-1))
    faces = views.face_ids.reshape(-1).index_select(0, seen)
    # A sliver's barycentric coordinates are ill-conditioned; its colour must still come from within the face
    weights = barycentric(shape, faces, surface.points.reshape(-1, 3).index_select(0, seen)).clamp(0, 1)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    uv = (weights[..., None] * texture.uv.index_select(0, faces)).sum(dim=-2)
    colours = sample_texture(texture, texture.image_ids.index_select(0, faces), uv)
    image = torch.zeros_like(surface.points)
    image.view(-1, 3).index_copy_(0, seen, colours)
    return image


def _shade(surface: Surface, lights: Tensor | None) -> Tensor:
    lights = _headlights(surface.cameras) if lights is None else lights
    cosine = (surface.normals @ lights[:, None, None, :, None])[..., 0].clamp_min(0)
    grey = GREY * (AMBIENT + DIFFUSE * cosine) * surface.mask
    return grey[..., None].expand(*grey.shape, 3)


def _headlights(cameras: Cameras) -> Tensor:
    return -cameras.rotation[:, 2]


def _minmax(surface: Surface) -> Tensor:
    low = surface.depth.masked_fill(~surface.mask, torch.inf).amin(dim=(2, 3), keepdim=True)
    high = surface.depth.masked_fill(~surface.mask, -torch.inf).amax(dim=(2, 3), keepdim=True)
    flat = high - low <= 1e-6 * high  # rounding alone must not be stretched to [0, 1]
    scaled = torch.where(flat, 0.5, (surface.depth - low) / torch.where(flat, 1.0, high - low))
    return torch.where(surface.mask, scaled, 0.0)


def _in_camera(surface: Surface) -> Tensor:
    return (surface.cameras.rotation[:, None, None, None] @ surface.normals[..., None])[..., 0]


def _front_depth(surface: Surface) -> Tensor:
    gap = torch.zeros_like(surface.depth)
    gap[:, 1:] = surface.depth[:, 1:] - surface.depth[:, :-1]
    return torch.where(surface.mask, gap, 0.0)


def _layer(surface: Surface) -> Tensor:
    layers = surface.mask.shape[1]
    number = torch.arange(layers, device=surface.mask.device) / max(1, layers - 1)
    return number[:, None, None] * surface.mask
