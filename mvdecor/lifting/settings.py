"""Settings of the lifting: how pixels vote, and what unseen faces take."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import model_validator

from mvdecor.settings import NotNegative, Settings

VoteRule = Literal["entropy", "mean", "majority", "logits", "official"]
LayerOrder = Literal["all", "outer_first", "outer_only"]
FillRule = Literal["nearest", "component"]
VOTE_RULES: tuple[str, ...] = get_args(VoteRule)
LAYER_ORDERS: tuple[str, ...] = get_args(LayerOrder)
FILL_RULES: tuple[str, ...] = get_args(FillRule)


class LiftingSettings(Settings):
    """The group `lifting`.

    Attributes:
        rule, layer_order: see `FaceVoter`.
        power: exponent of the weight of the rules entropy and official.
        fill: see `fill_unseen`.
    """

    rule: VoteRule = "entropy"
    power: NotNegative = 20.0
    layer_order: LayerOrder = "all"
    fill: FillRule = "nearest"

    @model_validator(mode="after")
    def _even_power(self) -> Self:
        if self.rule == "official" and self.power % 2 != 0:
            raise ValueError(f"power={self.power:g}: rule=official needs an even number, as its base may be negative")
        return self
