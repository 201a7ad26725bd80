"""Settings of the open-vocabulary system: the whole configuration of its stages, group by group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from mvdecor.engine.distributed import processes
from mvdecor.engine.settings import RunSettings, check_out, refuse_checkpoint, require_checkpoint
from mvdecor.errors import InputError
from mvdecor.networks.text_image import checked_words
from mvdecor.settings import Count, NotNegative, Positive, Probability, Quantile, Settings, WholeNumber
from mvdecor.systems.scene_fit import RadianceSettings, SceneFitSettings

Group = Annotated[dict[str, Any], Field(description="choose one of the files in configs/")]
Words = list[str] | None


class CropSettings(Settings):
    """The group `crops`: what a pixel's features are the mean of."""

    parts: list[Count]
    stride: Count
    growth: Probability
    batch: Count
    relevancy: Literal["view", "all"]
    quantile: Quantile


class DistilWeights(Settings):
    """Weights of the losses; 0 leaves one out."""

    feature: NotNegative
    relevancy: NotNegative
    alike: NotNegative
    unlike: NotNegative


class FinetuneSettings(Settings):
    """The group `training.finetune`; configs/training/ovs.yaml says what each setting is."""

    least_psnr: NotNegative
    steps: Count
    rays: Count
    patches: Count
    patch_points: Annotated[int, Field(ge=2, description="give at least 2 points per side")]
    patch_span: Annotated[float, Field(gt=0, le=1, description="give a share of the shorter side, above 0, at most 1")]
    strongest: Count
    scale: Literal["finest", "mean", "selection"] | WholeNumber
    grid_rate: NotNegative
    head_rate: NotNegative
    schedule: str | dict[str, Any]
    weights: DistilWeights
    temperature: Positive
    temperature_quantile: Annotated[float, Field(gt=0.5, lt=1, description="give a quantile between 0.5 and 1")] | None
    relevancy_temperature: Positive
    shift_quantile: Probability | None
    shift: float
    normalised: bool
    divergence: Literal["js", "kl"]


class TrainingSettings(Settings):
    """The group `training`."""

    log_every: Count
    pretrain: SceneFitSettings
    finetune: FinetuneSettings


class EvaluationSettings(Settings):
    """The group `evaluation`; configs/evaluation/ovs.yaml says what each setting is."""

    views: Literal["held_out", "labelled"]
    words: Words
    released: bool
    tolerance: Positive
    points: WholeNumber
    figures: Count


class OpenVocabularySettings(RunSettings):
    """All settings of the stages.

    Attributes:
        scenes: numbers of single scenes that other settings refer to (experiment=ovs_3dovs).
        text_image_training: train the small text-image model first, unless it is there: settings that differ from
            configs/text_image.yaml. None: no.
    """

    system: Literal["open_vocabulary"] = "open_vocabulary"
    data: Group
    capture: Group
    id: str | None
    words: Words
    radiance: RadianceSettings
    text_image: Group
    dense_image: Group
    crops: CropSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    scenes: dict[str, dict[str, float]] | None = None
    text_image_training: dict[str, Any] | None = None
    method: dict[str, Any] | None = None
    table: Any = None
    cell: Any = None


def check_config(cfg: DictConfig) -> OpenVocabularySettings:
    """Refuse values that would only be noticed later; reads no data.

    Raises:
        InputError: an unknown setting, a value of another type or out of range, bad words, several processes, or an `out` that
            cannot be written.
    """
    settings = OpenVocabularySettings.of(cfg, complete=True)
    if processes() > 1:
        raise InputError(
            f"{processes()} processes were started: a scene is trained by one process (docs/systems/open_vocabulary.md): "
            "start scripts/*.py without torchrun, one command per scene and GPU"
        )
    check_out(Path(settings.out))
    for words in (settings.words, settings.evaluation.words):
        if words is not None:
            checked_words(words)
    return settings


def check_pretrain(cfg: DictConfig) -> None:
    """Also refuse a checkpoint to start from."""
    check_config(cfg)
    refuse_checkpoint(cfg)


def check_checkpoint(cfg: DictConfig) -> None:
    """Also refuse to go without a checkpoint."""
    check_config(cfg)
    require_checkpoint(cfg)
