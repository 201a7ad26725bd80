"""Settings of scripts/segment.py, and what labels the meshes: a fine-tuned model, or words."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from omegaconf import DictConfig
from pydantic import Field, model_validator

from mvdecor.engine.settings import Device, Precision
from mvdecor.imports import make_object
from mvdecor.segmenter import Segmenter
from mvdecor.settings import Count, PathName, Settings, WholeNumber, shown
from mvdecor.shapes.up import Up
from mvdecor.word_segmenter import CropSettings, WordSegmenter

AnySegmenter = Segmenter | WordSegmenter


class SegmentSettings(Settings):
    """configs/segment.yaml; `Segmenter` checks `views` and `lifting` beside those of the checkpoint."""

    mesh: Annotated[
        str | Annotated[list[str], Field(min_length=1)],
        Field(description="name a file, a folder or a pattern, for example mesh=chair.obj"),
    ]
    checkpoint: PathName | None
    labels: Literal["predicted", "mine"]
    words: Annotated[list[str] | None, Field(description="give a list of words, as in [seat,back,leg]")]
    text_image: Annotated[dict[str, Any], Field(description="choose one of configs/text_image")]
    crops: CropSettings
    out: PathName
    up: Up
    parts: bool
    on_error: Literal["raise", "skip"]
    low_confidence: Annotated[float, Field(ge=0, le=1, description="give a number between 0 and 1")]
    seed: WholeNumber
    device: Device
    precision: Precision
    batch_size: Count
    views: dict[str, Any]
    lifting: dict[str, Any]

    @model_validator(mode="after")
    def _one_source_of_labels(self) -> Self:
        if self.labels == "predicted" and self.checkpoint is None and self.words is None:
            raise ValueError(
                "checkpoint=null: give a fine-tuned model (out/model of scripts/finetune.py), words=[...], or labels=mine to "
                "write the labels that lie beside the meshes"
            )
        if self.checkpoint is not None and self.words is not None:
            raise ValueError(f"words={shown(self.words)}: a fine-tuned model has its own labels: set checkpoint=null")
        return self


def make_segmenter(settings: SegmentSettings, cfg: DictConfig, changes: dict[str, dict[str, Any]]) -> AnySegmenter:
    """A fine-tuned model, or words and a text-image model."""
    if settings.words is None:
        assert settings.checkpoint is not None
        return Segmenter(settings.checkpoint, device=cfg.device, precision=cfg.precision, **changes)
    model = make_object(cfg.text_image, "text_image")
    return WordSegmenter(settings.words, model, settings.crops, device=cfg.device, precision=cfg.precision, **changes)
