"""Posed images: captures, the readers of their formats, and captures rendered of shapes; photographs of single objects."""

from mvdecor.captures.capture import BACKGROUND_NAME, Capture, CaptureSet, PixelMemory, Pixels, make_capture_set
from mvdecor.captures.chosen_views import given_views, measured_views
from mvdecor.captures.cmr import CMR
from mvdecor.captures.coco import CocoPhotographs, StanfordExtra
from mvdecor.captures.colmap import COLMAP
from mvdecor.captures.cub import CUB
from mvdecor.captures.labelled import about_labelled, frequency_weights, labelled_views
from mvdecor.captures.llff import LLFF
from mvdecor.captures.nsvf import NSVF
from mvdecor.captures.pascal3d import Pascal3D
from mvdecor.captures.photo_folder import PhotographFolder
from mvdecor.captures.photographs import Photograph, PhotographSet, load_photographs
from mvdecor.captures.ray_batches import RayBatch, RaySource, bounded_rays, pixel_rays, sample_pixels
from mvdecor.captures.rendered import RenderedCaptures, render_capture
from mvdecor.captures.srn import SRN
from mvdecor.captures.transforms import Transforms

__all__ = [
    "BACKGROUND_NAME",
    "CMR",
    "COLMAP",
    "CUB",
    "LLFF",
    "NSVF",
    "SRN",
    "Capture",
    "CaptureSet",
    "CocoPhotographs",
    "Pascal3D",
    "Photograph",
    "PhotographFolder",
    "PhotographSet",
    "PixelMemory",
    "Pixels",
    "RayBatch",
    "RaySource",
    "RenderedCaptures",
    "StanfordExtra",
    "Transforms",
    "about_labelled",
    "bounded_rays",
    "frequency_weights",
    "given_views",
    "labelled_views",
    "load_photographs",
    "make_capture_set",
    "measured_views",
    "pixel_rays",
    "render_capture",
    "sample_pixels",
]
