"""The ceiling: the score of a perfect network with these views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from mvdecor.errors import InputError
from mvdecor.evaluation.metrics import PartMetrics, undetermined_shares
from mvdecor.lifting.fill import FaceLabels, FillRule, covered_area, fill_unseen
from mvdecor.lifting.settings import CREASE
from mvdecor.lifting.vote import FaceVotes, seen_faces
from mvdecor.progress import with_progress
from mvdecor.shapes.shape import UNDETERMINED, Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import Views, face_values_at_pixels


def ceiling_labels(
    shape: Shape, views: Views, fill: FillRule = "nearest", smooth: float = 0.0, crease: float = CREASE
) -> FaceLabels:
    """Vote the true labels of the pixels onto the faces, in place of a network's predictions.

    Pixels of undetermined faces do not vote, so these faces are filled from others like unseen ones (no metric counts
    them); `coverage` is still the area share of all faces that the views see. A group of twins of different parts gets
    the one label that its pixels show.

    Args:
        shape: a shape with face labels.
        views: N views of it in L layers.
        fill, smooth, crease: see `fill_unseen`.

    Returns:
        `FaceLabels` on the shape's device.

    Raises:
        InputError: if the shape has no labels, or no pixel sees a labelled face.
    """
    if shape.face_labels is None:
        raise InputError(f"shape {shape.id}: it has no face labels, so it has no ceiling")
    views = views.to(shape.faces.device)
    truth = face_values_at_pixels(shape.face_labels, views, UNDETERMINED)
    pixels = truth != UNDETERMINED
    if not bool(pixels.any()):
        raise InputError(
            f"shape {shape.id}: no pixel of its {len(views)} views sees a labelled face; it has no ceiling"
        )
    labels, groups = len(shape.label_names), shape.twin_groups
    # one-hot votes that all weigh 1 are counts: no image of one-hot logits is needed
    cell = groups[views.face_ids[pixels].long()] * labels + truth[pixels]
    counts = torch.bincount(cell, minlength=shape.num_faces * labels).view(-1, labels).float()[groups]
    weight = counts.sum(dim=-1)
    votes = FaceVotes(counts / weight.clamp_min(1.0)[:, None], weight > 0, weight)
    return replace(
        fill_unseen(shape, votes, fill, smooth, crease), coverage=covered_area(shape, seen_faces(shape, views))
    )


def ceiling_table(
    shapes: Iterable[Shape],
    cameras: Callable[[Shape], Cameras],
    rasterizer: Callable[..., list[Views]],
    layers: Sequence[int] = (1, 2, 3),
    fill: FillRule = "nearest",
    smooth: float = 0.0,
    crease: float = CREASE,
    points: int = 0,
    seed: int = 0,
) -> list[dict]:
    """The ceiling of each category for several numbers of layers.

    Parts that no shape shows are left out of it, whatever protocol the scores beside it follow: no network could do
    better or worse there.

    Args:
        shapes: labelled shapes of one or more categories, read one after the other.
        cameras: places the cameras of a shape.
        rasterizer: called as `rasterizer([shape], [cameras], layers=n)`.
        layers: numbers of layers, a row each.
        fill, smooth, crease, points, seed: see `fill_unseen` and `PartMetrics`; exact areas by default.

    Returns:
        rows {`category`, `shapes` (how many were measured), `undetermined_shapes` (how many have no face of a known part,
        so no ceiling), `undetermined_faces`, `undetermined_area` (means over all shapes), `layers`, `area_seen` (mean
        over the measured), `parts_occur` ("5 of 8"), `part_miou`}; shares and IoU in percent, None where nothing was
        measured.

    Raises:
        InputError: if there is no shape, one without labels, or one of whose labelled faces no pixel sees any.
    """
    categories: dict[str, _Category] = {}
    for shape in with_progress(shapes, "ceiling", len(shapes) if isinstance(shapes, Sequence) else None):
        category = categories.setdefault(shape.category, _Category())
        for n in layers:
            category.metrics.setdefault(n, PartMetrics(shape.label_names, "partnet", points, seed))
        if shape.face_labels is not None:
            category.undetermined.append(undetermined_shares(shape))
            if bool((shape.face_labels == UNDETERMINED).all()):
                continue
        views = rasterizer([shape], [cameras(shape)], layers=max(layers))[0]
        for n in layers:
            # the outer n of more layers are the n layers: peeling goes from the outside in
            labels = ceiling_labels(shape, Views(views.cameras, views.face_ids[:, :n]), fill, smooth, crease)
            category.metrics[n].add(shape, labels.labels)
            category.seen.setdefault(n, []).append(100 * labels.coverage)
    if not categories:
        raise InputError("there is no shape to take the ceiling of; check the split and the category")
    return [category.row(name, n) for name, category in categories.items() for n in layers]


@dataclass
class _Category:
    """What was measured of a category, by number of layers; shares in percent."""

    metrics: dict[int, PartMetrics] = field(default_factory=dict)
    seen: dict[int, list[float]] = field(default_factory=dict)
    undetermined: list[dict[str, float]] = field(default_factory=list)

    def row(self, name: str, layers: int) -> dict:
        """The category's line of the table at one number of layers: counts, shares, metrics."""
        area_seen, result = self.seen.get(layers, []), self.metrics[layers].result()
        return {
            "category": name,
            "shapes": len(area_seen),
            "undetermined_shapes": len(self.undetermined) - len(area_seen),
            "undetermined_faces": float(np.mean([share["faces"] for share in self.undetermined])),
            "undetermined_area": float(np.mean([share["area"] for share in self.undetermined])),
            "layers": layers,
            "area_seen": float(np.mean(area_seen)) if area_seen else None,
            "parts_occur": f"{len(result['occurring'])} of {len(result['parts'])}",
            "part_miou": result["part_miou"],
        }
