"""What is measured of captures: their views, and the parts of their meshes; shared with the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.captures import BACKGROUND_NAME, Capture, CaptureSet, RenderedCaptures
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics, ShapeRecords, ViewMetrics
from mvdecor.fields import FieldViews
from mvdecor.figures.layout import save_png
from mvdecor.figures.rendered_views import plot_views
from mvdecor.lifting.points import labels_from_points
from mvdecor.shapes import Shape
from mvdecor.systems.capture_files import capture_files

MEASURED = "measured"
"""The folder in `out` of the records of an evaluation under way."""


class Measured:
    """Metrics of one way to label: of views, and of the meshes of captures that were rendered from shapes.

    Args:
        cfg: the configuration.
        captures: the set.
        inputs: by id, the views that do not count.
    """

    def __init__(self, cfg: DictConfig, captures: CaptureSet, inputs: Mapping[str, list[int]]) -> None:
        names = tuple(captures.label_names)
        self.background = names.index(BACKGROUND_NAME) if BACKGROUND_NAME in names else None
        self.views = ViewMetrics(names, self.background, inputs)
        self.neighbours = cfg.evaluation.neighbours
        self.shapes = captures.shapes if isinstance(captures, RenderedCaptures) else None
        if self.shapes is not None:
            protocol, points = cfg.evaluation.protocol, cfg.evaluation.points
            self.parts = PartMetrics(self.shapes.label_names, protocol, points, cfg.seed)

    def add(
        self,
        capture: Capture,
        views: Sequence[int],
        labels: Tensor,
        label_faces: Callable[[Shape], Tensor],
        images: Tensor | None = None,
        depth: Tensor | None = None,
    ) -> dict[str, Any]:
        """Count one object; gives its record, plain values that `restore` takes.

        Args:
            capture: with the truth.
            views: n of its views.
            labels: int64 [n, H, W].
            label_faces: called with the object's shape, if it has one; gives a label for each face, int64 [F].
            images: float32 [n, H, W, 3] in [0, 1], if they were rendered.
            depth: float32 [n, H, W], camera z, if it was rendered.
        """
        if images is not None:
            self.views.add_images(capture.id, views, images, capture.images(views).float() / 255)
        if depth is not None and (true_depth := capture.depth(views)) is not None:
            self.views.add_depth(capture.id, views, depth, true_depth)
        labelled = [i for i, view in enumerate(views) if view in capture.labelled]
        if labelled:
            numbers = [views[i] for i in labelled]
            self.views.add_labels(capture.id, numbers, labels[labelled], capture.labels(numbers).long())
        parts = None
        if self.shapes is not None:
            shape = self.shapes.load(capture.id)
            parts = self.parts.add(shape, label_faces(shape))
        return {"views": self.views.record(capture.id, views), "parts": parts}

    def add_rendered(self, capture: Capture, views: Sequence[int], rendered: FieldViews) -> dict[str, Any]:
        """`add` for what a field shows; the faces are labelled by the labelled points nearest to them."""

        def label_faces(shape: Shape) -> Tensor:
            cloud = rendered.points, rendered.point_labels
            return labels_from_points(shape, *cloud, len(shape.label_names), self.neighbours)

        return self.add(capture, views, rendered.labels, label_faces, rendered.images, rendered.depth)

    def restore(self, id: str, record: Mapping[str, Any]) -> None:
        """Count an object by its record, perhaps of another process."""
        self.views.restore(id, record["views"])
        if self.shapes is not None:
            self.parts.restore(id, record["parts"])

    def result(self) -> dict[str, Any]:
        """Ready for JSON: as `PartMetrics` (part mIoU on meshes; null without), and `images` as `ViewMetrics`."""
        parts = self.parts.result() if self.shapes is not None else {"part_miou": None, "shape_miou": None}
        return parts | {"images": self.views.result()}


def blocks_of(cfg: DictConfig, ids: Sequence[str]) -> list[Sequence[str]]:
    """The captures whose codes move together: the same for any number of processes, so that rounding is the same."""
    return [ids[i : i + cfg.evaluation.batch_size] for i in range(0, len(ids), cfg.evaluation.batch_size)]


def make_records(job: Job, captures: CaptureSet, ids: Sequence[str], weights: str) -> ShapeRecords:
    """What was measured so far, a record per capture; each is of the files of its whole block, see `blocks_of`.

    Args:
        job: of the evaluation.
        captures, ids: what is measured.
        weights: hash of the model, or of all models.
    """
    sources: dict[str, str] = {}
    for block in blocks_of(job.cfg, ids):
        sources |= dict.fromkeys(block, capture_files(captures, block).identity()["sha256"])
    return ShapeRecords(job.out / MEASURED, job.key["settings"] | {"weights": weights}, sources.__getitem__)


def about_evaluation(
    cfg: DictConfig,
    captures: CaptureSet,
    ids: Sequence[str],
    inputs: Mapping[str, list[int]],
    checkpoint: Mapping[str, Any],
) -> dict[str, Any]:
    """What metrics.json says of an evaluation beside its figures; `checkpoint` is the model's record."""
    settings, trained = cfg.evaluation, checkpoint["config"]
    groups = {key: trained[key] for key in ("seed", "run", "precision", "network", "training") if key in trained}
    return {
        "given": {"kind": settings.source, "views": dict(inputs), "counted": settings.count_given},
        "trained_with": groups | ({"field": checkpoint["field"]} if "field" in checkpoint else {}),
        "category": cfg.data.get("category", captures.__class__.__name__),
        "split": {"name": settings.split, "ids": list(ids)},
        "skipped": [],
        "weights_sha256": checkpoint["weights_sha256"],
    }


