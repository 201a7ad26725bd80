"""A simulated annotator: knows the labels of a shape, and clicks in the largest wrong region until most of it is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mvdecor.apps.viewer.selection import DEFAULTS, TOOLS, Click, Settings
from mvdecor.apps.viewer.tools import Faces, FaceTools, View
from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.embedder import Embedder

RADII = (0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.02)
"""Of the brush, from which the best is taken."""
TOLERANCES = (0.6, 0.4, 0.25, 0.15, 0.08, 0.04)
"""Of the region of a colour."""
RINGS = (1, 2, 4, 8, 16, 32, 50)
"""Of growing."""
EDGES = (0.0, 3.0, 10.0)
"""Percent of a region's faces that a rectangle leaves out on each side."""
DISTANCE, FOV = 2.7, 0.9
"""Of the camera of rectangles, as the viewer's own."""
REGIONS = 8
"""Wrong regions that are looked at before the annotator gives up, from the largest on."""


@dataclass(frozen=True)
class Action:
    """Something that a person may do.

    Attributes:
        tool: its name.
        faces: bool [F], what it would label.
        clicks: how many clicks or drags it takes; settings of tools and turns of the camera are not counted.
        settings: of the tool.
        rectangle: of that tool, how it is seen, its corners, and whether by X-ray; see `FaceTools.rectangle`.
    """

    tool: str
    faces: Faces
    clicks: int = 1
    settings: Settings = DEFAULTS
    rectangle: tuple[View, list[float], list[float], bool] | None = None


@dataclass(frozen=True)
class Step:
    """What the annotator did.

    Attributes:
        face: of the wrong region, near its middle, and seen from one of six sides if any of it is.
        label: that it has.
        action: what was done.
        unlabelled: whether faces that have a label were left as they are.
    """

    face: int
    label: int
    action: Action
    unlabelled: bool


class Annotator:
    """Labels one shape.

    Args:
        shape: on the CPU.
        tools: its geometry.
        truth: int64 [F], -1 where nothing is known, which is not counted.
        labels: int64 [F], to begin with; None: no face has one.

    Attributes:
        labels: int64 [F], as they are now.

    Raises:
        InputError: no face has a known label.
    """

    def __init__(
        self, shape: Shape, tools: FaceTools, truth: NDArray[np.int64], labels: NDArray[np.int64] | None = None
    ) -> None:
        self.shape, self.tools, self.truth = shape, tools, truth
        self.labels = np.full(shape.num_faces, -1) if labels is None else labels.copy()
        lowest = shape.twin_groups.numpy() == np.arange(shape.num_faces)
        self._areas = shape.face_areas.double().numpy() * (lowest & (truth >= 0))
        if not self._areas.sum() > 0:
            raise InputError(f"shape {shape.id}: no face has a known label: nothing can be counted")

    @property
    def right(self) -> float:
        """Share of the known area whose label is right, in [0, 1]."""
        return float(self._areas[self.labels == self.truth].sum() / self._areas.sum())

    def step(self, tools: Sequence[str]) -> Step | None:
        """The best use of some tools in the largest wrong region where they improve anything; None if they do not in any.

        Args:
            tools: of `ACTIONS`.

        Raises:
            InputError: the shape has nothing that the only tool works on; of several, such ones are left out.
        """
        left_out = np.zeros(self.shape.num_faces, dtype=bool)
        for _ in range(REGIONS):
            face = self.tools.middle_of_largest((self.labels != self.truth) & (self._areas > 0) & ~left_out, self.truth)
            if face is None:
                return None
            region, label = self.wrong_region(face), int(self.truth[face])
            face = self._nearest_seen(face, region)
            steps = [
                Step(face, label, action, unlabelled)
                for action in chain.from_iterable(self._actions(tool, face, len(tools) > 1) for tool in tools)
                for unlabelled in (False, True)
            ]
            best = max(steps, key=self._gain, default=None)
            if best is not None and self._gain(best) > 0:
                return best
            left_out |= region
        return None

    def changing(self, step: Step) -> Faces:
        """bool [F], the faces that a step labels."""
        return step.action.faces & (self.labels < 0) if step.unlabelled else step.action.faces

    def do(self, step: Step) -> None:
        """Label what a step labels."""
        self.labels[self.changing(step)] = step.label

    def wrong_region(self, face: int) -> Faces:
        """bool [F], the faces around a wrong one that are wrong and of its true label."""
        wrong = (self.labels != self.truth) & (self.truth == self.truth[face])
        return self.tools.piece(face, wrong)

    def _nearest_seen(self, face: int, region: Faces) -> int:
        """The face of a region that is nearest to one of them and that some view sees; that one if none is seen."""
        seen = np.flatnonzero(region & self._seen)
        if len(seen) == 0:
            return face
        centers = self.shape.face_centers.double().numpy()
        return int(seen[np.linalg.norm(centers[seen] - centers[face], axis=1).argmin()])

    @cached_property
    def _seen(self) -> Faces:
        """bool [F], the faces whose centre is seen from one of the sides."""
        return np.logical_or.reduce([self.tools.rectangle(view, (-1.0, -1.0), (2.0, 2.0)) for view in VIEWS])

    def _actions(self, tool: str, face: int, optional: bool) -> list[Action]:
        try:
            return list(ACTIONS[tool](self, face))
        except InputError:  # the shape has no materials, or no objects
            if not optional:
                raise
            return []

    def _gain(self, step: Step) -> float:
        """By how much area more is right after a step, per click."""
        changing = self.changing(step)
        better = (self.truth == step.label).astype(np.int8) - (self.labels == self.truth)
        return float((self._areas * better)[changing].sum()) / step.action.clicks


