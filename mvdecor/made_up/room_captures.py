"""Made-up rooms as captures: a fan of cameras, exact label maps of the views that are held out, exact depth."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mvdecor.captures.capture import Capture, PixelMemory
from mvdecor.captures.rendered import RenderedViews
from mvdecor.errors import InputError
from mvdecor.made_up.rooms import Room, make_room
from mvdecor.recent import Recent
from mvdecor.shapes.annotations import check_split
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import look_at, pinhole
from mvdecor.views.rasterizers import make_rasterizer

FAN = (76.0, 28.0)
"""Degrees, across and up, that the cameras of a room spread over."""
MIDDLE = (45.0, 27.0)
"""Azimuth and elevation of the middle of the fan, degrees: the open side of the room."""
TARGET, DISTANCE, FOV = (-0.35, 0.35, -0.35), 4.2, 40.0
"""What all cameras look at, from how far (metres), and their full field of view (degrees)."""
LIGHT = (0.35, 0.8, 0.5)
SHADING = 0.55
MARGIN = 1.05
"""Factor between the bounds of a view and the depths that it shows."""
LEAST_VIEWS = 5
"""Cameras of a room; every fifth view has a label map."""
SEEN_PREFIX, HELD_OUT_PREFIX = "room", "held_out"


class RoomCaptures:
    """Made-up rooms, rendered when they are asked for, as a `CaptureSet`. Nothing is written.

    Rooms of split "train" (`room_000`, ...) show no held-out composition, those of "test" (`held_out_000`, ...) nothing else
    (see `mvdecor.made_up.rooms`). Every room has label names of its own: floor, wall and its objects.

    Args:
        count: rooms without held-out compositions.
        held_out: rooms of held-out compositions.
        views: cameras of each room; every fifth has a label map, and is what a field is not fitted to.
        size: pixels per side.
        seed: everything follows from it.
        supersample: pixels per side that are rendered for each pixel and averaged.
        memory: pixels that are remembered after rendering, in 10^6 bytes, of all rooms together.

    Attributes:
        label_names: (), since each room has its own.
    """

    def __init__(
        self,
        count: int = 2,
        held_out: int = 2,
        views: int = 30,
        size: int = 64,
        seed: int = 0,
        supersample: int = 2,
        memory: float = 1000.0,
    ) -> None:
        if min(count, held_out, seed) < 0 or count + held_out < 1:
            raise InputError(
                f"capture.count={count}, held_out={held_out}, seed={seed}: none may be negative; make a room"
            )
        if views < LEAST_VIEWS or size < 8 or supersample < 1:
            raise InputError(
                f"capture.views={views}, size={size}, supersample={supersample}: give at least {LEAST_VIEWS} views of 8 pixels "
                "per side, and supersample 1 or more"
            )
        self.label_names: tuple[str, ...] = ()
        self._ids = {
            "train": [f"{SEEN_PREFIX}_{i:03d}" for i in range(count)],
            "test": [f"{HELD_OUT_PREFIX}_{i:03d}" for i in range(held_out)],
        }
        self._numbers = {id: (i, split == "test") for split, ids in self._ids.items() for i, id in enumerate(ids)}
        self.views, self.size, self.seed, self.supersample = views, size, seed, supersample
        self.memory = PixelMemory(memory)
        self._recent: Recent[Room] = Recent(4)

    def ids(self, split: str) -> list[str]:
        """Ids of "train", "test", "unlabelled" (as "train") or "all"; "val" is empty."""
        check_split(split)
        if split == "all":
            return [*self._ids["train"], *self._ids["test"]]
        return list(self._ids.get("train" if split == "unlabelled" else split, []))

    def files(self, id: str) -> list[Path]:
        """None: a room follows from the settings."""
        return []

    def room(self, id: str) -> Room:
        """The mesh of a room, and what its objects are. Raises InputError for another id."""
        if id not in self._numbers:
            raise InputError(f"there is no made-up room {id!r}; there are {', '.join(self.ids('all'))}")
        number, held_out = self._numbers[id]
        return self._recent.get(id, lambda: make_room(id, 1000 * self.seed + number, held_out))

    def load(self, id: str) -> Capture:
        """The views of a room. All are rendered once, since the bounds follow from their depth."""
        cameras = fan_cameras(self.views, self.size * self.supersample)
        shape = self.room(id).shape
        load, rasterizer = partial(self.shape, id), make_rasterizer("embree")
        read = RenderedViews(id, load, cameras, rasterizer, LIGHT, self.memory, self.supersample, SHADING)
        labelled = tuple(range(2, self.views, 5))
        cameras = cameras.reduced(self.supersample)
        capture = Capture(id, cameras, read, has_depth=True, labelled=labelled, label_names=shape.label_names)
        depth = capture.depth()
        assert depth is not None
        return replace(capture, near=depth.amin(dim=(1, 2)) / MARGIN, far=depth.amax(dim=(1, 2)) * MARGIN)

    def shape(self, id: str) -> Shape:
        """The labelled mesh of a room, in the world frame of its cameras. Raises InputError for another id."""
        return self.room(id).shape


def fan_cameras(count: int, size: int) -> Cameras:
    """`count` cameras of size x size pixels, spread evenly over a fan before the open side of a room."""
    angles = np.radians(MIDDLE) + np.radians(FAN) * (_even(count) - 0.5)
    azimuth, elevation = angles.T
    outward = np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=1
    )
    target = torch.tensor(TARGET)
    centers = target + DISTANCE * torch.from_numpy(outward).float()
    rotation, translation = look_at(centers, target.expand_as(centers))
    return Cameras(rotation, translation, pinhole(count, size, FOV), size, size)


def _even(count: int) -> NDArray[np.float64]:
    """float64 [count, 2] in (0, 1): evenly along the first axis, by van der Corput's sequence along the second."""
    mirrored = [int(f"{i:b}"[::-1], 2) / 2 ** len(f"{i:b}") for i in range(count)]
    return np.stack([(np.arange(count) + 0.5) / count, np.array(mirrored)], axis=1)
