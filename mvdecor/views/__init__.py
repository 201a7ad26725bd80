"""Cameras, rasterizers, and what pixels show: views of shapes."""

from mvdecor.views.cache import CachedViews
from mvdecor.views.cameras import Cameras
from mvdecor.views.channels import random_lights, render_channels
from mvdecor.views.placement import close_up_cameras, look_at, place_cameras, sphere_cameras
from mvdecor.views.rasterizers import Rasterizer, make_rasterizer, rasterizer_name
from mvdecor.views.rendering import ForegroundImages, Rendering, jitter_colours, labels_at_pixels
from mvdecor.views.settings import ViewSettings
from mvdecor.views.shape_views import ShapeViews
from mvdecor.views.silhouette import blur_radius, soft_silhouette
from mvdecor.views.views import Surface, Views, barycentric, face_values_at_pixels, surface_of, surface_of_all

__all__ = [
    "CachedViews",
    "Cameras",
    "ForegroundImages",
    "Rasterizer",
    "Rendering",
    "ShapeViews",
    "Surface",
    "ViewSettings",
    "Views",
    "barycentric",
    "blur_radius",
    "close_up_cameras",
    "face_values_at_pixels",
    "jitter_colours",
    "labels_at_pixels",
    "look_at",
    "make_rasterizer",
    "place_cameras",
    "random_lights",
    "rasterizer_name",
    "render_channels",
    "soft_silhouette",
    "sphere_cameras",
    "surface_of",
    "surface_of_all",
]
