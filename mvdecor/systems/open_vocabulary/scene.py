"""A fitted scene that can be asked for words: its field, the crops of its views, and answers without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.captures import Capture, make_capture_set
from mvdecor.errors import InputError
from mvdecor.fields import GridField, MLPField
from mvdecor.fields.radiance import SceneSpace
from mvdecor.fields.radiance_file import load_radiance
from mvdecor.fields.strongest import StrongestSamples, strongest_samples
from mvdecor.imports import make_object
from mvdecor.lifting.scene_vote import gather_scores
from mvdecor.networks.crop_features import CropFeatures, features_of, relevancies
from mvdecor.networks.text_image import TextImage, checked_words
from mvdecor.shapes import Shape
from mvdecor.systems.scene_fit import chosen_capture


@dataclass(frozen=True)
class Scene:
    """A scene.

    Attributes:
        cfg: the configuration.
        capture: its views.
        field, space, record: its radiance field, see `load_radiance`.
        model: of text and images.
        mesh: of the scene, where the captures know it (made-up rooms, rendered shapes).
    """

    cfg: DictConfig
    capture: Capture
    field: GridField | MLPField
    space: SceneSpace
    record: dict[str, Any]
    model: TextImage
    mesh: Shape | None = None

    @staticmethod
    def of(cfg: DictConfig, device: torch.device | str = "cpu") -> Scene:
        """The scene of `cfg.capture`, whose field is `cfg.checkpoint`.

        Raises:
            InputError: the field is of another capture, or of views that this one does not have.
        """
        captures = make_capture_set(cfg.capture)
        field, space, record = load_radiance(cfg.checkpoint, device)
        capture = captures.load(chosen_capture(captures, cfg.id))
        if record["capture"] != capture.id or max(record["views"] + record["held_out"]) >= len(capture):
            raise InputError(
                f"{cfg.checkpoint}: a field of capture {record['capture']}, not of {capture.id}: give the capture that it was "
                "fitted to"
            )
        field.requires_grad_(False)
        mesh_of: Callable[[str], Shape] | None = getattr(captures, "shape", None)
        mesh = None if mesh_of is None else mesh_of(capture.id)
        return Scene(cfg, capture, field, space, record, make_object(cfg.text_image, "text_image"), mesh)

    @property
    def views(self) -> list[int]:
        """Views that the field was fitted to."""
        return self.record["views"]

    @cached_property
    def samples(self) -> StrongestSamples:
        """Strongest samples of the rays of `views`."""
        return self.samples_of(self.views)

    def samples_of(self, views: Sequence[int]) -> StrongestSamples:
        """Strongest samples of the rays of any views."""
        count = self.cfg.training.finetune.strongest
        return strongest_samples(self.field, self.space, self.capture, views, self.record["samples"], count)

    @cached_property
    def crops(self) -> list[CropFeatures]:
        """Of `views`."""
        return self.crops_of(self.views)

    def crops_of(self, views: Sequence[int]) -> list[CropFeatures]:
        """Of any views; from the cache, if they were made before."""
        settings, cache = self.cfg.crops, self.cfg.cache
        folder = None if cache is None else Path(cache).expanduser() / "crop_features"
        return features_of(
            self.capture.images(views),
            self.model,
            settings.parts,
            settings.stride,
            settings.growth,
            self.cfg.seed,
            settings.batch,
            folder,
        )

    def words(self, words: Sequence[str] | None) -> list[str]:
        """Words of a query, without white space around them; None: the capture's label names.

        Raises:
            InputError: bad words, see `checked_words`; none, of a capture without label names.
        """
        if words is None and not self.capture.label_names:
            raise InputError(f"capture {self.capture.id} names no classes: give 'words=[banana,ceramic cup]'")
        return checked_words(self.capture.label_names if words is None else words, self.model)

    def relevancies(self, words: Sequence[str]) -> Tensor:
        """float32 [n, S, C, H, W] of `views`, in [0, 1], see `mvdecor.networks.crop_features.relevancies`."""
        settings = self.cfg.crops
        return relevancies(self.crops, self.model.text_features(words), settings.relevancy, quantile=settings.quantile)

    def vote(self, relevancy: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Relevancies float [n, C, H, W] of `views`, gathered at world points [P, 3] that they see: see `gather_scores`."""
        cameras, depth = self.capture.cameras[self.views], self.samples.depth
        return gather_scores(points, cameras, depth, relevancy, self.cfg.evaluation.tolerance)

    def vote_in_views(self, relevancy: Tensor, samples: StrongestSamples) -> Tensor:
        """The vote at the points that the rays of some views meet: float32 [n, C, H, W]."""
        scores, _ = self.vote(relevancy, samples.points())
        return scores.view(*samples.depth.shape, -1).permute(0, 3, 1, 2)
