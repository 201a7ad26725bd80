"""Is a confidence of 0.8 right four times in five? Reliability curve, expected calibration error, temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import cross_entropy

from mvdecor.errors import InputError
from mvdecor.lifting import uncertain_regions
from mvdecor.shapes.shape import UNDETERMINED, Shape

BINS = 15
"""Bins of equal width over [0, 1] (Guo et al., ICML 2017)."""
VISITED = 5
"""Regions of each shape that a person is taken to look at."""
TEMPERATURES = (0.05, 20.0)
"""Range that a temperature is looked for in."""


class Reliability:
    """Collects, shape by shape, how often labels of a confidence are right.

    Faces count by their exact share of the shape's area, each shape as much as any other; undetermined faces do not count.
    Of bin b the mean confidence $c_b$ and the accuracy $a_b$ are taken over its share of the area $w_b$. The expected
    calibration error is $\\sum_b w_b |c_b - a_b|$ (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, with
    areas in place of counts).
    """

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._disagreement: dict[str, float] = {}
        self._points: dict[str, dict[str, float | None]] = {}
        self._regions: dict[
            str, np.ndarray
        ] = {}  # [n, 3]: area, wrong area as expected and as it is; shares of the shape

    def add(self, shape: Shape, predicted: Tensor, confidence: Tensor, disagreement: Tensor) -> dict:
        """Count one shape; gives its record, plain values, which `restore` takes.

        Args:
            shape: a shape with face labels and some area.
            predicted: int64 [F].
            confidence: float [F], in [0, 1].
            disagreement: float [F], in [0, 1].

        Raises:
            InputError: a confidence is out of range or not a number.
        """
        assert shape.face_labels is not None, "only labelled shapes are measured"
        truth = shape.face_labels.cpu().numpy()
        confident = confidence.double().cpu().numpy()
        if not (np.isfinite(confident).all() and confident.min() >= 0 and confident.max() <= 1 + 1e-5):
            raise InputError(
                f"shape {shape.id}: confidences span {confident.min()}..{confident.max()}; allowed is 0..1"
            )
        areas = shape.face_areas.double().cpu().numpy()
        labelled = truth != UNDETERMINED
        weight = np.where(labelled, areas, 0.0) / max(areas[labelled].sum(), 1e-300)
        right = predicted.cpu().numpy() == truth
        bins = np.minimum((confident * BINS).astype(np.int64), BINS - 1)
        columns = (weight, weight * confident, weight * right)
        sums = np.stack([np.bincount(bins, weights=x, minlength=BINS) for x in columns], axis=1)
        record = {"bins": sums.tolist(), "disagreement": area_mean(shape, disagreement), "regions": []}
        if labelled.any():
            rows = (
                [x.area, x.wrong, float((weight * ~right)[x.faces].sum())] for x in uncertain_regions(shape, confidence)
            )
            record["regions"] = list(islice(rows, VISITED))
        unsure = {"one_minus_confidence": -confident, "disagreement": disagreement.double().cpu().numpy()}
        record["points"] = {
            name: told_apart(values, weight * ~right, weight * right) for name, values in unsure.items()
        }
        self.restore(shape.id, record)
        return record

    def restore(self, id: str, record: dict) -> None:
        """Count a shape by what `add` gave for it, perhaps in another process."""
        self._sums[id] = np.array(record["bins"])
        self._disagreement[id] = record["disagreement"]
        self._regions[id] = np.array(record["regions"], dtype=np.float64).reshape(-1, 3)
        self._points[id] = record["points"]

    def of_shape(self, id: str) -> dict[str, float]:
        """`confidence`, `accuracy` and `disagreement` of a shape: means over its area, percent."""
        _, confidence, right = self._sums[id].sum(axis=0).tolist()
        return {"confidence": 100 * confidence, "accuracy": 100 * right, "disagreement": 100 * self._disagreement[id]}

    def result(self) -> dict:
        """All figures so far, ready for JSON.

        Returns:
            a dict of `ece`, `confidence` (mean), `accuracy` (percent; None if no area was counted), `bins` (those that hold
            any area: `confidence`, `accuracy` and `share` of the area, percent), `rank_correlation` (Spearman's, over
            shapes, between the share of the area that is wrong and `one_minus_confidence`, and `disagreement`; None for
            fewer than three shapes or where all are equal), `points` (by the same names `told_apart` of the wrong and the
            right points of a shape, percent, mean over the shapes that have both; None for none), and `regions` (see
            `_of_regions`).
        """
        counted = {id: sums for id, sums in sorted(self._sums.items()) if sums.sum() > 0}
        if not counted:
            return {
                "ece": None,
                "confidence": None,
                "accuracy": None,
                "bins": [],
                "rank_correlation": {},
                "regions": None,
            }
        total = 100 * sum(counted.values(), np.zeros((BINS, 3))) / len(counted)
        _, confidence, right = total.T
        shapes = [self.of_shape(id) for id in counted]
        wrong = [100 - shape["accuracy"] for shape in shapes]
        rank = {
            "one_minus_confidence": rank_correlation([100 - shape["confidence"] for shape in shapes], wrong),
            "disagreement": rank_correlation([shape["disagreement"] for shape in shapes], wrong),
        }
        return {
            "ece": float(np.abs(confidence - right).sum()),
            "confidence": float(confidence.sum()),
            "accuracy": float(right.sum()),
            "bins": [
                {"confidence": 100 * c / w, "accuracy": 100 * r / w, "share": w} for w, c, r in total.tolist() if w > 0
            ],
            "rank_correlation": rank,
            "points": {name: self._of_points(name, list(counted)) for name in rank},
            "regions": self._of_regions(list(counted)),
        }

    def _of_points(self, name: str, ids: Sequence[str]) -> float | None:
        shares = [share for id in ids if (share := self._points[id][name]) is not None]
        return 100 * float(np.mean(shares)) if shares else None

    def _of_regions(self, ids: Sequence[str]) -> dict[str, float | None]:
        """What a person finds who visits the first `VISITED` of the `uncertain_regions` of each shape.

        Returns:
            percent, means over the shapes: `first_wrong`, how much of the first region is wrong; `area`, of all visited ones;
            `found`, the share of the shape's wrong area that is in them (None where nothing is wrong). `rank_correlation`
            (Spearman's) over all visited regions between the wrong area that is expected and the true one.
        """
        regions = [self._regions[id] for id in ids]
        wrong = {id: 1 - self.of_shape(id)["accuracy"] / 100 for id in ids}
        found = [100 * self._regions[id][:, 2].sum() / wrong[id] for id in ids if wrong[id] > 1e-9]
        return {
            "first_wrong": float(np.mean([100 * rows[0, 2] / rows[0, 0] for rows in regions])),
            "area": float(np.mean([100 * rows[:, 0].sum() for rows in regions])),
            "found": float(np.mean(found)) if found else None,
            "rank_correlation": rank_correlation(*(np.concatenate(regions)[:, k].tolist() for k in (1, 2))),
        }


def told_apart(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> float | None:
    """Probability that a value drawn from the weights `first` is larger than one drawn from `second` (AUROC), ties half.

    Args:
        values, first, second: float64 [F].

    Returns:
        in [0, 1]; None if either has no weight.
    """
    if not (first.sum() > 0 and second.sum() > 0):
        return None
    place = np.unique(values, return_inverse=True)[1]
    a, b = (np.bincount(place, weights / weights.sum()) for weights in (first, second))
    return float((a * (np.cumsum(b) - b / 2)).sum())


def area_mean(shape: Shape, values: Tensor) -> float:
    """Mean of float [F] over the shape's area; over its faces if it has none."""
    areas = shape.face_areas.double().cpu()
    if not float(areas.sum()) > 0:
        areas = torch.ones_like(areas)
    return float((areas * values.double().cpu()).sum() / areas.sum())


def rank_correlation(uncertainty: Sequence[float], error: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three values, or where either does not vary."""
    if len(error) < 3 or len(set(uncertainty)) == 1 or len(set(error)) == 1:
        return None
    return float(spearmanr(uncertainty, error).statistic)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T for which softmax(logits / T) has the least cross-entropy, within `TEMPERATURES`.

    Args:
        logits: float [P, C].
        labels: int64 [P], in [0, C).
    """
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logits / math.exp(log_temperature), labels))

    low, high = (math.log(t) for t in TEMPERATURES)
    return math.exp(float(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def describe_calibration(figures: dict) -> str:
    """`calibration` of metrics.json in a line or two: the confidence, the share of the votes, the unfamiliar shapes."""
    ranked_by = {"one_minus_confidence": "1 - itself", "disagreement": "the views' disagreement"}
    lines = []
    for name, row in (("confidence", figures), ("share of the votes", figures["vote_share"])):
        if row["ece"] is None:
            continue
        line = (
            f"{name}: mean {row['confidence']:.1f}, accuracy {row['accuracy']:.1f}, calibration error {row['ece']:.1f}"
        )
        rank = {key: value for key, value in row["rank_correlation"].items() if value is not None}
        words = ", ".join(f"{ranked_by[key]} {value:.2f}" for key, value in rank.items())
        shares = {key: value for key, value in row["points"].items() if value is not None}
        lines.append(line + (f"; rank correlation of a shape's error with {words}" if words else ""))
        if shares:
            words = ", ".join(f"{ranked_by[key]} in {value:.0f} %" for key, value in shares.items())
            lines[-1] += f"; larger at a wrong point than at a right one: {words}"
    if regions := figures.get("regions"):
        found = "none" if regions["found"] is None else f"{regions['found']:.0f} %"
        lines.append(
            f"the {VISITED} least sure regions of each shape: {regions['area']:.0f} % of its area, {found} of what is wrong; "
            f"{regions['first_wrong']:.0f} % of the first one is wrong"
        )
    if (unfamiliar := figures.get("unfamiliar")) and unfamiliar["shapes"]:
        others_accuracy = "no others" if unfamiliar["others"] is None else f"{unfamiliar['others']:.1f} of the others"
        lines.append(
            f"{unfamiliar['shapes']} shapes unlike the labelled ones: accuracy {unfamiliar['accuracy']:.1f}, {others_accuracy}"
        )
    return "\n".join(lines)
