"""`WordSegmenter`: labels any mesh by words, without training: views are rendered, and their relevancies vote on the faces."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import trimesh
from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from torch import Tensor

from mvdecor.engine.device import open_device
from mvdecor.errors import InputError
from mvdecor.lifting import FaceVoter, LiftingSettings, fill_unseen
from mvdecor.networks.crop_features import features_of, relevancies
from mvdecor.networks.text_image import TextImage, checked_words
from mvdecor.segmenter import Segmentation, segmentation_of
from mvdecor.settings import Count, Positive, Probability, Quantile, Settings
from mvdecor.shapes import Shape, read_mesh
from mvdecor.shapes.mesh_files import mesh_of
from mvdecor.shapes.up import check_up, upright
from mvdecor.systems.mvdecor.setup import place
from mvdecor.views import ViewSettings, make_rasterizer, render_channels, surface_of

VIEWS = {"count": 24, "size": 224, "distance": [1.6, 1.6], "jitter": 0.0, "channels": ["rgb"]}
"""Of the views where the user says nothing."""


class CropSettings(Settings):
    """The group `crops` of configs/segment.yaml, see `mvdecor.networks.crop_features`.

    Attributes:
        parts: crops side by side along the shorter side of a view, per scale; []: the model's own patches.
        stride: crops begin every side / stride pixels.
        growth: share of a side by which borders move outwards at random.
        over: pixels over which relevancies are stretched: those of the mesh in each view, or in all.
        quantile: of the cosines, from which to the opposite one they are stretched; 0: from least to greatest.
        temperature: of the words' probabilities, in units of relevancy.
    """

    parts: Annotated[list[Count], Field(description="give a list of whole numbers of at least 1, [] for patches")]
    stride: Count
    growth: Probability
    over: Literal["view", "all"]
    quantile: Quantile
    temperature: Positive


class WordSegmenter:
    """Words in the place of a fine-tuned model; `segment` and `read` are those of `Segmenter`.

    Args:
        words: the label names, at least two.
        model: a text-image model.
        crops: see `CropSettings`.
        device, precision: see `Segmenter`; of the rasterizer. The text-image model has a device of its own.
        views: changes of `VIEWS`.
        lifting: changes of `LiftingSettings`; `rule` is `logits`, the mean of the relevancies, unless said otherwise.

    Attributes:
        info, config, label_names: as of `Segmenter`.

    Raises:
        InputError: bad words or settings.
    """

    calibration = None

    def __init__(
        self,
        words: Sequence[str],
        model: TextImage,
        crops: CropSettings,
        *,
        device: str = "auto",
        precision: str = "auto",
        views: Mapping[str, Any] | None = None,
        lifting: Mapping[str, Any] | None = None,
    ) -> None:
        self.label_names = tuple(checked_words(words, model))
        self.model, self.crops = model, crops
        self.fabric = open_device(device, precision)
        self._views = ViewSettings.of({**VIEWS, **(views or {})}, "views")
        self._lifting = LiftingSettings.of({"rule": "logits", **(lifting or {})}, "lifting")
        if self._views.layers > 1:
            raise InputError(
                f"views.layers={self._views.layers}: words look at the outermost surface alone: set views.layers=1"
            )
        groups = {"views": self._views.model_dump(mode="json"), "lifting": self._lifting.model_dump(mode="json")}
        self.config: DictConfig = OmegaConf.create({**groups, "crops": crops.model_dump(mode="json")})
        self.info = {"weights_sha256": model.fingerprint, "label_names": list(self.label_names)}
        self._rasterizer = make_rasterizer(self._views.rasterizer, self.fabric.device)

    def read(self, mesh: Path | str | Shape | trimesh.Trimesh | trimesh.Scene) -> Shape:
        """The mesh with the words as its label names, without labels. Raises InputError if it is bad."""
        if isinstance(mesh, Shape):
            shape = mesh.to("cpu")
        else:
            shape = read_mesh(mesh) if isinstance(mesh, str | Path) else mesh_of(mesh)
        return replace(shape, label_names=self.label_names, face_labels=None)

    @torch.no_grad()
    def segment(
        self,
        mesh: Path | str | Shape | trimesh.Trimesh | trimesh.Scene,
        *,
        seed: int = 0,
        batch_size: int = 16,
        up: str = "y",
    ) -> Segmentation:
        """Label all faces of a mesh, see `Segmenter.segment`; `batch_size` is in views of 16 crops each."""
        check_up(up)
        start = time.perf_counter()
        shape = self.read(mesh)
        normalized = upright(shape, up).normalized()
        cameras = place(self.config, normalized, seed)
        ids, relevancy = self._relevancies(
            normalized.to(self.fabric.device), cameras.to(self.fabric.device), seed, batch_size
        )
        voter = FaceVoter(
            normalized,
            len(self.label_names),
            self._lifting.rule,
            self._lifting.layer_order,
            power=self._lifting.power,
        )
        for view in range(len(ids)):
            voter.add(ids[[view]], relevancy[[view], None] / self.crops.temperature)
        lifting = self._lifting
        filled = fill_unseen(normalized, voter.result(), lifting.fill, lifting.smooth, lifting.crease)
        return segmentation_of(shape, filled, start, None)

    def _relevancies(self, shape: Shape, cameras: Any, seed: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Face ids int32 [N, 1, H, W] of the views, and relevancies float32 [N, C, H, W], means over scales; on the CPU."""
        (views,) = self._rasterizer([shape], [cameras])
        surface = surface_of(shape, views)
        mask = surface.mask[:, 0].cpu()
        rgb = render_channels(shape, views, surface, ("rgb",))[:, 0].permute(0, 2, 3, 1).cpu()
        images = torch.where(mask[..., None], rgb * 255, 255.0).round().byte()
        crops = self.crops
        features = features_of(images, self.model, crops.parts, crops.stride, crops.growth, seed, 16 * batch_size)
        text = self.model.text_features(self.label_names)
        return views.face_ids.cpu(), relevancies(features, text, crops.over, mask, crops.quantile).mean(dim=1)
