"""Points of captures and their colours, as the viewer shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mvdecor.captures import BACKGROUND_NAME, Capture
from mvdecor.figures import BACKGROUND, colours_of, label_palette

POINTS = 40_000
"""Points of a cloud at most."""
POINT_VIEWS = 8
"""Views of a capture that its points come from at most."""


@dataclass(frozen=True)
class Cloud:
    """Points in the world frame, and the ways to colour them.

    Attributes:
        points: float32 [P, 3].
        colours: uint8 [P, 3] by name ("colour", "labels").
    """

    points: NDArray[np.float32]
    colours: dict[str, NDArray[np.uint8]]


def label_picture(labels: NDArray, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Labels [...] in their colours, the background white: uint8 [..., 3]."""
    labels = labels.astype(np.int64)
    if BACKGROUND_NAME in names:
        labels[labels == names.index(BACKGROUND_NAME)] = BACKGROUND
    return colours_of(labels, label_palette(len(names)))


def depth_cloud(capture: Capture) -> Cloud:
    """The points of pixels with exact depth, of some views."""
    views = spread(len(capture))
    depth, images, rays = capture.depth(views), capture.images(views), capture.cameras[views].rays()
    assert depth is not None, "only asked for captures with depth"
    positions = capture.cameras[views].centers[:, None, None] + depth[..., None] * rays
    seen = depth > 0
    order = torch.randperm(int(seen.sum()), generator=torch.Generator().manual_seed(0))[:POINTS]
    colours = {"colour": images[seen][order].numpy()}
    if set(views) <= set(capture.labelled):
        colours["labels"] = label_picture(capture.labels(views)[seen][order].numpy(), capture.label_names)
    return Cloud(positions[seen][order].numpy(), colours)


def spread(count: int) -> list[int]:
    """At most `POINT_VIEWS` of `count` numbers, evenly."""
    return np.unique(np.linspace(0, count - 1, POINT_VIEWS).round().astype(int)).tolist()
