"""From a model and the views of a shape to embeddings of its pixels, and to labels on its faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.lifting import FaceLabels, FaceVoter, fill_unseen
from mvdecor.lifting.settings import CREASE
from mvdecor.networks import Model
from mvdecor.shapes import Shape
from mvdecor.views import Rendering, Views, surface_of
from mvdecor.views.shape_views import ShapeViews


@torch.no_grad()
def predict_faces(
    fabric: Fabric,
    model: Model,
    shape_views: ShapeViews,
    shape: Shape,
    rendering: Rendering,
    *,
    batch_size: int = 16,
    rule: str = "entropy",
    power: float = 20.0,
    layer_order: str = "all",
    fill: str = "nearest",
    smooth: float = 0.0,
    crease: float = CREASE,
    temperature: float = 1.0,
) -> FaceLabels:
    """Label all views of a shape with the network and let their pixels vote on its faces.

    Args:
        fabric: precision.
        model: with a head, in evaluation mode, on the device of the views.
        shape_views: has the views of the shape.
        shape: on that device.
        rendering: how views become the model's input.
        batch_size: images (views x layers) a pass.
        rule, power, layer_order: see `mvdecor.lifting.FaceVoter`.
        fill, smooth, crease: see `mvdecor.lifting.fill_unseen`.
        temperature: of the confidence (`Calibration`); the labels do not depend on it.
    """
    assert model.num_labels is not None, "predict_faces needs a model with a head"
    voter = FaceVoter(
        shape,
        model.num_labels,
        rule,  # type: ignore[arg-type]
        layer_order,  # type: ignore[arg-type]
        shape_views.layers,
        power,
        temperature=temperature,
    )
    for views, logits in predict_views(fabric, model, shape_views, shape, rendering, batch_size):
        voter.add(views.face_ids, logits)
    return fill_unseen(shape, voter.result(), fill, smooth, crease)  # type: ignore[arg-type]


@torch.no_grad()
def predict_views(
    fabric: Fabric,
    model: Model,
    shape_views: ShapeViews,
    shape: Shape,
    rendering: Rendering,
    batch_size: int = 16,
    index: Sequence[int] | None = None,
) -> Iterator[tuple[Views, Tensor]]:
    """The views of a shape at `index` (all if None), some at a time, with their logits [n, L, C, H, W]; the other arguments
    are those of `predict_faces`."""
    views = shape_views.views(shape, index)
    step = max(1, batch_size // views.layers)
    for start in range(0, len(views), step):
        part = views[slice(start, start + step)]
        images = rendering(shape, part, surface_of(shape, part))
        with fabric.autocast():
            logits = model(images.flatten(0, 1))
        yield part, logits.unflatten(0, images.shape[:2])


@torch.no_grad()
def embed_views(
    fabric: Fabric, model: Model, shape_views: ShapeViews, shape: Shape, index: Sequence[int], rendering: Rendering
) -> Tensor:
    """Embeddings of the views of a shape at `index`, in one pass: float32 [n, L, D, H, W], of unit length along D.

    Args:
        fabric: precision.
        model: in evaluation mode, on the device of the views; a head is not used.
        shape_views: has the views of the shape.
        shape: on that device.
        index: numbers of n views.
        rendering: how views become the model's input.
    """
    views = shape_views.views(shape, index)
    images = rendering(shape, views, surface_of(shape, views))
    with fabric.autocast():
        embeddings = model.embed(images.flatten(0, 1))
    return normalize(embeddings.float(), dim=1).unflatten(0, images.shape[:2])
