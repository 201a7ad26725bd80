"""All metrics of reconstructions from photographs together: masks, keypoints, cameras, surfaces, part labels."""

from __future__ import annotations

from collections import Counter
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
    """Figures of one way to reconstruct.

    Args:
        threshold: distance below which points are near each other for the F-score, in radii of the true shape.
        points: of each surface.
        seed: of these points.
    """

    def __init__(self, threshold: float, points: int, seed: int) -> None:
        self._threshold, self._points, self._seed = threshold, points, seed
        self._ious: dict[str, float] = {}
        self._positions: dict[str, list[Tensor]] = {"projected": [], "regressed": []}
        self._keypoints: list[Tensor] = []
        self._sizes: list[float] = []
        self._rotations: list[Tensor] = []
        self._true_rotations: list[Tensor] = []
        self._surfaces: list[tuple[float, float]] = []
        self._statuses: Counter[str] = Counter()
        self._label_counts: list[NDArray[np.int64]] = []

    def add_mask(self, id: str, predicted: Tensor, truth: Tensor) -> None:
        """Masks bool [S, S] of a photograph."""
        self._ious[id] = float(mask_iou(predicted[None], truth[None]))

    def add_keypoints(self, projected: Tensor, regressed: Tensor | None, truth: Tensor, size: float) -> None:
        """Positions [K, 2] and keypoints [K, 3] (x, y, visible) in one unit, in which the longer side of the box is `size`."""
        self._positions["projected"].append(projected)
        if regressed is not None:
            self._positions["regressed"].append(regressed)
        self._keypoints.append(truth)
        self._sizes.append(size)

    def add_rotation(self, predicted: Tensor, truth: Tensor) -> None:
        """Rotations [3, 3], template to camera."""
        self._rotations.append(predicted.double())
        self._true_rotations.append(truth.double())

    def add_surface(self, predicted: Shape, truth: Shape) -> None:
        """Meshes; each is centred and scaled to the unit sphere here: their shapes are compared, not their places."""
        estimate, reference = (
            sample_surface(shape.normalized(), self._points, self._seed) for shape in (predicted, truth)
        )
        result = closeness(estimate, reference, self._threshold)
        self._surfaces.append((result.chamfer, result.f_score))

    def add_labels(self, predicted: NDArray[np.int64], truth: NDArray[np.int64], count: int) -> None:
        """Label maps int [S, S] of `count` labels, -1 = background."""
        table = np.zeros((count + 1, count + 1), dtype=np.int64)
        np.add.at(table, (predicted + 1, truth + 1), 1)
        self._label_counts.append(table)

    def add_status(self, name: str) -> None:
        """The outcome of one fit."""
        self._statuses[name] += 1

    def result(self) -> dict[str, Any]:
        """Ready for JSON; None for what no photograph had a truth for. Shares and IoUs are between 0 and 1."""
        errors = None
        if self._rotations:
            errors = rotation_errors(torch.stack(self._rotations), torch.stack(self._true_rotations))
        surfaces = np.mean(self._surfaces, axis=0).tolist() if self._surfaces else None
        return {
            "mask_iou": float(np.mean(list(self._ious.values()))),
            "pck": {name: self._pck(positions) for name, positions in self._positions.items()},
            "rotation": None if errors is None else errors.summary(),
            "surface": None if surfaces is None else dict(zip(("chamfer", "f_score"), surfaces, strict=True)),
            "labels": self._labels(),
            "status": dict(self._statuses),
            "mask_ious": self._ious,
        }

    def _pck(self, positions: list[Tensor]) -> dict[str, float] | None:
        if not positions or not (truth := torch.stack(self._keypoints))[..., 2].any():
            return None
        sizes = torch.tensor(self._sizes)
        arguments = torch.stack(positions), truth[..., :2], truth[..., 2] > 0, sizes
        return {str(threshold): pck(*arguments, threshold).mean for threshold in THRESHOLDS}

    def _labels(self) -> dict[str, Any] | None:
        """IoU of each label, pixels of all photographs pooled, and the mean over the labels that occur."""
        if not self._label_counts:
            return None
        table = np.sum(self._label_counts, axis=0)
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
