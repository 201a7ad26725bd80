"""Metrics, their protocols, the ceiling that a set of views allows, and transfer by embedding."""

from mvdecor.evaluation.calibration import Reliability, area_mean, describe_calibration, fit_temperature
from mvdecor.evaluation.ceiling import ceiling_labels, ceiling_table
from mvdecor.evaluation.geometry import Closeness, align, closeness, sample_surface, voxel_iou
from mvdecor.evaluation.images import ViewMetrics, psnr, ssim
from mvdecor.evaluation.keypoints import CorrectKeypoints, pck
from mvdecor.evaluation.masks import mask_iou
from mvdecor.evaluation.metrics import PROTOCOLS, PartMetrics, undetermined_shares
from mvdecor.evaluation.progress import ShapeRecords
from mvdecor.evaluation.rotations import RotationErrors, angle_between, front_back_twin, rotation_errors
from mvdecor.evaluation.transfer import Landings, height_of, land, pixel_centers, summarize_landings
from mvdecor.evaluation.word_metrics import word_figures

__all__ = [
    "PROTOCOLS",
    "Closeness",
    "CorrectKeypoints",
    "Landings",
    "PartMetrics",
    "Reliability",
    "RotationErrors",
    "ShapeRecords",
    "ViewMetrics",
    "align",
    "angle_between",
    "area_mean",
    "ceiling_labels",
    "ceiling_table",
    "closeness",
    "describe_calibration",
    "fit_temperature",
    "front_back_twin",
    "height_of",
    "land",
    "mask_iou",
    "pck",
    "pixel_centers",
    "psnr",
    "rotation_errors",
    "sample_surface",
    "ssim",
    "summarize_landings",
    "undetermined_shares",
    "voxel_iou",
    "word_figures",
]
