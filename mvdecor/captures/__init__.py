"""Posed images: captures, the readers of their formats, and captures rendered of shapes."""

from mvdecor.captures.capture import BACKGROUND_NAME, Capture, CaptureSet, PixelMemory, Pixels, make_capture_set
from mvdecor.captures.colmap import COLMAP
from mvdecor.captures.labelled import frequency_weights, labelled_views
from mvdecor.captures.llff import LLFF
from mvdecor.captures.nsvf import NSVF
from mvdecor.captures.ray_batches import RayBatch, RaySource, bounded_rays, pixel_rays, sample_pixels
from mvdecor.captures.rendered import RenderedCaptures, render_capture
from mvdecor.captures.srn import SRN
from mvdecor.captures.transforms import Transforms

__all__ = [
    "BACKGROUND_NAME",
    "COLMAP",
    "LLFF",
    "NSVF",
    "SRN",
    "Capture",
    "CaptureSet",
    "PixelMemory",
    "Pixels",
    "RayBatch",
    "RaySource",
    "RenderedCaptures",
    "Transforms",
    "bounded_rays",
    "frequency_weights",
    "labelled_views",
    "make_capture_set",
    "pixel_rays",
    "render_capture",
    "sample_pixels",
]
