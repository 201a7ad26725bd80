"""Channels of the network's input, computed from face id and ray without rasterizing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.channels import channel_slice, find_channel, num_channels
from mvdecor.errors import InputError
from mvdecor.rows import rows_of
from mvdecor.shapes.sampling import image_numbers, sample_textures
from mvdecor.shapes.shape import Shape, Texture
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import JoinedFaces, Surface, Views, barycentric, join, spread

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
    values = foreground_channels([shape], [views], surface, names, lights, depth, normal_frame)
    return spread(values, surface.foreground.seen, surface.mask.shape).movedim(-1, 2)


def foreground_channels(
    shapes: Sequence[Shape],
    views: Sequence[Views],
    surface: Surface,
    names: Sequence[str],
    lights: Tensor | None = None,
    depth: str = "minmax",
    normal_frame: str = "camera",
) -> Tensor:
    """`render_channels` of several shapes at the Q foreground pixels alone.

    Args:
        shapes: S shapes, on the views' device.
        views: of each, N together.
        surface: of all of them, in order.
        names, lights, depth, normal_frame: see `render_channels`.

    Returns:
        float32 [Q, C].

    Raises:
        InputError: as `render_channels`.
    """
    width = num_channels(names)
    if depth not in ("minmax", "metric"):
        raise InputError(f"depth={depth!r} is unknown; choose minmax or metric")
    if normal_frame not in ("camera", "world"):
        raise InputError(f"normal_frame={normal_frame!r} is unknown; choose camera or world")
    foreground = surface.foreground
    values = foreground.points.new_empty(len(foreground.seen), width)
    for name in names:
        if name == "rgb":
            channel = _colours(shapes, views, surface, lights)
        elif name == "depth":
            channel = (_minmax(surface) if depth == "minmax" else foreground.depth)[:, None]
        elif name == "normal":
            channel = _in_camera(surface) if normal_frame == "camera" else foreground.normals
        elif name == "points":
            channel = foreground.points
        elif name == "front_depth":
            channel = _front_depth(surface)[:, None]
        elif name == "layer":
            channel = _layer(surface)[:, None]
        else:
            channel = _from_outside(name, shapes, views, surface)
        values[:, channel_slice(names, name)] = channel
    return values


def _from_outside(name: str, shapes: Sequence[Shape], views: Sequence[Views], surface: Surface) -> Tensor:
    """A channel from outside the package, which renders one shape at a time."""
    channel = find_channel(name)
    assert channel.render is not None, "the channels of the table are rendered above"
    images = []
    for shape, shape_views, part in _of_each(shapes, views, surface):
        image = channel.render(shape, shape_views, part)
        expected = (*part.mask.shape, channel.width)
        if image.shape != expected or image.dtype != torch.float32:
            raise InputError(
                f"channels: {name} renders {image.dtype} {list(image.shape)}: give float32 {list(expected)}"
            )
        images.append(image.flatten(0, 3))
    return rows_of(torch.cat(images), surface.foreground.seen)


def _of_each(
    shapes: Sequence[Shape], views: Sequence[Views], surface: Surface
) -> Iterator[tuple[Shape, Views, Surface]]:
    start = 0
    for shape, shape_views in zip(shapes, views, strict=True):
        as_one = len(shape_views) == len(surface)
        yield shape, shape_views, surface if as_one else surface[start : start + len(shape_views)]
        start += len(shape_views)


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


def _colours(shapes: Sequence[Shape], views: Sequence[Views], surface: Surface, lights: Tensor | None) -> Tensor:
    """float32 [Q, 3]: of the textures if all shapes have one, shading if none has."""
    textures = [shape.texture for shape in shapes if shape.texture is not None]
    if not textures:
        return _shade(surface, lights)
    if len(textures) == len(shapes):
        return _textured(*join(shapes, views), textures, surface)
    lights = _headlights(surface.cameras) if lights is None else lights
    colours, start = [], 0
    for shape, shape_views, part in _of_each(shapes, views, surface):
        light = lights[start : start + len(shape_views)]
        colours.append(_colours([shape], [shape_views], part, light))
        start += len(shape_views)
    return torch.cat(colours)


def _textured(shape: Shape | JoinedFaces, views: Views, textures: Sequence[Texture], surface: Surface) -> Tensor:
    foreground = surface.foreground
    faces = rows_of(views.face_ids.reshape(-1), foreground.seen)
    if len(textures) == 1 and faces.device.type == "cpu" and textures[0].samplers is None:
        from mvdecor.views.pixel_loops import texture_by_loop  # here, for a GPU needs no Numba

        tables = (shape.face_origins, shape.face_gradients, textures[0].uv, textures[0].image_ids, textures[0].packed)
        return texture_by_loop(faces, foreground.points, *tables)
    return textured_by_tensors(shape, faces, textures, foreground.points)


def textured_by_tensors(
    shape: Shape | JoinedFaces, faces: Tensor, textures: Sequence[Texture], points: Tensor
) -> Tensor:
    """Colours float32 [Q, 3] of points [Q, 3] in faces int [Q], on any device."""
    # A sliver's barycentric coordinates are ill-conditioned; its colour must still come from within the face
    weights = barycentric(shape, faces, points).clamp(0, 1)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    uv = torch.cat([texture.uv for texture in textures]) if len(textures) > 1 else textures[0].uv
    uv = (weights[..., None] * rows_of(uv, faces)).sum(dim=-2)
    return sample_textures(textures, rows_of(image_numbers(textures), faces), uv)


def _shade(surface: Surface, lights: Tensor | None) -> Tensor:
    foreground, lights = surface.foreground, _headlights(surface.cameras) if lights is None else lights
    cosine = (foreground.normals * rows_of(lights, foreground.view)).sum(dim=-1).clamp_min(0)
    grey = GREY * (AMBIENT + DIFFUSE * cosine)
    return grey[:, None].expand(-1, 3)


def _headlights(cameras: Cameras) -> Tensor:
    return -cameras.rotation[:, 2]


def _minmax(surface: Surface) -> Tensor:
    foreground, image = surface.foreground, _image_numbers(surface)
    count = surface.mask.shape[0] * surface.mask.shape[1]
    low, high = (
        foreground.depth.new_full((count,), start).scatter_reduce_(0, image, foreground.depth, reduce)
        for start, reduce in ((torch.inf, "amin"), (-torch.inf, "amax"))
    )
    flat = high - low <= 1e-6 * high  # rounding alone must not be stretched to [0, 1]
    low, extent = torch.where(flat, 0.0, low), torch.where(flat, 1.0, high - low)
    scaled = (foreground.depth - rows_of(low, image)) / rows_of(extent, image)
    return torch.where(rows_of(flat, image), 0.5, scaled)


def _image_numbers(surface: Surface) -> Tensor:
    """int64 [Q], the image of each foreground pixel, of N x L."""
    foreground, (_, layers, height, width) = surface.foreground, surface.mask.shape
    return foreground.view if layers == 1 else foreground.seen // (height * width)


def _in_camera(surface: Surface) -> Tensor:
    foreground = surface.foreground
    return (rows_of(surface.cameras.rotation, foreground.view) @ foreground.normals[..., None])[..., 0]


def _front_depth(surface: Surface) -> Tensor:
    gap = torch.zeros_like(surface.depth)
    gap[:, 1:] = surface.depth[:, 1:] - surface.depth[:, :-1]
    return rows_of(gap.flatten(), surface.foreground.seen)


def _layer(surface: Surface) -> Tensor:
    layers = surface.mask.shape[1]
    number = torch.arange(layers, device=surface.mask.device) / max(1, layers - 1)
    return rows_of(number, _image_numbers(surface) % layers)
