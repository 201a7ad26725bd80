"""Settings of the renders of a template: the group `renders` of a configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mvdecor.captures.template_renders import RenderSettings
from mvdecor.settings import Count, NotNegative, Settings, WholeNumber
from mvdecor.shapes.deformations import Deformations

Degrees = Annotated[float, Field(ge=-90, le=90, description="give degrees between -90 and 90")]
Elevations = Annotated[
    tuple[Degrees, Degrees], Field(strict=False, description="give [least, greatest] in degrees between -90 and 90")
]


class DeformationSettings(Settings):
    """The group `renders.deformations`, see `mvdecor.shapes.deformations.Deformations`."""

    stretch: NotNegative
    bend: NotNegative
    waves: NotNegative


class RendersSettings(Settings):
    """The group `renders`, see `mvdecor.captures.template_renders.RenderSettings`."""

    elevation: Elevations
    roll: NotNegative
    padding: Annotated[float, Field(ge=0, lt=0.5, description="give a share of at least 0, below 0.5")]
    off_centre: NotNegative
    patches: Count
    noise: NotNegative
    parts: Annotated[float, Field(ge=0, le=1, description="give a share between 0 and 1")]
    lines: WholeNumber
    blur: NotNegative
    deformations: DeformationSettings

    def make(self) -> RenderSettings:
        """As the library takes them."""
        values = self.model_dump()
        return RenderSettings(**values | {"deformations": Deformations(**values["deformations"])})
