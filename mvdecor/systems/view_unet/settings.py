"""Settings of the U-Net baselines: those of Semantic SRN, a network, a vote, and what the network is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from omegaconf import DictConfig
from pydantic import model_validator

from mvdecor.engine.settings import Group, check_out
from mvdecor.lifting import LiftingSettings
from mvdecor.settings import PathName
from mvdecor.systems.semantic_srn import settings as semantic_srn


class EvaluationSettings(semantic_srn.EvaluationSettings):
    """The group `evaluation`.

    Attributes:
        sees: true views, or those that a field renders of a code inferred from the given views.
        field: folder of that field; only for renderings.
    """

    sees: Literal["views", "renderings"]
    field: PathName | None

    @model_validator(mode="after")
    def _renderings_need_a_field(self) -> Self:
        if self.sees == "renderings" and self.field is None:
            raise ValueError("field=null: name the out/model of a pretrained field, whose renderings are labelled")
        return self


class ViewUNetSettings(semantic_srn.SemanticSRNSettings):
    """All settings of the stages. Of `training.finetune`, `objects` is the number of views per batch."""

    system: Literal["view_unet"]  # type: ignore[assignment]
    network: Group
    lifting: LiftingSettings
    evaluation: EvaluationSettings


def check_config(cfg: DictConfig) -> None:
    """Refuse values that would only be noticed later; reads no data.

    Raises:
        InputError: an unknown setting or word, a value of another type or out of range, or an `out` that cannot be written.
    """
    check_out(Path(ViewUNetSettings.of(cfg, complete=True).out))
