"""What is measured of captures: their views, and the parts of the shapes that they were rendered from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from mvdecor.captures import BACKGROUND_NAME, Capture, CaptureSet, RenderedCaptures
from mvdecor.evaluation.images import ViewMetrics
from mvdecor.evaluation.metrics import PartMetrics, Protocol
from mvdecor.lifting.points import labels_from_points
from mvdecor.shapes.shape import Shape


class CaptureMetrics:
    """Metrics of one way to label: of views, and of the meshes of captures that were rendered from shapes.

    Args:
        captures: the set.
        shown: by id, the views that do not count, see `ViewMetrics`.
        protocol, points, seed: see `PartMetrics`.
        neighbours: see `labels_from_points`.
    """

    def __init__(
        self,
        captures: CaptureSet,
        shown: Mapping[str, Sequence[int]],
        protocol: Protocol,
        points: int,
        neighbours: int,
        seed: int,
    ) -> None:
        names = tuple(captures.label_names)
        self.background = names.index(BACKGROUND_NAME) if BACKGROUND_NAME in names else None
        self.views = ViewMetrics(names, self.background, shown)
        self.neighbours = neighbours
        self.shapes = captures.shapes if isinstance(captures, RenderedCaptures) else None
        if self.shapes is not None:
            self.parts = PartMetrics(self.shapes.label_names, protocol, points, seed)

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
            truth = capture.images(views).float() / 255
            self.views.add_images(capture.id, views, images, truth, capture.alpha(views))
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

    def add_cloud(
        self,
        capture: Capture,
        views: Sequence[int],
        labels: Tensor,
        points: Tensor,
        point_labels: Tensor,
        images: Tensor,
        depth: Tensor,
    ) -> dict[str, Any]:
        """`add`, where the labelled points nearest to a face label it: float32 [P, 3], world frame, and int64 [P]."""

        def label_faces(shape: Shape) -> Tensor:
            return labels_from_points(shape, points, point_labels, len(shape.label_names), self.neighbours)

        return self.add(capture, views, labels, label_faces, images, depth)

    def restore(self, id: str, record: Mapping[str, Any]) -> None:
        """Count an object by its record, perhaps of another process."""
        self.views.restore(id, record["views"])
        if self.shapes is not None:
            self.parts.restore(id, record["parts"])

    def result(self) -> dict[str, Any]:
        """Ready for JSON: as `PartMetrics` (part mIoU on meshes; null without), and `images` as `ViewMetrics`."""
        parts = self.parts.result() if self.shapes is not None else {"part_miou": None, "shape_miou": None}
        return parts | {"images": self.views.result()}


def capture_summary(result: Mapping[str, Any]) -> str:
    """One line of figures of a `CaptureMetrics.result`."""
    images, texts = result["images"], []
    if images["psnr"] is not None:
        texts += [f"PSNR {images['psnr']:.2f} dB", f"SSIM {images['ssim']:.3f}"]
    if images["labels"] is not None:
        miou, with_background = images["labels"]["miou"], images["labels"]["miou_with_background"]
        texts.append(f"label mIoU {miou:.1f} ({with_background:.1f} with background)")
    if result["part_miou"] is not None:
        texts.append(f"part mIoU on meshes {result['part_miou']:.1f}")
    return ", ".join(texts) or "every view was given, and given views do not count"
