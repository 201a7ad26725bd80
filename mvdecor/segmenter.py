"""`Segmenter`: labels any mesh with a checkpoint; needs no data set and no configuration."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import trimesh
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from mvdecor.engine.device import open_device
from mvdecor.errors import InputError
from mvdecor.lifting import (
    Calibration,
    FaceLabels,
    LiftingSettings,
    agree_in_polygons,
    mean_in_polygons,
    one_per_polygon,
)
from mvdecor.networks import Model, load_checkpoint
from mvdecor.settings import Settings
from mvdecor.shapes import Shape, read_mesh
from mvdecor.shapes.mesh_files import mesh_of
from mvdecor.shapes.up import check_up, upright
from mvdecor.systems.mvdecor.check import check_labels_of
from mvdecor.systems.mvdecor.predict import predict_faces
from mvdecor.systems.mvdecor.setup import make_rendering, place
from mvdecor.systems.mvdecor.trained import check_sight
from mvdecor.views import ViewSettings, make_rasterizer
from mvdecor.views.shape_views import ShapeViews

GROUPS: dict[str, type[Settings]] = {"views": ViewSettings, "lifting": LiftingSettings}


@dataclass(frozen=True)
class Segmentation:
    """Parts of a mesh.

    Attributes:
        shape: the mesh as it was given (not normalised), with the model's `label_names`; no labels of its own.
        labels: int64 [F], on the CPU; `labels[i]` is the part of `shape.faces[i]`, which is face i of the file. The
            triangles of a larger polygon agree; `of_file` has one label per polygon.
        confidence: float32 [F], in [0, 1], the label's calibrated probability by the mean of the views that see its face
            (docs/method.md); a filled face has its source's.
        filled: bool [F], True where no view saw the face and the label is a copy of another's.
        coverage: area of the seen faces as a share of the mesh's, in [0, 1].
        seconds: time that it took.
        disagreement: float32 [F], in [0, 1], share of the views that see a face and by themselves would label it otherwise;
            a filled face has its source's.
        familiarity: about 1 for a mesh like those that the model was trained on, less for one that is not; None where the
            checkpoint does not say (see `mvdecor.lifting.Calibration`).
    """

    shape: Shape
    labels: Tensor
    confidence: Tensor
    filled: Tensor
    coverage: float
    seconds: float
    disagreement: Tensor
    familiarity: float | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """Name of each label."""
        return self.shape.label_names

    @property
    def names(self) -> list[str]:
        """Name of each face's part."""
        return [self.label_names[k] for k in self.labels.tolist()]

    def of_file(self, values: Tensor) -> Tensor:
        """Values [F] (`labels`, `confidence`, ...) as one for each face of the file, where some were cut into triangles."""
        return one_per_polygon(values, self.shape.polygons)

    def low_confidence(self, threshold: float = 0.5) -> float:
        """Share of the file's faces whose confidence is below `threshold`, in [0, 1]."""
        return float((self.of_file(self.confidence) < threshold).float().mean())


