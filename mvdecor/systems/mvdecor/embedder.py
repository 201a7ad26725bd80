"""Embeddings of a model averaged onto the faces of shapes and over whole shapes, and how similar a face is to all others."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.engine.device import open_device
from mvdecor.errors import InputError
from mvdecor.lifting.embeddings import FaceMeans, PrincipalColours, principal_colours
from mvdecor.lifting.fill import seen_faces
from mvdecor.networks import load_checkpoint
from mvdecor.recent import Recent
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.predict import embed_views
from mvdecor.systems.mvdecor.setup import make_rendering, place
from mvdecor.views import make_rasterizer
from mvdecor.views.shape_views import ShapeViews

CACHE_SIZE = 8
"""Shapes whose embeddings stay in memory: faces x dimensions x 4 bytes each."""


class Embedder:
    """A pretrained or fine-tuned model, the views it was trained with, and what it sees of each face.

    Args:
        checkpoint: its folder.
        device: auto, cpu or cuda.
        precision: auto, or any of Fabric's.
        seed: of the cameras.
        batch_size: images (views x layers) a pass.

    Attributes:
        weights_sha256: of the model.

    Raises:
        InputError: a checkpoint that cannot be read, or does not say which views it takes.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        device: str = "auto",
        precision: str = "auto",
        seed: int = 0,
        batch_size: int = 16,
    ) -> None:
        self._fabric = open_device(device, precision)
        model, metadata = load_checkpoint(checkpoint, self._fabric.device)
        views = metadata.get("config", {}).get("views")
        if not views:
            raise InputError(f"{checkpoint}: its checkpoint.json does not say which views it takes: train it again")
        self.weights_sha256: str = metadata["weights_sha256"]
        self._model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._config = OmegaConf.create({"views": views})
        self._rasterizer = make_rasterizer(views["rasterizer"], self._fabric.device)
        self._textured = metadata.get("textured")
        self._seed, self._batch_size = seed, batch_size
        self._means: Recent[tuple[Tensor, Tensor]] = Recent(CACHE_SIZE)
        self._colours: PrincipalColours | None = None

    def on_faces(self, shape: Shape) -> Tensor:
        """float32 [F, D], mean embedding of each face over all views; a face that none saw has the nearest seen one's."""
        return self._means.get(shape.id, lambda: self._embed(shape))[0]

    def of_shape(self, shape: Shape) -> Tensor:
        """float32 [D], of unit length: the mean embedding of the faces that some view saw, weighted by their area.

        Faces that coincide (`Shape.twin_groups`) count once.
        """
        means, visible = self._means.get(shape.id, lambda: self._embed(shape))
        counts = visible & (shape.twin_groups == torch.arange(shape.num_faces))
        return normalize((shape.face_areas[counts] @ means[counts].double()).float(), dim=0)

    def colours(self, shape: Shape) -> Tensor:
        """uint8 [F, 3]: the embeddings' principal directions as red, green and blue.

        The directions are those of the first shape asked for, so that one embedding has one colour on all shapes.
        """
        means = self.on_faces(shape)
        if self._colours is None:
            self._colours = principal_colours(means)
        return self._colours(means)

    def similarity(self, query: Shape, face: int, shape: Shape) -> Tensor:
        """float32 [F] in [-1, 1]: cosine between the embedding of one face and those of another shape, or its own."""
        query_embedding = normalize(self.on_faces(query)[face], dim=0)
        return (normalize(self.on_faces(shape), dim=1) @ query_embedding).clamp(-1, 1)

    def _embed(self, shape: Shape) -> tuple[Tensor, Tensor]:
        """What `on_faces` returns, and bool [F], whether some view saw the face; on the CPU."""
        if self._textured is False:  # trained on shading, it never saw an image
            shape = Shape(shape.id, shape.vertices, shape.faces)
        views = self._config.views
        cameras = place(self._config, shape, self._seed)
        shape_views = ShapeViews([shape], lambda _: cameras, self._rasterizer, views.layers, self._fabric.device)
        rendering, means = make_rendering(self._config), FaceMeans(shape_views[0])
        step = max(1, self._batch_size // views.layers)
        for index in torch.arange(len(cameras)).split(step):
            embedded = embed_views(self._fabric, self._model, shape_views, shape_views[0], index.tolist(), rendering)
            means.add(shape_views.views(shape, index.tolist()).face_ids.flatten(0, 1), embedded.flatten(0, 1))
        mean, visible = means.result()
        if not bool(visible.any()):
            raise InputError(f"shape {shape.id}: no view sees any of it; check that the mesh has a surface")
        return mean[seen_faces(shape, visible)].cpu(), visible.cpu()
