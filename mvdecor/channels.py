"""The channels that a network can see: one table of how wide each is and how it is normalised.

A channel of your own is a `Channel` in a module of yours, named where channels are named: `views.channels=[rgb,mine.height]`
for this `mine.py`:

    from mvdecor.channels import Channel

    def render(shape, views, surface):   # float32 [N, L, H, W, width], 0 on the background
        return surface.points[..., 1:2]

    height = Channel(mean=(0.0,), std=(0.5,), render=render)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mvdecor.errors import InputError
from mvdecor.imports import import_object


@dataclass(frozen=True)
class Channel:
    """One kind of image.

    Attributes:
        mean, std: fixed mean and deviation of each of its numbers, by which the network's input is normalised.
        render: called with a shape, N views of it in L layers, and the surface seen in them; gives float32
            [N, L, H, W, width] on their device, 0 on the background. None: one of those of `mvdecor.views.render_channels`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    render: Callable[[Any, Any, Any], Any] | None = None

    @property
    def width(self) -> int:
        """Numbers per pixel."""
        return len(self.mean)


CHANNELS: dict[str, Channel] = {
    "rgb": Channel((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "depth": Channel((0.5,), (0.25,)),
    "normal": Channel((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    "points": Channel((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    "front_depth": Channel((0.0,), (0.25,)),
    "layer": Channel((0.5,), (0.5,)),
}
"""Known channels. A checkpoint has the mean and deviation that it was trained with."""


def find_channel(name: str) -> Channel:
    """A channel of `CHANNELS`, or one of your own by its dotted name.

    Raises:
        InputError: there is none of that name.
    """
    if name in CHANNELS:
        return CHANNELS[name]
    if "." in name:
        channel = import_object(name, "channels")
        if not isinstance(channel, Channel) or channel.render is None or len(channel.mean) != len(channel.std):
            raise InputError(f"channels: {name} is no mvdecor.channels.Channel with mean, std of one length and render")
        return channel
    close = difflib.get_close_matches(name, CHANNELS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one or more of {', '.join(CHANNELS)}"
    raise InputError(f"channels: {name!r} is unknown; {hint}")


def num_channels(names: Sequence[str]) -> int:
    """How many numbers per pixel these channels have together.

    Raises:
        InputError: for an unknown name, a name that comes twice, or no name at all.
    """
    if not names:
        raise InputError(f"channels: name at least one of {', '.join(CHANNELS)}")
    if len(set(names)) < len(names):
        raise InputError(f"channels: {'+'.join(names)} names a channel twice; name each once")
    return sum(find_channel(name).width for name in names)


def channel_slice(channels: Sequence[str], name: str) -> slice:
    """The places of the channel `name` in a network input of `channels`."""
    start = sum(find_channel(previous).width for previous in channels[: list(channels).index(name)])
    return slice(start, start + find_channel(name).width)