class Segmenter:
    """A fine-tuned model with everything that its checkpoint says of how to use it; see `mvdecor.load`.

    Attributes:
        model: the network and its head.
        info: what `checkpoint.json` says.
        label_names: name of each label.
        config: `views` and `lifting` as they are used.
        calibration: of its confidence.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        *,
        device: str = "auto",
        precision: str = "auto",
        views: Mapping[str, Any] | None = None,
        lifting: Mapping[str, Any] | None = None,
    ) -> None:
        self.fabric = open_device(device, precision)
        model, self.info = load_checkpoint(checkpoint, self.fabric.device)
        _check_segments(model, self.info, checkpoint)
        self.calibration = Calibration.of(self.info, checkpoint)
        self.config = _config(self.info, checkpoint, {"views": views or {}, "lifting": lifting or {}})
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.label_names = tuple(self.info["label_names"])
        self._rasterizer = make_rasterizer(self.config.views.rasterizer, self.fabric.device)

    def segment(
        self,
        mesh: Path | str | Shape | trimesh.Trimesh | trimesh.Scene,
        *,
        seed: int = 0,
        batch_size: int = 16,
        up: str = "y",
    ) -> Segmentation:
        """Label all faces of a mesh. Equal arguments give equal labels, whatever was segmented before.

        Args:
            mesh: a file (see `mvdecor.shapes.read_mesh`), or a mesh in any frame and scale. Faces keep their order.
            seed: of the cameras.
            batch_size: images a pass of the network.
            up: the axis that points up: y, z, x, -y, -z or -x. The mesh is turned for the views alone.

        Raises:
            InputError: the file or mesh is bad, or has no texture where the model needs one; unknown `up`.
        """
        check_up(up)
        start = time.perf_counter()
        shape = self.read(mesh)
        normalized = upright(shape, up).normalized()
        cameras = place(self.config, normalized, seed)
        shape_views = ShapeViews(
            [normalized], lambda _: cameras, self._rasterizer, self.config.views.layers, self.fabric.device
        )
        rendering = make_rendering(self.config)
        settings = {**self.config.lifting, "batch_size": batch_size, "temperature": self.calibration.temperature}
        prediction = predict_faces(self.fabric, self.model, shape_views, shape_views[0], rendering, **settings)
        return segmentation_of(shape, prediction, start, self.calibration.familiarity(prediction.evidence))

    @property
    def looks_at_textures(self) -> bool:
        """Whether the colours of a mesh's surface change its labels: a model of shading or of geometry never saw any."""
        return "rgb" in self.model.channels and self.info.get("textured") is not False

    def read(self, mesh: Path | str | Shape | trimesh.Trimesh | trimesh.Scene) -> Shape:
        """The mesh as the model takes it: the model's label names, no labels, a texture only if it uses textures.

        Materials and images of a file are not opened by a model that does not use them: they may be missing.

        Raises:
            InputError: the file or mesh is bad, or has no texture where the model needs one.
        """
        size = self.info["config"].get("data", {}).get("texture_size")
        if isinstance(mesh, Shape):
            shape, name = mesh.to("cpu"), f"shape {mesh.id}"
        elif isinstance(mesh, str | Path):
            shape, name = read_mesh(mesh, size, textures=self.looks_at_textures), str(mesh)
        else:
            shape = mesh_of(mesh, texture_size=size)
            name = f"shape {shape.id}"
        if self.looks_at_textures and self.info.get("textured") and shape.texture is None:
            raise InputError(
                f"{name}: has no texture, and this model was trained on the colours of textured shapes: give a mesh with "
                "an image or with colours of its vertices, or a model trained without textures"
            )
        texture = shape.texture if self.looks_at_textures else None
        return replace(shape, label_names=self.label_names, face_labels=None, texture=texture)


def segmentation_of(shape: Shape, prediction: FaceLabels, start: float, familiarity: float | None) -> Segmentation:
    """The parts of a mesh by the votes on its faces; the triangles of a polygon are made to agree.

    Args:
        shape: the mesh as it was given.
        prediction: on any device.
        start: `time.perf_counter` when the work began.
        familiarity: see `Segmentation`.
    """
    assert prediction.share is not None and prediction.disagreement is not None
    labels, confidence, filled = (x.cpu() for x in (prediction.labels, prediction.confidence, prediction.filled))
    disagreement = prediction.disagreement.cpu()
    if shape.polygons is not None:
        before, areas, polygons = labels, shape.face_areas, shape.polygons
        labels, _ = agree_in_polygons(before, prediction.share.cpu(), areas, polygons)
        confidence = mean_in_polygons(torch.where(labels == before, confidence, 0.0), areas, polygons)
        disagreement = mean_in_polygons(disagreement, areas, polygons)
    seconds = time.perf_counter() - start
    return Segmentation(shape, labels, confidence, filled, prediction.coverage, seconds, disagreement, familiarity)


def _check_segments(model: Model, metadata: Mapping[str, Any], checkpoint: Path | str) -> None:
    """Raise InputError for a checkpoint that cannot label anything."""
    check_labels_of(metadata, checkpoint)
    missing = [key for key in ("views", "lifting") if not metadata.get("config", {}).get(key)]
    if missing or len(metadata.get("label_names", [])) != model.num_labels:
        raise InputError(
            f"{checkpoint}: its checkpoint.json does not say which {' and '.join(missing) or 'labels'} it takes: give a "
            "checkpoint that scripts/finetune.py wrote"
        )


def _config(
    metadata: Mapping[str, Any], checkpoint: Path | str, changes: Mapping[str, Mapping[str, Any]]
) -> DictConfig:
    """`views` and `lifting` of the checkpoint with the changes of the user; what an older checkpoint lacks, by default."""
    merged = {}
    for group, kind in GROUPS.items():
        recorded = {key: value for key, value in metadata["config"][group].items() if key in kind.model_fields}
        kind.of({**recorded, **changes[group]}, group)
        merged[group] = {**kind().model_dump(mode="json"), **recorded, **changes[group]}
    check_sight(metadata, checkpoint, merged["views"])
    return OmegaConf.create(merged)
