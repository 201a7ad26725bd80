"""Metrics, their protocols, the ceiling that a set of views allows, and transfer by embedding."""

from mvdecor.evaluation.calibration import Reliability, area_mean, describe_calibration, fit_temperature
from mvdecor.evaluation.ceiling import ceiling_labels, ceiling_table
from mvdecor.evaluation.images import ViewMetrics, psnr, ssim
from mvdecor.evaluation.metrics import PROTOCOLS, PartMetrics, undetermined_shares
from mvdecor.evaluation.progress import ShapeRecords
from mvdecor.evaluation.transfer import Landings, height_of, land, pixel_centers, summarize_landings

__all__ = [
    "PROTOCOLS",
    "Landings",
    "PartMetrics",
    "Reliability",
    "ShapeRecords",
    "ViewMetrics",
    "area_mean",
    "ceiling_labels",
    "ceiling_table",
    "describe_calibration",
    "fit_temperature",
    "height_of",
    "land",
    "pixel_centers",
    "psnr",
    "ssim",
    "summarize_landings",
    "undetermined_shares",
]
