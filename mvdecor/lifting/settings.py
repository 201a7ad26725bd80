"""Settings of the lifting: how pixels vote, and what unseen faces take."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from mvdecor.lifting.rules import LOGIT_RULES, RULES, find_rule
from mvdecor.settings import NotNegative, Settings, Text

LayerOrder = Literal["all", "outer_first", "outer_only"]
FillRule = Literal["nearest", "component"]
FoldAngle = Annotated[float, Field(ge=0, le=180, description="give an angle in degrees, from 0 to 180")]
VOTE_RULES = (*RULES, *LOGIT_RULES)
LAYER_ORDERS: tuple[str, ...] = get_args(LayerOrder)
FILL_RULES: tuple[str, ...] = get_args(FillRule)
CREASE = 40.0
"""Degrees."""


class LiftingSettings(Settings):
    """The group `lifting`.

    Attributes:
        rule: one of `VOTE_RULES`, or the dotted name of a function of your own, see `mvdecor.lifting.rules`.
        layer_order: see `FaceVoter`.
        power: exponent of the weight of the rules entropy and official.
        fill: see `fill_unseen`.
        smooth, crease: see `smooth_votes`; smooth=0 leaves the votes as they are.
    """

    rule: Text = "entropy"
    power: NotNegative = 20.0
    layer_order: LayerOrder = "all"
    fill: FillRule = "nearest"
    smooth: NotNegative = 0.0
    crease: FoldAngle = CREASE

    @model_validator(mode="after")
    def _known_rule(self) -> Self:
        find_rule(self.rule)
        return self

    @model_validator(mode="after")
    def _even_power(self) -> Self:
        if self.rule == "official" and self.power % 2 != 0:
            raise ValueError(f"power={self.power:g}: rule=official needs an even number, as its base may be negative")
        return self
