"""Pictures: inputs, matches, embeddings, predictions, coloured meshes. No numbers are computed here."""

from mvdecor.figures.carried import EmbeddedView, carry_colours, draw_carried, position_colours
from mvdecor.figures.glb import write_glb
from mvdecor.figures.images import draw_channels, draw_matches, draw_predictions, embedding_colours
from mvdecor.figures.layout import png_bytes, save_png
from mvdecor.figures.meshes import draw_mesh_comparison, draw_segmentation, render_shape, turntable_cameras
from mvdecor.figures.palette import BACKGROUND, colours_of, label_palette
from mvdecor.figures.ply import write_ply

__all__ = [
    "BACKGROUND",
    "EmbeddedView",
    "carry_colours",
    "colours_of",
    "draw_carried",
    "draw_channels",
    "draw_matches",
    "draw_mesh_comparison",
    "draw_predictions",
    "draw_segmentation",
    "embedding_colours",
    "label_palette",
    "png_bytes",
    "position_colours",
    "render_shape",
    "save_png",
    "turntable_cameras",
    "write_glb",
    "write_ply",
]
