"""Settings of Semantic SRN: the whole configuration of its stages (`system=semantic_srn`), group by group."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from omegaconf import DictConfig
from pydantic import model_validator

from mvdecor.engine.distributed import check_shared
from mvdecor.engine.settings import Group, RunSettings, Schedule, Target, check_out
from mvdecor.errors import InputError
from mvdecor.evaluation.metrics import Protocol
from mvdecor.fields import FieldSettings, HeadKind, InferenceSettings, LossWeights, RaySampling
from mvdecor.settings import Count, PathName, Positive, Probability, Settings, WholeNumber


class PretrainSettings(RaySampling):
    """The group `training.pretrain`; configs/training/srn.yaml says what each setting is."""

    split: Literal["train", "unlabelled", "all"]
    limit: Count | None
    steps: Count
    coarse_steps: WholeNumber
    coarse_factor: Count
    objects: Count
    views_at_once: Count | None
    mirrored: bool
    learning_rate: Positive
    code_rate: Positive
    sparse_codes: bool
    optimizer: Target
    schedule: Schedule
    clip: Positive | None
    weights: LossWeights

    @model_validator(mode="after")
    def _sparse_codes_have_their_optimizer(self) -> Self:
        if self.sparse_codes and self.optimizer.get("_target_") == "torch.optim.Adam":
            raise ValueError(
                "sparse_codes=true: give optimizer._target_=mvdecor.fields.RowAdam, since Adam takes no sparse gradients"
            )
        return self


class FinetuneSettings(Settings):
    """The group `training.finetune`; configs/training/srn.yaml says what each setting is."""

    k: Count
    v: Count | None
    split: PathName | None
    runs: Count
    steps: Count
    objects: Count
    rays: Count
    foreground: Probability
    learning_rate: Positive
    optimizer: Target
    schedule: Schedule
    balanced: bool
    head: HeadKind
    points: bool

    @model_validator(mode="after")
    def _unet_takes_features_alone(self) -> Self:
        if self.head == "unet" and self.points:
            raise ValueError("points=true: a U-Net head takes images of features alone: set points=false")
        return self


class TrainingSettings(Settings):
    """The group `training`."""

    log_every: Count
    pretrain: PretrainSettings
    finetune: FinetuneSettings


class EvaluationSettings(InferenceSettings):
    """The group `evaluation`; configs/evaluation/srn.yaml says what each setting is."""

    split: Literal["train", "val", "test", "all"]
    limit: Count | None
    v: Count | None
    views: list[WholeNumber] | None
    count_given: bool
    measured: Count | None
    mean_code: bool
    batch_size: Count
    protocol: Protocol
    points: WholeNumber
    neighbours: Count
    clouds: WholeNumber | None

    @model_validator(mode="after")
    def _given_views_differ(self) -> Self:
        if self.views is not None and (not self.views or len(set(self.views)) != len(self.views)):
            raise ValueError(f"views={self.views}: name at least one view, and each once")
        return self


class SemanticSRNSettings(RunSettings):
    """All settings of the stages; `data` is for the readers of shapes (capture=rendered), `capture` for that of captures."""

    system: Literal["semantic_srn"] = "semantic_srn"
    data: Group
    capture: Group
    field: FieldSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    method: dict[str, Any] | None = None
    table: Any = None
    cell: Any = None


def check_config(cfg: DictConfig) -> None:
    """Refuse values that would only be noticed later; reads no data.

    Raises:
        InputError: an unknown setting or word, a value of another type or out of range, or an `out` that cannot be written.
    """
    settings = SemanticSRNSettings.of(cfg, complete=True)
    check_out(Path(settings.out))
    if cfg.data.get("on_error") == "skip":
        raise InputError("data.on_error=skip: Semantic SRN leaves no shape out: set data.on_error=raise")


def check_shares(cfg: DictConfig, *stages: str) -> None:
    """Refuse stages ("pretrain", "finetune") whose batches have fewer captures than there are processes."""
    check_shared(*min((cfg.training[stage].objects, f"training.{stage}.objects") for stage in stages))


def check_source(source: str, head_kind: str | None) -> None:
    """Refuse to infer codes from label maps without a head that labels single rays."""
    if source == "labels" and head_kind in (None, "unet"):
        reason = "the field has no head" if head_kind is None else "a U-Net head labels whole views"
        raise InputError(
            f"evaluation.source=labels: codes are inferred from random pixels, and {reason}: set evaluation.source=images, "
            "or take a field that was fine-tuned with training.finetune.head=linear"
        )
