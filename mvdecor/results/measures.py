"""What of a finished run a table can show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """One figure of metrics.json.

    Attributes:
        title: heading of its columns.
        note: what it is, in words.
        of: takes it from metrics.json; None where a run has none.
    """

    title: str
    note: str
    of: Callable[[Mapping[str, Any]], float | None]


def _figure(*keys: str, factor: float = 1.0) -> Callable[[Mapping[str, Any]], float | None]:
    """The figure at a path of keys, times a factor; None where a run of another system, or of an older revision, has none."""

    def value(metrics: Mapping[str, Any]) -> float | None:
        """See `Measure.of`."""
        figure: Any = metrics
        for key in keys:
            figure = figure.get(key) if isinstance(figure, Mapping) else None
        return None if figure is None else factor * figure

    return value


def _seconds_per_shape(metrics: Mapping[str, Any]) -> float | None:
    cost, shapes = metrics.get("cost"), metrics["split"]["ids"]
    return cost["cpu_seconds"] / len(shapes) if cost and shapes else None


MEASURES = {
    "part_miou": Measure("part mIoU", "part mIoU in percent", lambda metrics: metrics["part_miou"]),
    "shape_miou": Measure("shape mIoU", "shape mIoU in percent", lambda metrics: metrics["shape_miou"]),
    "label_miou": Measure(
        "label mIoU", "label mIoU of views in percent, pooled, without background", _figure("images", "labels", "miou")
    ),
    "label_miou_with_background": Measure(
        "label mIoU with background",
        "the same with background",
        _figure("images", "labels", "miou_with_background"),
    ),
    "psnr": Measure("PSNR", "PSNR of rendered views in dB", _figure("images", "psnr")),
    "rotation": Measure("rotation", "median rotation error in degrees", _figure("rotation", "median")),
    "rotation_below_30": Measure(
        "below 30°",
        "cameras less than 30° off, in percent",
        _figure("rotation", "share_below_30", factor=100.0),
    ),
    "swaps": Measure(
        "swaps",
        "cameras with front and back swapped, in percent",
        _figure("rotation", "front_back_swaps", factor=100.0),
    ),
    "mask_iou": Measure("mask IoU", "mean mask IoU in percent", _figure("mask_iou", factor=100.0)),
    "pck": Measure(
        "PCK@0.1",
        "PCK@0.1 of projected vertices in percent",
        _figure("pck", "projected", "0.1", factor=100.0),
    ),
    "picture_miou": Measure(
        "label mIoU on pictures",
        "mIoU in percent of part labels that come from the template, on pictures",
        _figure("labels", "miou", factor=100.0),
    ),
    "chamfer": Measure(
        "Chamfer", "Chamfer distance in percent of the radius", _figure("surface", "chamfer", factor=100.0)
    ),
    "word_miou": Measure(
        "mIoU of words", "mIoU in percent over words and views, absent words left out", _figure("miou")
    ),
    "word_accuracy": Measure("accuracy of words", "pixels with the right word, in percent", _figure("accuracy")),
    "boundary_f": Measure("boundary F", "boundary F of words in percent", _figure("boundary_f")),
    "calibration_error": Measure(
        "calibration error", "expected calibration error of the confidence in percent", _figure("calibration", "ece")
    ),
    "told_apart": Measure(
        "wrong points told apart",
        "pairs of a wrong and a right point of a shape, in percent, of which the wrong one is less sure",
        _figure("calibration", "points", "one_minus_confidence"),
    ),
    "seconds_per_shape": Measure(
        "seconds per shape", "processor time of the evaluation per test shape", _seconds_per_shape
    ),
}
"""By the name that `measures` of scripts/table.py knows."""
