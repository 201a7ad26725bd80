"""Metrics of open-vocabulary segmentation: mIoU over classes and views, accuracy, boundary F; also as 3D-OVS released them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from mvdecor.errors import InputError

TOLERANCE = 0.008
"""How far apart boundaries may lie that count as the same, in diagonals of the view (Perazzi et al. 2016)."""

Masks = NDArray[np.bool_]


def word_figures(
    predicted: Tensor, truth: Tensor, count: int, released: bool = False, tolerance: float = TOLERANCE
) -> dict[str, float]:
    """Figures of label maps, percent; each is the mean over views of the mean over classes, but for the accuracy.

    A class that is in a view neither predicted nor true is left out there, as is a view without any class. Pixels without a
    true class do not count.

    Args:
        predicted: int [n, H, W] in [0, count).
        truth: int [n, H, W] in [-1, count), -1 = of no class or undetermined; or bool [n, count, H, W], masks that may overlap.
        count: number of classes, C.
        released: as the released code of 3D-OVS measures: every pixel counts, one without a class or of several as wrong, and
            the IoU of an absent class is 0.
        tolerance: see `TOLERANCE`; at least a pixel.

    Returns:
        `miou`; `accuracy`, over all pixels of all views together; `boundary_f`. Where masks overlap a pixel is right if the
        predicted class is one of its own; in the released way, if it is its only one.

    Raises:
        InputError: shapes that differ, labels out of range, or no pixel that counts.
    """
    answers, truths = _masks(predicted, count, "predicted", 0), _true_masks(truth, count)
    if answers.shape != truths.shape:
        raise InputError(
            f"predicted label maps {list(predicted.shape)} and true ones {list(truth.shape)} of {count} classes must have one "
            "size"
        )
    counted: Masks = np.ones_like(truths[:, 0]) if released else np.any(truths, axis=1)
    if not counted.any():
        raise InputError("no pixel of these views has a true class: nothing can be measured")
    answers = answers & counted[:, None]
    right: Masks = np.all(answers == truths, axis=1) if released else np.any(answers & truths, axis=1)
    return {
        "miou": _mean_over_views(_ious(answers, truths), 0.0 if released else None),
        "accuracy": 100 * float(right[counted].mean()),
        "boundary_f": _mean_over_views(_boundary_scores(answers, truths, tolerance), None),
    }


def _ious(answers: Masks, truths: Masks) -> NDArray[np.float64]:
    """float64 [n, C]; NaN where a class is neither predicted nor true."""
    union = (answers | truths).sum(axis=(2, 3))
    shared = (answers & truths).sum(axis=(2, 3))
    return np.divide(shared, union, out=np.full(union.shape, np.nan), where=union > 0)


def _boundary_scores(answers: Masks, truths: Masks, tolerance: float) -> NDArray[np.float64]:
    """float64 [n, C], harmonic mean of the shares of each boundary that lie near the other; NaN where neither has any."""
    count, classes, height, width = answers.shape
    reach = max(1.0, tolerance * math.hypot(height, width))
    scores = np.full((count, classes), np.nan)
    for view in range(count):
        for label in range(classes):
            answer, correct = boundary(answers[view, label]), boundary(truths[view, label])
            if not answer.any() and not correct.any():
                continue
            shares = _share_near(answer, correct, reach), _share_near(correct, answer, reach)
            scores[view, label] = 2 * shares[0] * shares[1] / sum(shares) if sum(shares) > 0 else 0.0
    return scores


def boundary(mask: Masks) -> Masks:
    """The pixels of a mask [H, W] with a neighbour (above, below, left, right) outside of it; the view's edge is none."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _share_near(pixels: Masks, targets: Masks, reach: float) -> float:
    """The share of some pixels within `reach` of one of the others; 0 where either has none."""
    if not pixels.any() or not targets.any():
        return 0.0
    return float((distance_transform_edt(~targets)[pixels] <= reach).mean())


def _mean_over_views(values: NDArray[np.float64], absent: float | None) -> float:
    """Percent. Values [n, C] that are NaN count as `absent`, or if that is None not at all."""
    if absent is not None:
        values = np.where(np.isnan(values), absent, values)
    means = [row[~np.isnan(row)].mean() for row in values if not np.isnan(row).all()]
    return 100 * float(np.mean(means)) if means else float("nan")


def _true_masks(truth: Tensor, count: int) -> Masks:
    if truth.dtype != torch.bool:
        return _masks(truth, count, "true", -1)
    if truth.ndim != 4 or truth.shape[1] != count:
        raise InputError(f"true masks {list(truth.shape)} should be [n, {count}, H, W], one per class")
    return truth.cpu().numpy()


def _masks(labels: Tensor, count: int, kind: str, least: int) -> Masks:
    """bool [n, C, H, W] of label maps [n, H, W]."""
    if labels.ndim != 3 or not labels.numel():
        raise InputError(f"{kind} label maps {list(labels.shape)} should be [n, H, W]")
    if not least <= int(labels.min()) <= int(labels.max()) < count:
        raise InputError(f"{kind} labels {int(labels.min())}..{int(labels.max())}; allowed are {least}..{count - 1}")
    return labels.cpu().numpy()[:, None] == np.arange(count)[:, None, None]