def _tool(name: str, annotator: Annotator, face: int) -> Iterator[Action]:
    """A click with a tool, with each of some settings."""
    settings = [DEFAULTS]
    if name == "brush":
        settings = [Settings(radius=radius) for radius in RADII]
    elif name == "region":
        settings = [Settings(tolerance=tolerance) for tolerance in TOLERANCES]
    for setting in settings:
        point = annotator.tools.center(face)
        click = Click(annotator.shape, annotator.tools, face, point, setting, _no_model)
        yield Action(name, TOOLS[name].select(click), 1, setting)


def _grow(annotator: Annotator, face: int) -> Iterator[Action]:
    """A click on one face, and one on grow."""
    start = np.arange(annotator.shape.num_faces) == face
    for rings in RINGS:
        yield Action("grow", annotator.tools.grown(start, rings), 2)


def _rectangle(annotator: Annotator, face: int) -> Iterator[Action]:
    """A rectangle around the wrong region, seen from six sides, with and without X-ray."""
    region = annotator.wrong_region(face)
    centers = annotator.shape.face_centers.double().numpy()
    for view in VIEWS:
        places, _ = view.project(centers)
        for edge in EDGES:
            low, high = np.percentile(places[region], (edge, 100 - edge), axis=0)
            for through in (False, True):
                rectangle = (view, low.tolist(), high.tolist(), through)
                yield Action("rectangle", annotator.tools.rectangle(*rectangle), rectangle=rectangle)


def _views() -> list[View]:
    """From the front, the back, both sides, above and below, y up; from above a little from the front."""
    views = []
    for outward in ((0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0.01), (0, -1, 0.01)):
        forward = -np.array(outward, dtype=np.float64) / np.linalg.norm(outward)
        right = np.cross(forward, [0, 1, 0]) / np.linalg.norm(np.cross(forward, [0, 1, 0]))
        rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
        views.append(View(-DISTANCE * forward, rotation, FOV, 1.0))
    return views


def _no_model() -> Embedder:
    raise InputError("no model")


VIEWS = _views()
ACTIONS: dict[str, Callable[[Annotator, int], Iterator[Action]]] = {
    **{name: partial(_tool, name) for name in TOOLS if name != "similar"},
    "grow": _grow,
    "rectangle": _rectangle,
}
"""What may be done around a face, by the name of the tool; "similar" needs a model."""


def clicks_until(annotator: Annotator, tools: Sequence[str], goal: float, max_clicks: int) -> tuple[int, float]:
    """Label a shape with some tools.

    Args:
        annotator: of the shape.
        tools: of `ACTIONS`.
        goal: share of the known area, in [0, 1].
        max_clicks: clicks, at max_clicks.

    Returns:
        clicks that were done, and the share that is right after them. If that is less than the goal, the tools
        cannot do better, or would need more clicks.

    Raises:
        InputError: as `Annotator.step`.
    """
    clicks = 0
    while annotator.right < goal and clicks < max_clicks:
        step = annotator.step(tools)
        if step is None:
            break
        annotator.do(step)
        clicks += step.action.clicks
    return clicks, annotator.right


def faces_until(shape: Shape, truth: NDArray[np.int64], goal: float) -> int:
    """Clicks of painting face by face, the largest first, until a share of the known area is right."""
    lowest = shape.twin_groups.numpy() == np.arange(shape.num_faces)
    areas = np.sort(shape.face_areas.double().numpy()[lowest & (truth >= 0)])[::-1]
    return int(np.searchsorted(np.cumsum(areas), goal * areas.sum() * (1 - 1e-12))) + 1
