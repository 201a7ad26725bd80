"""Metrics, their protocols, the ceiling that a set of views allows, transfer by embedding, and tables of results."""

from mvdecor.evaluation.calibration import Reliability, area_mean, describe_calibration, fit_temperature
from mvdecor.evaluation.ceiling import ceiling_labels, ceiling_table
from mvdecor.evaluation.metrics import PROTOCOLS, PartMetrics, undetermined_shares
from mvdecor.evaluation.progress import ShapeRecords
from mvdecor.evaluation.table import evaluation_summary, format_table, occurrence, summarize
from mvdecor.evaluation.transfer import Landings, height_of, land, pixel_centers, summarize_landings

__all__ = [
    "PROTOCOLS",
    "Landings",
    "PartMetrics",
    "Reliability",
    "ShapeRecords",
    "area_mean",
    "ceiling_labels",
    "ceiling_table",
    "describe_calibration",
    "evaluation_summary",
    "fit_temperature",
    "format_table",
    "height_of",
    "land",
    "occurrence",
    "pixel_centers",
    "summarize",
    "summarize_landings",
    "undetermined_shares",
]
