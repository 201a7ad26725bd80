"""All metrics of reconstructions from photographs together: masks, keypoints, cameras, surfaces, part labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdecor.evaluation.geometry import closeness, sample_surface
from mvdecor.evaluation.keypoints import pck
from mvdecor.evaluation.masks import mask_iou
from mvdecor.evaluation.rotations import rotation_errors
from mvdecor.shapes.shape import Shape

THRESHOLDS = (0.1, 0.15)
"""Of PCK."""


class ReconstructionMetrics:
    """Figures of one way to reconstruct, from a record of plain values per photograph.

    Args:
        threshold: distance below which points are near each other for the F-score, in radii of the true shape.
        points: of each surface.
        seed: of these points.
    """

    def __init__(self, threshold: float, points: int, seed: int) -> None:
        self._threshold, self._points, self._seed = threshold, points, seed
        self._records: dict[str, dict[str, Any]] = {}

    def add_mask(self, id: str, predicted: Tensor, truth: Tensor) -> None:
        """Masks bool [S, S] of a photograph."""
        self._of(id)["mask_iou"] = float(mask_iou(predicted[None], truth[None]))

    def add_keypoints(self, id: str, projected: Tensor, regressed: Tensor | None, truth: Tensor, size: float) -> None:
        """Positions [K, 2] and keypoints [K, 3] (x, y, visible) in one unit, in which the longer side of the box is `size`."""
        positions = {"projected": projected.tolist()} | ({} if regressed is None else {"regressed": regressed.tolist()})
        self._of(id)["keypoints"] = positions | {"truth": truth.tolist(), "size": size}

    def add_rotation(self, id: str, predicted: Tensor, truth: Tensor) -> None:
        """Rotations [3, 3], template to camera."""
        self._of(id)["rotation"] = {"predicted": predicted.double().tolist(), "truth": truth.double().tolist()}

    def add_surface(self, id: str, predicted: Shape, truth: Shape) -> None:
        """Meshes; each is centred and scaled to the unit sphere here: their shapes are compared, not their places."""
        estimate, reference = (
            sample_surface(shape.normalized(), self._points, self._seed) for shape in (predicted, truth)
        )
        result = closeness(estimate, reference, self._threshold)
        self._of(id)["surface"] = [result.chamfer, result.f_score]

    def add_labels(self, id: str, predicted: NDArray[np.int64], truth: NDArray[np.int64], count: int) -> None:
        """Label maps int [S, S] of `count` labels, -1 = background."""
        table = np.zeros((count + 1, count + 1), dtype=np.int64)
        np.add.at(table, (predicted + 1, truth + 1), 1)
        self._of(id)["labels"] = table.tolist()

    def add_status(self, id: str, name: str) -> None:
        """The outcome of a fit."""
        self._of(id)["status"] = name

    def record(self, id: str) -> dict[str, Any]:
        """What was measured of a photograph, plain values that `restore` takes."""
        return self._records[id]

    def restore(self, id: str, record: Mapping[str, Any]) -> None:
        """Count a photograph by its record, perhaps of another process."""
        self._records[id] = dict(record)

    def result(self) -> dict[str, Any]:
        """Ready for JSON; None for what no photograph had a truth for. Shares and IoUs are between 0 and 1."""
        ious = {id: record["mask_iou"] for id, record in self._records.items()}
        surfaces = self._all("surface")
        means = np.mean(surfaces, axis=0).tolist() if surfaces else None
        return {
            "mask_iou": float(np.mean(list(ious.values()))),
            "pck": {name: self._pck(name) for name in ("projected", "regressed")},
            "rotation": self._rotation(),
            "surface": None if means is None else dict(zip(("chamfer", "f_score"), means, strict=True)),
            "labels": self._labels(),
            "status": dict(Counter(self._all("status"))),
            "mask_ious": ious,
        }

    def _of(self, id: str) -> dict[str, Any]:
        return self._records.setdefault(id, {})

    def _all(self, name: str) -> list[Any]:
        return [record[name] for record in self._records.values() if name in record]

    def _rotation(self) -> dict[str, float] | None:
        rotations = self._all("rotation")
        if not rotations:
            return None
        predicted, truth = (
            torch.tensor([rotation[key] for rotation in rotations], dtype=torch.float64)
            for key in ("predicted", "truth")
        )
        return rotation_errors(predicted, truth).summary()

    def _pck(self, name: str) -> dict[str, float] | None:
        keypoints = [values for values in self._all("keypoints") if name in values]
        if not keypoints:
            return None
        truth = torch.tensor([values["truth"] for values in keypoints]).reshape(len(keypoints), -1, 3)  # K may be 0
        if not truth[..., 2].any():
            return None
        sizes = torch.tensor([values["size"] for values in keypoints])
        arguments = torch.tensor([values[name] for values in keypoints]), truth[..., :2], truth[..., 2] > 0, sizes
        return {str(threshold): pck(*arguments, threshold).mean for threshold in THRESHOLDS}

    def _labels(self) -> dict[str, Any] | None:
        """IoU of each label, pixels of all photographs pooled, and the mean over the labels that occur."""
        tables = self._all("labels")
        if not tables:
            return None
        table = np.sum(tables, axis=0)
        both, either = table.diagonal(), table.sum(axis=0) + table.sum(axis=1) - table.diagonal()
        ious = [float(b / e) if e else None for b, e in zip(both[1:], either[1:], strict=True)]
        occurring = [iou for iou in ious if iou is not None]
        return {"miou": float(np.mean(occurring)) if occurring else None, "iou": ious}


def summary(result: dict[str, Any]) -> str:
    """One line of figures."""
    texts = [f"mask IoU {result['mask_iou']:.3f}"]
    for name, shares in result["pck"].items():
        if shares is not None:
            texts.append(f"PCK {name} {shares['0.1']:.3f} / {shares['0.15']:.3f}")
    if result["rotation"] is not None:
        rotation = result["rotation"]
        texts.append(f"rotation {rotation['median']:.1f} degrees, {100 * rotation['share_below_30']:.0f} % below 30")
        texts.append(f"{100 * rotation['front_back_swaps']:.0f} % front and back swapped")
    if result["surface"] is not None:
        texts.append(f"Chamfer {result['surface']['chamfer']:.4f}, F-score {result['surface']['f_score']:.3f}")
    if result["labels"] is not None and result["labels"]["miou"] is not None:
        texts.append(f"label mIoU {result['labels']['miou']:.3f}")
    return ", ".join(texts)
