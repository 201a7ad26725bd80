"""Part mIoU and shape mIoU of labelled faces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mvdecor.errors import InputError
from mvdecor.shapes.shape import UNDETERMINED, Shape

Protocol = Literal["mvdecor", "partnet", "shapenet"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)


class PartMetrics:
    """Collects confusion matrices shape by shape and averages their IoUs.

    - part mIoU: intersections and unions of each part are pooled over all shapes, then the parts' IoUs are averaged.
      A part that no counted point has, neither as truth nor as prediction, counts 0 under protocol `mvdecor` (as in the
      paper's code) and is left out under `partnet` and `shapenet`.
    - shape mIoU: the mean over shapes of the mean IoU over the parts that occur in the shape (as truth or as
      prediction). Under `shapenet` it is over all parts, and those that do not occur in the shape count 100: the instance
      mIoU of ShapeNetPart (Qi et al. 2017, PointNet, section 5.1).

    A shape counts by `points` faces sampled by area, with replacement (the paper's sampled surface points: all points
    of a face share its labels). The sample depends on the seed and the shape's id only, not on the order of shapes. With
    `points=0` faces count by their exact share of the shape's area instead. Points on undetermined faces are dropped.
    """

    def __init__(
        self, label_names: Sequence[str], protocol: Protocol = "mvdecor", points: int = 30_000, seed: int = 0
    ) -> None:
        """
        Args:
            label_names: names of the C parts, all different.
            protocol: "mvdecor", "partnet" or "shapenet".
            points: samples per shape; 0 = exact areas.
            seed: of the samples.

        Raises:
            InputError: for an unknown protocol, a negative number of points, no label names or doubled ones.
        """
        if protocol not in PROTOCOLS:
            raise InputError(f"unknown protocol {protocol!r}; choose one of: {', '.join(PROTOCOLS)}")
        if points < 0:
            raise InputError(f"{points} evaluation points per shape; choose 0 (exact areas) or more")
        doubled = sorted({n for n in label_names if list(label_names).count(n) > 1})
        if not label_names or doubled:
            raise InputError(
                f"label names must be given and differ from each other; doubled: {doubled or 'none given'}"
            )
        self.label_names, self.protocol, self.points, self.seed = tuple(label_names), protocol, points, seed
        self._confusion: dict[str, np.ndarray] = {}

    def add(self, shape: Shape, predicted: Tensor) -> list[list[float]]:
        """Count one shape; gives its confusion, which `restore` takes.

        Args:
            shape: a shape with face labels.
            predicted: int64 [F], a label in [0, C) for each face.

        Raises:
            InputError: if the shape has no labels, other label names or no area, was added before, or `predicted` does
                not fit it.
        """
        predicted = predicted.cpu()
        self._check(shape, predicted)
        assert shape.face_labels is not None
        truth = shape.face_labels.cpu()
        areas = shape.face_areas.double().cpu().numpy()
        share = areas / areas.sum()
        if self.points > 0:
            sampled = torch.from_numpy(_generator(self.seed, shape.id).choice(len(share), size=self.points, p=share))
            self._confusion[shape.id] = _count(truth[sampled], predicted[sampled], len(self.label_names))
        else:
            self._confusion[shape.id] = _weigh(truth, predicted, share, len(self.label_names))
        return self._confusion[shape.id].tolist()

    def restore(self, id: str, confusion: Sequence[Sequence[float]]) -> None:
        """Count a shape by what `add` gave for it, perhaps in another process."""
        self._confusion[id] = np.array(confusion)

    def result(self) -> dict:
        """All metrics so far, ready for JSON.

        Returns:
            a dict of `part_miou`, `shape_miou`, `accuracy` (percent; None if no point was counted), `parts` {name: IoU,
            or None if left out}, `absent` (names of parts without a point, true or predicted), `occurring` (names of
            parts that are true of a counted point), `part_miou_occurring` (mean IoU of those), `confusion` (C lists of C:
            points by true part in rows and predicted part in columns, in the order of `parts`; shares of area with
            `points=0`), `shapes`
            {id: {`miou`, `accuracy`, `parts` {name: IoU}}}, `undetermined_shapes` (ids without any counted point: they
            contribute nothing), `protocol`, `points`, `seed`.
        """
        c = len(self.label_names)
        counted = {id: m for id, m in sorted(self._confusion.items()) if m.sum() > 0}
        total = sum(counted.values(), np.zeros((c, c)))
        iou = _iou(total)
        absent, occurring = np.isnan(iou), total.sum(axis=1) > 0
        if self.protocol == "mvdecor" and counted:
            iou = np.where(absent, 0.0, iou)
        shapes = {id: self._shape_result(m) for id, m in counted.items()}
        return {
            "part_miou": float(np.nanmean(iou)) if counted else None,
            "part_miou_occurring": float(np.mean(iou[occurring])) if counted else None,
            "shape_miou": float(np.mean([s["miou"] for s in shapes.values()])) if counted else None,
            "accuracy": _accuracy(total) if counted else None,
            "parts": {n: None if np.isnan(x) else float(x) for n, x in zip(self.label_names, iou, strict=True)},
            "absent": [n for n, missing in zip(self.label_names, absent, strict=True) if missing],
            "occurring": [n for n, occurs in zip(self.label_names, occurring, strict=True) if occurs],
            "confusion": total.tolist(),
            "shapes": shapes,
            "undetermined_shapes": sorted(self._confusion.keys() - counted.keys()),
            "protocol": self.protocol,
            "points": self.points,
            "seed": self.seed,
        }

    def _shape_result(self, confusion: np.ndarray) -> dict:
        iou = _iou(confusion)
        parts = {n: float(x) for n, x in zip(self.label_names, iou, strict=True) if not np.isnan(x)}
        counted = np.where(np.isnan(iou), 100.0, iou) if self.protocol == "shapenet" else iou
        return {"miou": float(np.nanmean(counted)), "accuracy": _accuracy(confusion), "parts": parts}

    def _check(self, shape: Shape, predicted: Tensor) -> None:
        if shape.face_labels is None:
            raise InputError(f"shape {shape.id}: it has no face labels, so nothing can be measured on it")
        if shape.label_names != self.label_names:
            raise InputError(
                f"shape {shape.id}: its label names {list(shape.label_names)} are not those being measured "
                f"{list(self.label_names)}; measure each category and level on its own"
            )
        if shape.id in self._confusion:
            raise InputError(
                f"shape {shape.id}: added twice; every shape counts once (is its id doubled in the split?)"
            )
        if predicted.shape != (shape.num_faces,) or predicted.dtype != torch.int64:
            raise InputError(
                f"shape {shape.id}: predictions must be int64 [{shape.num_faces}], got {predicted.dtype} "
                f"{list(predicted.shape)}"
            )
        if int(predicted.min()) < 0 or int(predicted.max()) >= len(self.label_names):
            raise InputError(
                f"shape {shape.id}: predictions span {int(predicted.min())}..{int(predicted.max())}; "
                f"allowed are 0..{len(self.label_names) - 1}"
            )
        if not float(shape.face_areas.double().sum()) > 0:
            raise InputError(f"shape {shape.id}: all its faces have zero area, so none can be weighed; leave it out")


def undetermined_shares(shape: Shape) -> dict[str, float]:
    """How much of a labelled shape is undetermined: {"faces", "area"}, percent. No metric counts these faces."""
    assert shape.face_labels is not None
    unknown = (shape.face_labels == UNDETERMINED).cpu()
    areas = shape.face_areas.double().cpu()
    total = float(areas.sum())
    faces = 100 * int(unknown.sum()) / shape.num_faces
    return {"faces": faces, "area": 100 * float(areas[unknown].sum()) / total if total > 0 else faces}


def _generator(seed: int, shape_id: str) -> np.random.Generator:
    # Python's own hash of a string changes from process to process
    digest = hashlib.sha256(f"{seed}:{shape_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _count(truth: Tensor, predicted: Tensor, labels: int) -> np.ndarray:
    """float64 [C, C], number of points by truth (rows) and prediction (columns)."""
    labelled = truth != UNDETERMINED
    if labels == 1:  # torchmetrics counts from two classes up
        return np.array([[float(labelled.sum())]])
    return (
        multiclass_confusion_matrix(predicted[labelled], truth[labelled], num_classes=labels).numpy().astype(np.float64)
    )


def _weigh(truth: Tensor, predicted: Tensor, share: np.ndarray, labels: int) -> np.ndarray:
    """float64 [C, C], share of the area by truth (rows) and prediction (columns)."""
    labelled = (truth != UNDETERMINED).numpy()
    cell = (truth * labels + predicted).numpy()[labelled]
    return np.bincount(cell, weights=share[labelled], minlength=labels * labels).reshape(labels, labels)


def _iou(confusion: np.ndarray) -> np.ndarray:
    """float64 [C], percent; NaN for parts with an empty union."""
    intersection = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    # an empty union is exactly 0: it is a sum of zeros
    return 100 * np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)


def _accuracy(confusion: np.ndarray) -> float:
    return float(100 * np.trace(confusion) / confusion.sum())
