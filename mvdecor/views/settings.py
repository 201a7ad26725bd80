"""Settings of the views: cameras, rasterizer, and the channels that the network sees."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mvdecor.channels import CHANNELS, num_channels
from mvdecor.errors import InputError
from mvdecor.settings import Count, NotNegative, PathName, Settings, WholeNumber

Angle = Annotated[float, Field(gt=0, lt=180, description="give an angle in degrees, above 0 and below 180")]
Range = Annotated[
    tuple[NotNegative, NotNegative], Field(strict=False, description="give [least, greatest], both above 0")
]
Channels = Annotated[
    tuple[str, ...], Field(strict=False, description=f"give a list of one or more of {', '.join(CHANNELS)}")
]


class ViewSettings(Settings):
    """The group `views`.

    Attributes:
        count: views per shape, close-ups included.
        close_ups: how many of them aim at random surface points from near by.
        size: pixels per side.
        fov: field of view, degrees.
        distance: least and greatest distance of a camera from the centre of the unit sphere.
        jitter: standard deviation of the random turn of each camera, radians.
        layers: surfaces along each ray.
        rasterizer: see `make_rasterizer`.
        keep: keep face ids in memory.
        cache: folder of face ids, "auto" (in the folder `cache`), or none.
        channels, depth, normal_frame: see `render_channels`.
    """

    count: Count = 86
    close_ups: WholeNumber = 0
    size: Count = 256
    fov: Angle = 60.0
    distance: Range = (1.4, 2.0)
    jitter: NotNegative = 0.06
    layers: Count = 1
    rasterizer: Literal["auto", "embree", "pytorch3d"] = "auto"
    keep: bool = True
    cache: PathName | None = "auto"
    channels: Channels = ("rgb", "depth", "normal")
    depth: Literal["minmax", "metric"] = "minmax"
    normal_frame: Literal["camera", "world"] = "camera"

    @field_validator("channels")
    @classmethod
    def _known(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        try:
            num_channels(channels)
        except InputError as error:
            raise ValueError(str(error).removeprefix("channels: ")) from error
        return channels

    @field_validator("distance")
    @classmethod
    def _ordered(cls, distance: tuple[float, float]) -> tuple[float, float]:
        if not 0 < distance[0] <= distance[1]:
            raise ValueError("give [least, greatest], both above 0")
        return distance

    @model_validator(mode="after")
    def _close_ups_are_views(self) -> Self:
        if self.close_ups > self.count:
            raise ValueError(f"close_ups={self.close_ups}: give at most as many as there are views, count={self.count}")
        return self
