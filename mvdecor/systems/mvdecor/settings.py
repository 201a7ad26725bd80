"""Settings of MvDeCor: the whole configuration of its stages (configs/config.yaml), group by group."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mvdecor.correspondences.settings import Matching
from mvdecor.engine.settings import Group, RunSettings, Target
from mvdecor.evaluation.metrics import Protocol
from mvdecor.lifting.settings import LiftingSettings
from mvdecor.settings import Count, NotNegative, PathName, Positive, Probability, Settings, Share, Text, WholeNumber
from mvdecor.views.settings import ViewSettings

CropScale = Annotated[
    tuple[
        Annotated[float, Field(gt=0, le=1)],
        Annotated[float, Field(gt=0, le=1)],
    ],
    Field(strict=False, description="give [least, greatest], both above 0, at most 1"),
]
CropRatio = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]],
    Field(strict=False, description="give [least, greatest], both above 0"),
]
PretrainSchedule = Annotated[
    Literal["plateau", "cosine", "constant"] | dict[str, Any],
    Field(description="choose plateau, cosine or constant, or give {_target_: module.name} of a schedule of your own"),
]
FinetuneSchedule = Annotated[
    Literal["decay", "cosine", "constant"] | dict[str, Any],
    Field(description="choose decay, cosine or constant, or give {_target_: module.name} of a schedule of your own"),
]


DecayFactor = Annotated[
    float,
    Field(gt=0, lt=1, description="give a factor between 0 and 1, both excluded; schedule=constant keeps the rate"),
]


class MethodSettings(Settings):
    """The group `method`: the row of a table that a result is of.

    Attributes:
        name: short, in the names of folders.
        title: in tables.
        pretrain: whether the method has a pretraining.
    """

    name: Text
    title: Text
    pretrain: bool


class DataSettings(Settings):
    """The group `data`; what else it holds is for the reader of the shapes.

    Attributes:
        on_error: what to do about shapes that cannot be read.
        pretrain_split: shapes to pretrain on.
        pretrain_limit: at most so many of them.
        labelled, unlabelled: the reader, as Hydra makes it.
    """

    model_config = ConfigDict(extra="allow")

    on_error: Literal["raise", "skip"]
    pretrain_split: Literal["train", "unlabelled", "all"]
    pretrain_limit: Count | None
    labelled: Group
    unlabelled: Group


class CropSettings(Settings):
    """Crops of one view, for `training.pretrain.source=crops`; see `sample_crop`."""

    scale: CropScale
    ratio: CropRatio
    flip: Probability
    colour_jitter: NotNegative

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("scale", "ratio"):
            least, greatest = getattr(self, name)
            if least > greatest:
                raise ValueError(f"{name}=[{least:g},{greatest:g}]: give [least, greatest], the smaller number first")
        return self


class PretrainSettings(Settings):
    """The group `training.pretrain`; configs/training/recipe.yaml says what each setting is."""

    source: Literal["views", "crops"]
    steps: Count
    pairs: Count
    points: Count
    replace: bool
    learning_rate: Positive
    optimizer: Target
    schedule: PretrainSchedule
    validate_every: Count
    validation_batches: Count
    colour_jitter: NotNegative
    validation_share: Share


class FinetuneSettings(Settings):
    """The group `training.finetune`; configs/training/recipe.yaml says what each setting is."""

    k: Count
    v: Count | None
    split: PathName | None
    runs: Count
    steps: Count
    validate_every: Count | None
    batch_size: Count
    learning_rate: Positive
    optimizer: Target
    schedule: FinetuneSchedule
    decay: DecayFactor
    decay_every: Count
    lambda_ssl: NotNegative
    colour_jitter: NotNegative
    lambda_consistency: NotNegative
    joint: bool
    batch_norm: Literal["train", "eval_pretrained"]
    replace: bool
    pairs: Count
    substitutes: WholeNumber

    @model_validator(mode="after")
    def _parts_can_be_exchanged(self) -> Self:
        if self.substitutes > 0 and self.k == 1:
            raise ValueError(
                f"substitutes={self.substitutes}, but k=1: parts are exchanged between shapes: raise k or give 0"
            )
        if self.substitutes > 0 and self.v is not None:
            raise ValueError(
                f"substitutes={self.substitutes}, but v={self.v}: a part that is exchanged needs labels on all of the shape, "
                "not in some views: give v=null or substitutes=0"
            )
        return self


class SelfTrainSettings(Settings):
    """The group `training.self_train`; see `mvdecor.systems.mvdecor.self_train`."""

    rounds: WholeNumber
    confidence: Probability
    agreement: Probability


class TrainingSettings(Settings):
    """The group `training`."""

    random_light: bool
    gather: bool
    compile: bool
    cudnn_benchmark: bool
    log_every: Count
    matching: Matching
    crops: CropSettings
    pretrain: PretrainSettings
    finetune: FinetuneSettings
    self_train: SelfTrainSettings


class EvaluationSettings(Settings):
    """The group `evaluation`; configs/evaluation/mvdecor.yaml says what each setting is."""

    protocol: Protocol
    points: WholeNumber
    split: Literal["train", "val", "test", "all"]
    limit: Count | None
    batch_size: Count
    meshes: WholeNumber | None
    metrics: dict[str, Target]


class MvDeCorSettings(RunSettings):
    """All settings of the stages.

    Attributes:
        system: whose stages are run.
        network, loss, segmentation_loss: made by Hydra, which names their settings in its errors.
        method: what a row of a table is about.
        table, cell: the table of an experiment, and the place of a result in it.
    """

    system: Literal["mvdecor"] = "mvdecor"
    data: DataSettings
    views: ViewSettings
    network: Group
    loss: Group
    segmentation_loss: Group
    training: TrainingSettings
    lifting: LiftingSettings
    evaluation: EvaluationSettings
    method: MethodSettings | None = None
    table: Any = None
    cell: Any = None
