"""The labelling tools: which faces a click means. A new one is a function and a row of `TOOLS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mvdecor.apps.viewer.tools import Faces, FaceTools
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.embedder import Embedder


@dataclass(frozen=True)
class Settings:
    """What can be set of the tools.

    Attributes:
        radius: of the brush, in units of the unit sphere.
        degrees: largest bend that `crease` goes over.
        tolerance: greatest difference of colour that `region` goes over, in [0, 1].
        cosine: least similarity of what `similar` selects.
    """

    radius: float = 0.1
    degrees: float = 30.0
    tolerance: float = 0.15
    cosine: float = 0.8


DEFAULTS = Settings()


@dataclass(frozen=True)
class Click:
    """A click on a shape.

    Attributes:
        shape: which.
        tools: its geometry.
        face, point: where, see `FaceTools.pick`.
        settings: of the tools.
        embedder: gives the model that embeds; InputError without one.
    """

    shape: Shape
    tools: FaceTools
    face: int
    point: ArrayLike
    settings: Settings
    embedder: Callable[[], Embedder]


@dataclass(frozen=True)
class Tool:
    """A row of `TOOLS`.

    Attributes:
        text: what it does, on the page.
        key: that chooses it; none of those that move viser's camera (W, A, S, D, Q, E).
        select: the faces that a click means.
        settings: fields of `Settings` that it heeds.
    """

    text: str
    key: str
    select: Callable[[Click], Faces]
    settings: tuple[str, ...] = ()


def _component(click: Click) -> Faces:
    return click.tools.component(click.face)


def _crease(click: Click) -> Faces:
    return click.tools.crease(click.face, click.settings.degrees)


def _brush(click: Click) -> Faces:
    return click.tools.brush(click.face, click.point, click.settings.radius)


def _object(click: Click) -> Faces:
    return click.tools.object(click.face)


def _material(click: Click) -> Faces:
    return click.tools.material(click.face)


def _region(click: Click) -> Faces:
    return click.tools.region(click.face, click.settings.tolerance)


def _similar(click: Click) -> Faces:
    similarity = click.embedder().similarity(click.shape, click.face, click.shape)
    return similarity.numpy() >= click.settings.cosine


def _face(click: Click) -> Faces:
    groups = click.shape.twin_groups.numpy()
    return np.asarray(groups == groups[click.face])


TOOLS = {
    "component": Tool("label the connected part", "C", _component),
    "crease": Tool("label up to the crease", "K", _crease, ("degrees",)),
    "brush": Tool("label with the brush", "B", _brush, ("radius",)),
    "object": Tool("label the object of the file", "O", _object),
    "material": Tool("label the same material", "M", _material),
    "region": Tool("label the region of this colour", "T", _region, ("tolerance",)),
    "similar": Tool("label what is similar", "Y", _similar, ("cosine",)),
    "face": Tool("label one face", "F", _face),
}
"""By name."""
