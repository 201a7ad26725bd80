"""Colours of the viewer, one per corner of each face, and the legend."""

from __future__ import annotations

from html import escape

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray

from mvdecor.apps.viewer.html import rows_of
from mvdecor.apps.viewer.session import Session
from mvdecor.errors import InputError
from mvdecor.figures import colours_of, label_palette
from mvdecor.figures.meshes import SURE_COLOUR, UNSURE_COLOUR, confidence_colours
from mvdecor.figures.palette import LIGHT_GREY
from mvdecor.percent import percent
from mvdecor.shapes import Shape
from mvdecor.shapes.sampling import sample_texture
from mvdecor.views.channels import GREY

MODES = ("texture", "labels", "prediction", "confidence", "error", "embedding", "similarity")
RIGHT_COLOUR, WRONG_COLOUR = (190, 220, 190), (214, 32, 32)
SIMILARITY = "viridis"

Corners = NDArray[np.uint8]
"""uint8 [F, 3, 3], RGB of each corner of each face."""


def corner_colours(session: Session, id: str, mode: str, query: tuple[str, int] | None = None) -> Corners:
    """The colours of a shape.

    Args:
        session: where they come from.
        id: the shape.
        mode: one of `MODES`.
        query: shape and face that `similarity` is to.

    Raises:
        InputError: what is asked for is not there.
    """
    shape = session.shape(id)
    if mode == "texture":
        return texture_colours(shape)
    if mode == "labels":
        labels = session.labels_of(id)
        return label_colours(session, np.full(shape.num_faces, -1) if labels is None else labels)
    elif mode == "prediction":
        return label_colours(session, session.predicted_labels(id))
    elif mode == "confidence":
        colours = confidence_colours(session.prediction(id).confidence)
    elif mode == "error":
        labels = session.labels_of(id)
        if labels is None or not (labels >= 0).any():
            raise InputError(f"shape {id} has no labels that a prediction could be compared with")
        wrong = session.predicted_labels(id) != labels
        colours = np.array([RIGHT_COLOUR, WRONG_COLOUR], dtype=np.uint8)[wrong.astype(np.int64)]
        colours[labels < 0] = LIGHT_GREY
    elif mode == "embedding":
        colours = session.embedder().colours(shape).numpy()
    elif query is None:
        return texture_colours(shape)
    else:
        values = session.embedder().similarity(session.shape(query[0]), query[1], shape).clamp(0, 1)
        colours = (255 * colormaps[SIMILARITY](values.numpy())[:, :3]).round().astype(np.uint8)
    return colours[:, None].repeat(3, axis=1)


def texture_colours(shape: Shape) -> Corners:
    """The texture at each corner, or light grey without one. An image on large faces is only hinted at."""
    if shape.texture is None:
        return np.full((shape.num_faces, 3, 3), round(255 * GREY), dtype=np.uint8)
    images = shape.texture.image_ids[:, None].expand(-1, 3)
    # not quite at the corner: there a texel of another part of the image may be blended in
    uv = torch.lerp(shape.texture.uv, shape.texture.uv.mean(dim=1, keepdim=True), 0.1)
    return (255 * sample_texture(shape.texture, images, uv)).round().byte().numpy()


def legend(session: Session, id: str, mode: str) -> str:
    """What the colours mean, as HTML; of labels and predictions with the share of the shape's area."""
    if mode in ("labels", "prediction"):
        palette = label_palette(len(session.label_names))
        labels = session.labels_of(id) if mode == "labels" else session.predicted_labels(id)
        shares = [percent(x) for x in areas_by_label(session.shape(id), labels, len(session.label_names))]
        rows = [(tuple(palette[k].tolist()), f"{name} {shares[k]}") for k, name in enumerate(session.label_names)]
        return rows_of([*rows, (LIGHT_GREY, f"no label {shares[-1]}")])
    if mode == "confidence":
        return rows_of([(SURE_COLOUR, "sure"), (UNSURE_COLOUR, "unsure")])
    if mode == "error":
        return rows_of([(RIGHT_COLOUR, "as labelled"), (WRONG_COLOUR, "not as labelled"), (LIGHT_GREY, "no label")])
    if mode == "similarity":
        steps = [tuple(round(255 * c) for c in colormaps[SIMILARITY](x)[:3]) for x in (1.0, 0.5, 0.0)]
        names = ["cosine 1", "0.5", "0 or less"]
        return rows_of([*zip(steps, names, strict=True)])
    notes = {"embedding": "principal directions of the embeddings as red, green, blue"}
    return f"<small>{escape(notes[mode])}</small>" if mode in notes else ""


def areas_by_label(shape: Shape, labels: NDArray[np.int64] | None, count: int) -> NDArray[np.float64]:
    """float64 [count + 1], the share of the area of each label, and last of no label; twins count once."""
    areas = shape.face_areas.double().numpy() * (shape.twin_groups.numpy() == np.arange(shape.num_faces))
    labels = np.full(shape.num_faces, -1) if labels is None else labels
    return np.bincount(np.where(labels < 0, count, labels), weights=areas, minlength=count + 1) / areas.sum()


def label_colours(session: Session, labels: NDArray[np.int64]) -> Corners:
    """The colours of labels, int64 [F], -1 = none.

    Raises:
        InputError: one has no name.
    """
    if len(labels) and labels.max() >= len(session.label_names):
        raise InputError(
            f"label {labels.max()} has no name: the palette is {', '.join(session.label_names) or 'empty'}"
        )
    return colours_of(labels, label_palette(len(session.label_names)))[:, None].repeat(3, axis=1)
