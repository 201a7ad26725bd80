"""Settings of To The Point: the whole configuration of its stages (`system=to_the_point`), group by group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from mvdecor.captures.render_settings import RendersSettings
from mvdecor.engine.distributed import check_shared
from mvdecor.engine.settings import (
    Group,
    RunSettings,
    Schedule,
    Target,
    check_out,
    refuse_checkpoint,
    require_checkpoint,
)
from mvdecor.errors import InputError
from mvdecor.settings import Count, NotNegative, PathName, Positive, Settings, Share, WholeNumber


class TemplateSettings(Settings):
    """The group `template`; configs/template says what each setting is."""

    file: PathName
    keypoints: PathName | None


class SolverSettings(Settings):
    """The group `reconstructor.solver`; configs/reconstructor/resnet18.yaml says what each setting is."""

    kind: Literal["joint", "rigid", "released"]
    gamma: Positive
    damping: NotNegative
    steps: Count
    rounds: Count
    scale: Literal["free", "deviation"]
    start: Literal["affine", "random"]


class ReconstructorSettings(Settings):
    """The group `reconstructor`; configs/reconstructor/resnet18.yaml says what each setting is."""

    size: Annotated[int, Field(ge=32, description="give at least 32 pixels")]
    encoder: str
    weights: str | None
    stage: Annotated[int, Field(ge=-4, le=-1, description="give -1 (the last map of features) to -4")]
    width: Count
    grid: Count
    hidden: WholeNumber
    basis: WholeNumber
    solver: SolverSettings


class PretrainSettings(Settings):
    """The group `training.pretrain`; configs/training/ttp.yaml says what each setting is."""

    steps: Count
    batch_size: Count
    mirror: bool
    visibility: NotNegative
    learning_rate: Positive
    optimizer: Target
    schedule: Schedule
    clip: Positive | None


class LossWeights(Settings):
    """Weights of the losses of the fine-tuning; 0 leaves one out."""

    mask: NotNegative
    coverage: NotNegative
    outside: NotNegative
    reprojection: NotNegative
    edges: NotNegative
    equivariance: NotNegative
    visibility: NotNegative
    texture: NotNegative
    keypoints: NotNegative
    deformation: NotNegative
    arap: NotNegative
    laplacian: NotNegative
    basis: NotNegative
    basis_arap: NotNegative
    renders: NotNegative


class FinetuneSettings(Settings):
    """The group `training.finetune`; configs/training/ttp.yaml says what each setting is."""

    split: Literal["train", "val", "test", "all"]
    limit: Count | None
    keypoints: bool
    steps: Count
    batch_size: Count
    renders: Count
    jitter: NotNegative
    mirror: bool
    points: Count
    texture: Literal["colours", "features"]
    sigma: Positive
    learning_rate: Positive
    optimizer: Target
    schedule: Schedule
    clip: Positive | None
    weights: LossWeights


class TrainingSettings(Settings):
    """The group `training`."""

    log_every: Count
    pretrain: PretrainSettings
    finetune: FinetuneSettings


class EvaluationSettings(Settings):
    """The group `evaluation`; configs/evaluation/ttp.yaml says what each setting is."""

    split: Literal["train", "val", "test", "all"]
    limit: Count | None
    batch_size: Count
    points: Count
    threshold: Share
    figures: WholeNumber
    mirror: bool
    twins: bool


class ToThePointSettings(RunSettings):
    """All settings of the stages; `photographs` is for the reader of the photographs, `data` is unused but for made-up ones."""

    system: Literal["to_the_point"] = "to_the_point"
    data: Any = None
    photographs: Group
    template: TemplateSettings
    reconstructor: ReconstructorSettings
    renders: RendersSettings
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
    settings = ToThePointSettings.of(cfg, complete=True)
    check_out(Path(settings.out))
    model, finetune = settings.reconstructor, settings.training.finetune
    if model.basis == 0 and model.solver.kind == "joint":
        raise InputError("reconstructor.basis=0 has nothing to deform: set reconstructor.solver.kind=rigid")
    if finetune.keypoints and finetune.weights.keypoints == 0:
        raise InputError("training.finetune.keypoints=true, but training.finetune.weights.keypoints=0 leaves them out")


def check_shares(cfg: DictConfig, *stages: str) -> None:
    """Refuse stages ("pretrain", "finetune") whose batches have fewer items than there are processes."""
    check_shared(*min((cfg.training[stage].batch_size, f"training.{stage}.batch_size") for stage in stages))


def check_pretrain(cfg: DictConfig) -> None:
    """Also refuse a checkpoint to start from, and batches of fewer items than processes."""
    check_config(cfg)
    check_shares(cfg, "pretrain")
    refuse_checkpoint(cfg)


def check_checkpoint(cfg: DictConfig) -> None:
    """Also refuse to go without a checkpoint."""
    check_config(cfg)
    require_checkpoint(cfg)


def check_finetune(cfg: DictConfig) -> None:
    """Also refuse batches of fewer items than processes."""
    check_checkpoint(cfg)
    check_shares(cfg, "finetune")