def save_views(
    out: Path,
    capture: Capture,
    input_views: Sequence[int],
    views: Sequence[int],
    images: Tensor,
    labels: Tensor,
    names: Sequence[str],
) -> None:
    """Write `out/figures/ID.png`: images float32 [n, H, W, 3] in [0, 1] and labels [n, H, W] of views beside the truth."""
    truth = capture.labels(views) if set(views) <= set(capture.labelled) else None
    pictures = capture.images(views), (images * 255).round().to(torch.uint8)
    given = capture.images(input_views[:1])[0]
    plot = plot_views(given, views, pictures, (labels, truth), names, capture.background)
    save_png(out / "figures" / f"{capture.id}.png", plot)


def check_labels(record: Mapping[str, Any], captures: CaptureSet, checkpoint: str) -> None:
    """Raise InputError if a model labels nothing, or other labels than the captures'."""
    names = record["label_names"]
    if not names:
        raise InputError(f"{checkpoint}: this field was only pretrained: run scripts/finetune.py first")
    if list(captures.label_names) != names:
        raise InputError(
            f"{checkpoint}: the model's labels ({', '.join(names)}) are not those of the captures "
            f"({', '.join(captures.label_names)}): choose those that it was fine-tuned on"
        )


def measured_views(count: int, limit: int | None) -> list[int]:
    """At most `limit` of `count` views, spread evenly."""
    return list(range(count)) if limit is None else (np.arange(min(limit, count)) * count // min(limit, count)).tolist()


def summary(result: Mapping[str, Any]) -> str:
    """One line of figures."""
    images, texts = result["images"], []
    if images["psnr"] is not None:
        texts += [f"PSNR {images['psnr']:.2f} dB", f"SSIM {images['ssim']:.3f}"]
    if images["labels"] is not None:
        miou, with_background = images["labels"]["miou"], images["labels"]["miou_with_background"]
        texts.append(f"label mIoU {miou:.1f} ({with_background:.1f} with background)")
    if result["part_miou"] is not None:
        texts.append(f"part mIoU on meshes {result['part_miou']:.1f}")
    return ", ".join(texts) or "every view was given, and given views do not count"
