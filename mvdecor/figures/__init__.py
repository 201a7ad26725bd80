"""Pictures: inputs, matches, embeddings, predictions, coloured meshes. No numbers are computed here."""

from mvdecor.figures.carried import EmbeddedView, carry_colours, plot_carried, position_colours
from mvdecor.figures.glb import write_glb
from mvdecor.figures.images import embedding_colours, plot_channels, plot_matches, plot_predictions
from mvdecor.figures.layout import png_bytes, save_png
from mvdecor.figures.meshes import render_mesh_comparison, render_segmentation, render_shape, turntable_cameras
from mvdecor.figures.palette import BACKGROUND, colours_of, label_palette
from mvdecor.figures.ply import write_ply

__all__ = [
    "BACKGROUND",
    "EmbeddedView",
    "carry_colours",
    "colours_of",
    "embedding_colours",
    "label_palette",
    "plot_carried",
    "plot_channels",
    "plot_matches",
    "plot_predictions",
    "png_bytes",
    "position_colours",
    "render_mesh_comparison",
    "render_segmentation",
    "render_shape",
    "save_png",
    "turntable_cameras",
    "write_glb",
    "write_ply",
]
