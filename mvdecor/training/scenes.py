"""`Scenes`: shapes with their cameras and views, as the loops draw from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.views import Cameras, Surface, Views, surface_of

Rasterizer = Callable[..., list[Views]]


class Scenes:
    """Shapes on a device, each with its own seeded cameras.

    Args:
        shapes: the shapes.
        place: gives a shape's cameras, called as `place(shape, seed)`.
        rasterizer: see `mvdecor.views.make_rasterizer`.
        layers: layers of peeled views.
        seed: of the cameras; shape i gets `seed + i`.
        device: where shapes and views live.
        keep: True rasterizes each shape's views once and keeps the face ids in memory; False rasterizes the views asked
            for each time.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        place: Callable[[Shape, int], Cameras],
        rasterizer: Rasterizer,
        layers: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        keep: bool = True,
    ) -> None:
        if not shapes:
            raise InputError("there are no shapes to render: the split is empty or all its shapes were skipped")
        self.shapes = [s.to(device) for s in shapes]
        self.cameras = [place(s, seed + i).to(device) for i, s in enumerate(shapes)]
        self.layers = layers
        self._rasterizer = rasterizer
        self._keep = keep
        self._views: dict[int, Views] = {}

    def __len__(self) -> int:
        return len(self.shapes)

    def num_views(self, shape: int) -> int:
        """Number of cameras of a shape."""
        return len(self.cameras[shape])

    def views(self, shape: int, index: Sequence[int] | None = None) -> Views:
        """The views of a shape at `index` (all if None)."""
        if not self._keep:
            cameras = self.cameras[shape] if index is None else self.cameras[shape][list(index)]
            return self._rasterizer([self.shapes[shape]], [cameras], self.layers)[0]
        if shape not in self._views:
            self._views[shape] = self._rasterizer([self.shapes[shape]], [self.cameras[shape]], self.layers)[0]
        views = self._views[shape]
        return views if index is None else views[list(index)]

    def surface(self, shape: int, index: Sequence[int]) -> Surface:
        """The surface seen in the views of a shape at `index`."""
        return surface_of(self.shapes[shape], self.views(shape, index))
