"""Pictures of labelled meshes: turntable views, and truth beside predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from mvdecor.errors import InputError
from mvdecor.figures.layout import legend, sheet, stack
from mvdecor.figures.palette import colours_of, label_palette
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import look_at, pinhole
from mvdecor.views.rasterizers import Rasterizer, make_rasterizer
from mvdecor.views.views import face_values_at_pixels, surface_of

FIELD_OF_VIEW = 30.0  # degrees; narrow, so that a shape looks little distorted
OVERSAMPLING = 2  # rays per pixel and direction, against jagged edges
AMBIENT = 0.45
MARGIN = 0.03  # of a picture, left free on each side of the shape
SURE_COLOUR, UNSURE_COLOUR = (214, 228, 214), (214, 32, 32)


def turntable_cameras(shape: Shape, views: int, size: int, elevation: float = 20.0, azimuth: float = 30.0) -> Cameras:
    """Cameras at equal angles around the y axis that see the whole of a shape, as large as fits: `MARGIN` stays free.

    All have one focal length and one principal point, so that the shape keeps its size and its place as it turns.

    Args:
        shape: in the unit sphere; vertices that no face uses do not count.
        views: how many.
        size: width and height in pixels.
        elevation: degrees above the horizon.
        azimuth: degrees of the first camera from +z towards +x.

    Returns:
        the `Cameras`, on the CPU, +y up.
    """
    turn = math.radians(azimuth) + torch.arange(views) * (2 * math.pi / views)
    height = torch.full_like(turn, math.radians(elevation))
    outward = torch.stack([turn.sin() * height.cos(), height.sin(), turn.cos() * height.cos()], dim=-1)
    distance = 1.02 / math.sin(math.radians(FIELD_OF_VIEW) / 2)
    rotation, translation = look_at(outward * distance, torch.zeros(views, 3))
    cameras = Cameras(rotation, translation, pinhole(views, size, FIELD_OF_VIEW), size, size)

    vertices = shape.vertices.cpu()[shape.faces.cpu().unique()].float()
    places = cameras.project(vertices.expand(views, -1, -1))[0].flatten(0, 1)
    low, high = places.amin(dim=0), places.amax(dim=0)
    zoom = (1 - 2 * MARGIN) * size / float((high - low).max().clamp_min(1e-3))
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, :2, :2] *= zoom
    intrinsics[:, :2, 2] = size / 2 + zoom * (intrinsics[:, :2, 2] - (low + high) / 2)
    return replace(cameras, intrinsics=intrinsics)


def render_shape(
    shape: Shape,
    face_colours: Tensor | np.ndarray,
    size: int = 256,
    views: int = 3,
    elevation: float = 20.0,
    azimuth: float = 30.0,
    rasterizer: Rasterizer | None = None,
) -> np.ndarray:
    """A coloured mesh from a few sides, side by side on white, shaded by its normals (two-sided).

    The shape is normalised to the unit sphere first. Of coincident twin faces the lowest one's colour shows.

    Args:
        shape: the mesh.
        face_colours: uint8 [F, 3], RGB.
        size: width and height of each view in pixels.
        views: how many sides, at equal angles around the y axis.
        elevation: degrees above the horizon.
        azimuth: degrees of the first view from +z (front) towards +x.
        rasterizer: by default Embree.

    Returns:
        uint8 [size, views * size, 3].

    Raises:
        InputError: if there is not one colour per face.
    """
    colours = torch.as_tensor(face_colours).cpu()
    if colours.shape != (shape.num_faces, 3):
        raise InputError(f"shape {shape.id}: colours {list(colours.shape)} for {shape.num_faces} faces; give [F, 3]")
    shape = shape.to("cpu").normalized()
    cameras = turntable_cameras(shape, views, size * OVERSAMPLING, elevation, azimuth)
    rendered_views = (rasterizer or make_rasterizer("embree"))([shape], [cameras])[0].to("cpu")
    surface = surface_of(shape, rendered_views)
    # A light up and to the left of each camera: with a light in the camera all the sides of a box look alike.
    light = normalize(torch.tensor([-0.4, -0.6, -1.0]), dim=0) @ cameras.rotation
    facing = (surface.normals[:, 0] * light[:, None, None]).sum(-1).clamp_min(0)
    shade = AMBIENT + (1 - AMBIENT) * facing
    planes = [face_values_at_pixels(colours[:, k].float(), rendered_views, background=255.0)[:, 0] for k in range(3)]
    image = torch.stack([torch.where(surface.mask[:, 0], plane * shade, 255.0) for plane in planes], dim=1)
    pictures = avg_pool2d(image, OVERSAMPLING).round().to(torch.uint8).permute(2, 0, 3, 1)
    return pictures.reshape(size, views * size, 3).numpy()


def render_mesh_comparison(
    shapes: Sequence[Shape],
    columns: Mapping[str, Sequence[Tensor | np.ndarray]],
    size: int = 192,
    views: int = 1,
    elevation: float = 20.0,
    azimuth: float = 30.0,
    rasterizer: Rasterizer | None = None,
) -> np.ndarray:
    """Labelled meshes in a table: a row per shape, a column per labelling, and a legend of the labels that occur.

    Args:
        shapes: S shapes with the same `label_names`.
        columns: by caption, S labellings int [F] (-1 = undetermined), e.g.
            {"truth": [...], "scratch": [...], "pretrained": [...]}.
        size: width and height of each view in pixels.
        views: sides of each shape in each cell.
        elevation: see `render_shape`.
        azimuth: see `render_shape`.
        rasterizer: by default Embree.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InputError: if there are no shapes or columns, a column has not one labelling per shape, label names differ, or a
            labelling does not fit its shape.
    """
    if not shapes or not columns:
        raise InputError("a comparison of meshes needs at least one shape and one column")
    names = shapes[0].label_names
    for shape in shapes:
        if shape.label_names != names:
            raise InputError(f"shapes {shapes[0].id} and {shape.id} have different label names; compare one label set")
    for caption, labellings in columns.items():
        if len(labellings) != len(shapes):
            raise InputError(f"column {caption!r} has {len(labellings)} labellings for {len(shapes)} shapes")
    palette = label_palette(len(names))
    rows, all_labels = [], []
    for number, shape in enumerate(shapes):
        row = []
        for labellings in columns.values():
            labels = torch.as_tensor(labellings[number]).cpu().numpy()
            colours = colours_of(labels, palette)
            row.append(render_shape(shape, colours, size, views, elevation, azimuth, rasterizer))
            all_labels.append(labels)
        rows.append(row)
    return _with_legend(sheet(rows, columns=list(columns)), np.concatenate(all_labels), names)


def render_segmentation(
    shape: Shape,
    labels: Tensor,
    confidence: Tensor,
    size: int = 256,
    views: int = 4,
    rasterizer: Rasterizer | None = None,
) -> np.ndarray:
    """A mesh from a few sides: a row in the colours of its parts, a row of confidence (1 pale, 0 red), and a legend.

    Args:
        shape: the mesh, with the labels' names.
        labels: int [F], -1 = undetermined.
        confidence: float [F], in [0, 1].
        size: width and height of each view in pixels.
        views: how many sides.
        rasterizer: by default Embree.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InputError: if there is not one label and one confidence per face.
    """
    palette = label_palette(len(shape.label_names))
    colourings = [colours_of(labels.cpu().numpy(), palette), confidence_colours(confidence.cpu().numpy())]
    rows = [[render_shape(shape, colours, size, views, rasterizer=rasterizer)] for colours in colourings]
    table = sheet(rows, rows=["parts", "confidence"])
    return _with_legend(table, labels.cpu().numpy(), shape.label_names)


def confidence_colours(confidence: np.ndarray) -> np.ndarray:
    """uint8 [F, 3] of float [F] in [0, 1]: 1 is pale, 0 red."""
    low, high = np.array(UNSURE_COLOUR), np.array(SURE_COLOUR)
    return (low + confidence.clip(0, 1)[:, None] * (high - low)).round().astype(np.uint8)


def _with_legend(table: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A picture with the names and colours of the labels that occur below it."""
    occurring = np.unique(labels)
    captions = [names[k] if k >= 0 else "undetermined" for k in occurring]
    return stack([table, legend(captions, colours_of(occurring, label_palette(len(names))), table.shape[1])])
