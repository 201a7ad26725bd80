"""Pictures of views as a field renders them, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mvdecor.figures.layout import enlarged, sheet
from mvdecor.figures.palette import colours_of, label_palette


def plot_views(
    input_image: Tensor,
    views: Sequence[int],
    images: tuple[Tensor, Tensor],
    labels: tuple[Tensor, Tensor | None],
    label_names: Sequence[str],
    background: int | None,
) -> np.ndarray:
    """A given view, then a column per view: image, rendering, label map, and true label map if there is one; small views are
    enlarged (`enlarged`).

    Args:
        input_image: uint8 [H, W, 3].
        views: numbers of the n views.
        images: truth and rendering, uint8 [n, H, W, 3].
        labels: of the rendering and of the truth, integer [n, H, W].
        label_names: of the C labels.
        background: the label that is shown white; None: none.

    Returns:
        uint8 [height, width, 3].
    """
    palette = label_palette(len(label_names))
    if background is not None:
        palette[background] = 255
    names, rows = ["image", "rendered", "labels", "true labels"], [x.numpy() for x in images]
    rows += [colours_of(x.numpy().astype(np.int64), palette) for x in labels if x is not None]
    blank = np.full_like(input_image.numpy(), 255)
    cells = [[enlarged(x) for x in (blank if i else input_image.numpy(), *row)] for i, row in enumerate(rows)]
    return sheet(cells, columns=["given", *(f"view {view}" for view in views)], rows=names[: len(rows)])


def depth_picture(depth: Tensor, opacity: Tensor) -> np.ndarray:
    """Depth [H, W] as grey, near dark, far light, from the 2 % to the 98 % quantile; white where opacity [H, W] is below 0.5.

    Returns:
        uint8 [H, W, 3].
    """
    values, seen = depth.numpy(), opacity.numpy() >= 0.5
    if not seen.any():
        return np.full((*values.shape, 3), 255, dtype=np.uint8)
    low, high = np.quantile(values[seen], (0.02, 0.98))
    grey = (230 * (values - low) / max(high - low, 1e-9)).clip(0, 230).astype(np.uint8)
    return np.where(seen, grey, np.uint8(255))[..., None].repeat(3, axis=-1)
