"""The ceiling: what a network that is always right would reach with these views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from mvdecor.errors import InputError
from mvdecor.evaluation.metrics import PartMetrics, Protocol
from mvdecor.lifting.fill import FaceLabels, FillRule, covered_area, fill_unseen
from mvdecor.lifting.vote import FaceVotes, seen_faces
from mvdecor.shapes.shape import UNDETERMINED, Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import Views, face_values_at_pixels


def ceiling_labels(shape: Shape, views: Views, fill: FillRule = "nearest") -> FaceLabels:
    """Vote the true labels of the pixels onto the faces, in place of a network's predictions.

    Pixels of undetermined faces do not vote, so these faces are filled from others like unseen ones (no metric counts
    them); `coverage` is still the area share of all faces that the views see. A group of twins of different parts gets
    the one label that its pixels show.

    Args:
        shape: a shape with face labels.
        views: N views of it in L layers.
        fill: see `fill_unseen`.

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
    return replace(fill_unseen(shape, votes, fill), coverage=covered_area(shape, seen_faces(shape, views)))


def ceiling_table(
    shapes: Iterable[Shape],
    cameras: Callable[[Shape], Cameras],
    rasterizer: Callable[..., list[Views]],
    layers: Sequence[int] = (1, 2, 3),
    fill: FillRule = "nearest",
    protocol: Protocol = "partnet",
    points: int = 0,
    seed: int = 0,
) -> list[dict]:
    """The ceiling of each category for several numbers of layers.

    Args:
        shapes: labelled shapes of one or more categories, read one after the other.
        cameras: places the cameras of a shape.
        rasterizer: called as `rasterizer([shape], [cameras], layers=n)`.
        layers: numbers of layers, a row each.
        fill, protocol, points, seed: see `fill_unseen` and `PartMetrics`; exact areas by default.

    Returns:
        rows {`category`, `shapes` (how many were measured), `undetermined` (how many have no face of a known part, so
        no ceiling), `layers`, `area_seen` (mean over the measured), `part_miou`}; the last two in percent, None where
        nothing was measured.

    Raises:
        InputError: if there is no shape, one without labels, or one of whose labelled faces no pixel sees any.
    """
    metrics: dict[tuple[str, int], PartMetrics] = {}
    seen: dict[tuple[str, int], list[float]] = {}
    undetermined: Counter[str] = Counter()
    for shape in shapes:
        for n in layers:
            metrics.setdefault((shape.category, n), PartMetrics(shape.label_names, protocol, points, seed))
            seen.setdefault((shape.category, n), [])
        if shape.face_labels is not None and bool((shape.face_labels == UNDETERMINED).all()):
            undetermined[shape.category] += 1
            continue
        views = rasterizer([shape], [cameras(shape)], layers=max(layers))[0]
        for n in layers:
            # the outer n of more layers are the n layers: peeling goes from the outside in
            labels = ceiling_labels(shape, Views(views.cameras, views.face_ids[:, :n]), fill)
            metrics[shape.category, n].add(shape, labels.labels)
            seen[shape.category, n].append(100 * labels.coverage)
    if not metrics:
        raise InputError("there is no shape to take the ceiling of; check the split and the category")
    return [
        {
            "category": category,
            "shapes": len(seen[category, n]),
            "undetermined": undetermined[category],
            "layers": n,
            "area_seen": float(np.mean(seen[category, n])) if seen[category, n] else None,
            "part_miou": metric.result()["part_miou"],
        }
        for (category, n), metric in metrics.items()
    ]
