"""Pictures of reconstructions: the photograph, where the network sees the template's vertices, and the fitted mesh over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mvdecor.figures.carried import position_colours
from mvdecor.figures.layout import enlarge, sheet
from mvdecor.figures.palette import colours_of, label_palette
from mvdecor.shapes.template import Template

SIDE = 128
"""Least pixels per side of a picture."""


@dataclass(frozen=True)
class Pictured:
    """One reconstruction.

    Attributes:
        image: float32 [3, S, S] in [0, 1].
        mask: bool [S, S].
        positions: float32 [V, 2] in [-1, 1].
        visibility: float32 [V] in [0, 1].
        face_ids: int [S, S], of the fitted mesh; -1 = none.
    """

    image: Tensor
    mask: NDArray[np.bool_]
    positions: Tensor
    visibility: Tensor
    face_ids: Tensor


def plot_reconstructions(template: Template, pictured: Sequence[Pictured]) -> np.ndarray:
    """A row per photograph; the colour of a vertex or pixel says where on the template it is, or its part label.

    Columns: the photograph, its mask, positions of the visible vertices, the fitted mesh, and part labels if there are any.

    Returns:
        uint8 [height, width, 3].
    """
    shape = template.shape
    colours = position_colours(shape, shape.vertices, shape.vertices[:, 0] == shape.vertices[:, 0])
    face_colours = colours[shape.faces.numpy()].astype(np.float32).mean(axis=1).astype(np.uint8)
    rows = []
    for entry in pictured:
        image = (entry.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        scale = max(1, -(-SIDE // len(image)))
        face_ids = entry.face_ids.numpy()
        row = [enlarge(image, scale), enlarge(entry.mask[..., None].repeat(3, 2).astype(np.uint8) * 255, scale)]
        row += [
            _dots(enlarge(image // 2 + 127, scale), entry, colours),
            enlarge(_over(image, face_ids, face_colours), scale),
        ]
        if shape.face_labels is not None:
            palette = label_palette(len(shape.label_names))
            of_labels = colours_of(shape.face_labels.numpy(), palette)
            row.append(enlarge(_over(image, face_ids, of_labels), scale))
        rows.append(row)
    captions = ["photograph", "mask", "positions", "mesh", "labels"]
    return sheet(rows, columns=captions[: len(rows[0])])


def _dots(picture: np.ndarray, entry: Pictured, colours: np.ndarray) -> np.ndarray:
    """The picture with a dot of 2 x 2 pixels at each visible vertex."""
    picture = picture.copy()
    side = len(picture)
    place = ((entry.positions.numpy() + 1) / 2 * side).astype(int).clip(0, side - 2)
    for vertex in np.flatnonzero(entry.visibility.numpy() > 0.5):
        x, y = place[vertex]
        picture[y : y + 2, x : x + 2] = colours[vertex]
    return picture


def _over(image: np.ndarray, face_ids: np.ndarray, face_colours: np.ndarray) -> np.ndarray:
    """The image with the colours of the faces where they are seen, a third of it shining through."""
    shown = face_colours[face_ids.clip(0)].astype(np.float32) * 0.67 + image * 0.33
    return np.where(face_ids[..., None] >= 0, shown, image).round().astype(np.uint8)
