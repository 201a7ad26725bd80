"""The axis of a mesh that points up. Views are placed about shapes whose y axis does."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from mvdecor.errors import InputError
from mvdecor.shapes.shape import Shape

Up = Literal["y", "z", "x", "-y", "-z", "-x"]

TURNS = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
"""By the axis that points up, the rotation by a multiple of 90 degrees that makes it y."""


def check_up(up: str, name: str = "up") -> None:
    """Raise InputError, which begins with the setting's name, unless `up` is a key of `TURNS`."""
    if up not in TURNS:
        raise InputError(f"{name}={up} is unknown: choose the axis that points up, one of {', '.join(TURNS)}")


def upright(shape: Shape, up: str) -> Shape:
    """The shape turned so that y is up: faces, labels and texture as they are, coordinates exchanged without rounding.

    Raises:
        InputError: unknown `up`.
    """
    check_up(up)
    if up == "y":
        return shape
    turn = torch.tensor(TURNS[up], dtype=shape.vertices.dtype, device=shape.vertices.device)
    axis = turn.abs().argmax(dim=1)
    return replace(shape, vertices=shape.vertices[:, axis] * turn.sum(dim=1) + 0.0)  # + 0.0: no negative zeros
