"""Painting with the brush by dragging: what is painted follows the pointer, and is one step to undo."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mvdecor.apps.viewer.tools import Faces, FaceTools, Hit

MAX_STEPS = 64
"""Places that are painted between two positions of the pointer, at most."""

Point = NDArray[np.float64]
"""float64 [3], in the world."""


@dataclass(frozen=True)
class Sample:
    """Where a pointer is during a drag.

    Attributes:
        browser: number of the browser.
        phase: "start", "update" or "end".
        mesh: of the scene, "main" or "beside".
        eye: position of the camera.
        point: what the pointer points at, on a plane across the view through where the drag began.
    """

    browser: int
    phase: str
    mesh: str
    eye: Point
    point: Point


@dataclass
class Stroke:
    """What a browser has painted since the button was pressed.

    Attributes:
        mesh: of the scene.
        id: the shape there.
        faces: bool [F].
        point: where the pointer was last; None before the first position.
    """

    mesh: str
    id: str
    faces: Faces
    point: Point | None = None


class Canvas(Protocol):
    """What is painted on."""

    def do(self, action: Callable[[], None]) -> None:
        """Run a change of the page, one at a time."""
        ...

    def begin(self, mesh: str) -> Stroke:
        """A stroke on a mesh, of no face."""
        ...

    @property
    def spacing(self) -> float:
        """Distance between the places that are painted."""
        ...

    def touch(self, stroke: Stroke, eye: Point, places: NDArray[np.float64]) -> Faces:
        """The faces that the brush paints, seen from the eye, at places [P, 3] in the world."""
        ...

    def preview(self, strokes: list[Stroke]) -> None:
        """Show strokes that go on."""
        ...

    def finish(self, stroke: Stroke) -> None:
        """Label what a stroke has painted."""
        ...


class Strokes:
    """Drags of all browsers. Positions wait while others are painted, and all that wait are painted at once."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._waiting: deque[Sample] = deque()
        self._painter = ThreadPoolExecutor(1)
        self._strokes: dict[int, Stroke] = {}

    async def on_drag(self, event: Any) -> None:
        """Of viser; on its own thread, where events keep their order."""
        mesh = event.target.name.split("/")[1]
        eye, point = (np.array(x, dtype=np.float64) for x in (event.client.camera.position, event.end_position))
        self.add(Sample(event.client_id, event.phase, mesh, eye, point))
        self._painter.submit(self._canvas.do, self.paint_waiting)

    def add(self, sample: Sample) -> None:
        """Have a position wait."""
        self._waiting.append(sample)

    def paint_waiting(self) -> None:
        """Paint all positions that wait."""
        touched = False
        while self._waiting:
            sample = self._waiting.popleft()
            if sample.phase == "start":
                self._strokes[sample.browser] = self._canvas.begin(sample.mesh)
            stroke = self._strokes.get(sample.browser)
            if stroke is None:
                continue
            stroke.faces |= self._canvas.touch(stroke, sample.eye, self._path(stroke.point, sample.point))
            stroke.point, touched = sample.point, True
            if sample.phase == "end":
                del self._strokes[sample.browser]
                self._canvas.finish(stroke)
        if touched and self._strokes:
            self._canvas.preview(list(self._strokes.values()))

    def close(self) -> None:
        """Paint no more."""
        self._painter.shutdown(wait=False, cancel_futures=True)

    def _path(self, start: Point | None, end: Point) -> NDArray[np.float64]:
        """float64 [P, 3], places from one position, which is left out, to the next."""
        if start is None:
            return end[None]
        steps = int(np.clip(np.ceil(np.linalg.norm(end - start) / self._canvas.spacing), 1, MAX_STEPS))
        return start + np.linspace(0, 1, steps + 1)[1:, None] * (end - start)


def touches(tools: FaceTools, eye: Point, places: NDArray[np.float64]) -> list[Hit]:
    """Where rays from the eye through places, all in the shape's frame, first meet it; those that miss are left out."""
    hits = (tools.pick(eye, place - eye) for place in places)
    return [hit for hit in hits if hit is not None]
