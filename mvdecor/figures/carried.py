"""Pictures of one view's colours carried to another by similarity of embeddings, as on the paper's project page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvdecor.figures.images import SMALL, WRONG_COLOUR
from mvdecor.figures.layout import enlarge, sheet
from mvdecor.figures.palette import WHITE
from mvdecor.lifting.embeddings import at_pixels, nearest
from mvdecor.shapes.shape import Shape


@dataclass(frozen=True)
class EmbeddedView:
    """The outermost surface of one view.

    Attributes:
        texture: uint8 [H, W, 3], what the view shows.
        position: uint8 [H, W, 3], `position_colours` of its points.
        mask: bool [H, W], True where a surface is seen; the pictures are white elsewhere.
        embeddings: float [D, H, W].
    """

    texture: np.ndarray
    position: np.ndarray
    mask: np.ndarray
    embeddings: Tensor


def position_colours(shape: Shape, points: Tensor, mask: Tensor) -> np.ndarray:
    """Smooth colours of a surface: x, y and z in the shape's bounding box as red, green and blue.

    Args:
        shape: on any device.
        points: float [..., 3], in its frame.
        mask: bool [...]; white elsewhere.

    Returns:
        uint8 [..., 3], never white.
    """
    used_vertices = shape.vertices[shape.faces.reshape(-1)]
    low, high = used_vertices.amin(dim=0), used_vertices.amax(dim=0)
    share = ((points - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    colours = (15 + 225 * share).round().cpu().numpy().astype(np.uint8)
    return np.where(mask.cpu().numpy()[..., None], colours, np.uint8(255))


def carry_colours(source: EmbeddedView, target: EmbeddedView, threshold: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """The target's pixels in the colours of the source's pixels that are most similar to them (cosine of embeddings).

    Args:
        source: the view that colours come from.
        target: the view that is coloured; of the same shape or another.
        threshold: pixels of less similarity to any of the source's are red; -1 for none.

    Returns:
        textures and positions, uint8 [H, W, 3] each, white where the target sees no surface.
    """
    keys, queries = (at_pixels(v.embeddings[None], torch.from_numpy(v.mask)[None]) for v in (source, target))
    best, similarity = nearest(queries, keys)
    doubtful = (similarity < threshold).cpu().numpy()
    pictures = []
    for colours in (source.texture, source.position):
        colours_at_target = colours[source.mask][best.cpu().numpy()]
        colours_at_target[doubtful] = WRONG_COLOUR
        picture = np.full((*target.mask.shape, 3), WHITE, dtype=np.uint8)
        picture[target.mask] = colours_at_target
        pictures.append(picture)
    return pictures[0], pictures[1]


def plot_carried(a: EmbeddedView, b: EmbeddedView, threshold: float) -> np.ndarray:
    """Two views of one shape or of two, and each one's colours on the other.

    Columns: (a), (b), (c) the colours of b on a, (d) the colours of a on b, red where the similarity is below `threshold`.
    Rows: the texture, and smooth colours of the surface, in which a jump of the correspondence shows as a jump of colour.

    Returns:
        uint8 [height, width, 3].
    """
    columns = [(a.texture, a.position), (b.texture, b.position), carry_colours(b, a), carry_colours(a, b, threshold)]
    scale = max(1, round(SMALL / max(a.mask.shape[0], b.mask.shape[0])))
    rows = [[enlarge(column[k], scale) for column in columns] for k in (0, 1)]
    captions = ["(a)", "(b)", "(c) colours of b on a", f"(d) colours of a on b, red below {threshold:g}"]
    return sheet(rows, columns=captions, rows=["texture", "position"])
